#!/usr/bin/env bash
# Tries the Dockerfile without an engine and a registry: its steps in roots of the same Debian release, as root on Debian.
#
#     tests/image.sh FOLDER [CARGO_ARGUMENT...]
#
# FOLDER keeps the roots, made by debootstrap.  The build stage runs the Dockerfile's cargo command on what .dockerignore
# lets through, with this machine's toolchain in the place of the base image's; CARGO_ARGUMENTs take the place of
# `--release`, as `--profile dev`, which is quicker.  The program then runs where nothing else is but the C library, as
# the Dockerfile's user and with its variables, on a read-only root, without capabilities, and must serve and end.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
FOLDER=$(mkdir -p "$1" && cd "$1" && pwd)
shift
readonly FOLDER BUILD="$FOLDER/build" IMAGE="$FOLDER/image"
PROFILE=("$@")
[ ${#PROFILE[@]} -gt 0 ] || PROFILE=(--release)
RELEASE=$(sed -n 's/^FROM rust:.*-slim-\([a-z]*\) AS build$/\1/p' Dockerfile)
RUN=$(sed -n 's/^ *\(cargo build .*\) \\$/\1/p' Dockerfile)
[ -n "$RELEASE" ] && [ -n "$RUN" ]
echo "Debian $RELEASE; $RUN"

if [ ! -e "$BUILD/done" ]; then
  debootstrap --variant=minbase --include=gcc,libc6-dev,ca-certificates "$RELEASE" "$BUILD" >"$FOLDER/debootstrap.log"
  touch "$BUILD/done"
fi

# === the build stage ===

rm -rf "$BUILD/src"
mkdir -p "$BUILD/src" "$BUILD/usr/local/rustup" "$BUILD/usr/local/cargo"
sed -n 's/^!//p' .dockerignore | tar --create --files-from=- | tar --extract --directory "$BUILD/src"
TOOLCHAIN=$(rustc --print sysroot)
CARGO="${CARGO_HOME:-$HOME/.cargo}"
export BUILD TOOLCHAIN CARGO
# shellcheck disable=SC2016 # The inner shell expands.
unshare --mount bash -euc '
  mount --bind "$TOOLCHAIN" "$BUILD/usr/local/rustup"
  mount --bind "$CARGO" "$BUILD/usr/local/cargo"
  mount -t proc proc "$BUILD/proc"
  mount --bind /dev "$BUILD/dev"
  exec chroot "$BUILD" /usr/bin/env -i PATH=/usr/local/rustup/bin:/usr/bin:/bin HOME=/root CARGO_HOME=/usr/local/cargo \
    CARGO_NET_OFFLINE=true CARGO_TERM_PROGRESS_WHEN=never sh -c "cd /src && $0"
' "${RUN/--release/${PROFILE[*]}}"
PROGRAM=$(find "$BUILD/src/target" -maxdepth 2 -name vllm-grpc-adapter -type f)

# === the image ===

rm -rf "$IMAGE"
mkdir -p "$IMAGE"/{proc,dev,etc/ssl/certs,usr/local/bin,usr/lib/x86_64-linux-gnu,usr/lib64}
ln -s usr/lib "$IMAGE/lib"
ln -s usr/lib64 "$IMAGE/lib64"
# What distroless/cc has of what the program links to.
cp -L "$BUILD"/lib/x86_64-linux-gnu/{libc.so.6,libm.so.6,libgcc_s.so.1} "$IMAGE/usr/lib/x86_64-linux-gnu/"
cp -L "$BUILD/lib64/ld-linux-x86-64.so.2" "$IMAGE/usr/lib64/"
cp -L "$BUILD/etc/ssl/certs/ca-certificates.crt" "$IMAGE/etc/ssl/certs/"
cp "$PROGRAM" "$IMAGE/usr/local/bin/"
mapfile -t VARIABLES < <(sed -n 's/^ENV //p' Dockerfile)
USER_ID=$(sed -n 's/^USER \([0-9]*\):.*/\1/p' Dockerfile)
ENTRYPOINT=$(sed -n 's/^ENTRYPOINT \["\(.*\)"\]$/\1/p' Dockerfile)
export IMAGE USER_ID ENTRYPOINT
# Ports of its own would be the container's; here they are the machine's, so they are free ones.
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
GRPC=$(port) ADMIN=$(port)
mapfile -t VARIABLES < <(printf '%s\n' "${VARIABLES[@]}" | sed "s/:50051$/:$GRPC/; s/:9464$/:$ADMIN/")
# What a container engine does at last: no capability can come back, another root, another user.
readonly ENTER='
import ctypes, os, sys
prctl = ctypes.CDLL(None).prctl
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
for capability in range(64):
    prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
os.chroot(os.environ["IMAGE"])
os.chdir("/")
os.setgroups([])
os.setgid(int(os.environ["USER_ID"]))
os.setuid(int(os.environ["USER_ID"]))
prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
arguments, variables = sys.argv[1].split(" "), dict(it.split("=", 1) for it in sys.argv[2:])
os.execve(os.environ["ENTRYPOINT"], [os.environ["ENTRYPOINT"], *arguments], variables)
'

# Runs the entrypoint with arguments as the container would.
container() {
  # shellcheck disable=SC2016 # The inner shell expands.
  exec unshare --mount --pid --fork --kill-child bash -euc '
    mount --bind "$IMAGE" "$IMAGE"
    mount -o remount,bind,ro "$IMAGE"
    mount -t proc proc "$IMAGE/proc"
    exec python3 -c "$0" "$@"
  ' "$ENTER" "$1" "${VARIABLES[@]}"
}

# The demo, so that a call can be answered; all else is as in the image.
container demo >"$FOLDER/run.log" 2>&1 </dev/null &
outer=$!
trap 'kill "$outer" 2>/dev/null || true' EXIT
for _ in $(seq 300); do
  curl --fail --silent "http://127.0.0.1:$ADMIN/readyz" >/dev/null && break
  sleep 0.1
done
inner=$(pgrep --parent "$outer")
grep -E '^(Uid|Gid|CapInh|CapPrm|CapEff|CapBnd|NoNewPrivs):' "/proc/$inner/status"
[ "$(awk '/^(Cap(Inh|Prm|Eff|Bnd)):/ { sum += ("0x" $2) + 0; if ($2 !~ /^0+$/) bad = 1 } END { print bad + 0 }' "/proc/$inner/status")" = 0 ]
[ "$(awk '/^Uid:/ { print $2 }' "/proc/$inner/status")" = "$USER_ID" ]
awk '$5 == "/" { print "root mount:", $6 }' "/proc/$inner/mountinfo" | grep ' ro'
(container "ask --address 127.0.0.1:$GRPC Hello!")
kill -TERM "$inner"
wait "$outer" && status=0 || status=$?
echo "ended with $status; $(du --dereference --summarize --si "$IMAGE" | cut -f1) in the image"
[ "$status" -eq 0 ]
