#!/bin/sh
# Runs the fault matrix of docs/FAULTS.md.
#
#   tests/faults.sh [--repeat N] [--full]
#
# --repeat N  runs it N times, and stops at the first failure.
# --full      pauses and waits last as long as the matrix says, in place of a scaled time: a quarter of an hour more.
set -eu
cd "$(dirname "$0")/.."

repeat=1
while [ $# -gt 0 ]; do
    case $1 in
        --repeat)
            repeat=${2:?"--repeat needs a number"}
            shift 2
            ;;
        --full)
            export ADAPTER_TEST_FULL_LENGTH=1
            shift
            ;;
        *)
            echo "usage: tests/faults.sh [--repeat N] [--full]" >&2
            exit 64
            ;;
    esac
done

cargo test --locked --no-run --test it
cargo test --locked --no-run --lib
run=1
while [ "$run" -le "$repeat" ]; do
    begun=$(date +%s)
    # The parts that need a paused clock or the code's own types.
    cargo test --locked --quiet --lib -- \
        server:: proto:: service::deadline service::error sse:: upstream:: translate::tool_calls
    # Two at once, so that bounds of time hold on two cores.
    cargo test --locked --quiet --test it -- --test-threads 2 \
        caller_faults slow_callers killed_processes upstream_connections upstream_ends upstream_http upstream_statuses upstream_limits upstream_sizes upstream_tls upstream_foreign \
        network_faults process_faults hostile_input hostile_protobuf recordings server_
    echo "run $run of $repeat: $(($(date +%s) - begun)) s"
    run=$((run + 1))
done
