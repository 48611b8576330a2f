#!/bin/sh
# Runs the fault matrix of docs/FAULTS.md on the release build, with its bounds of time, CPU time and memory: on a quiet
# machine.
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

export ADAPTER_TEST_BOUNDS=1
cargo test --locked --release --no-run --test it
cargo test --locked --release --no-run --lib
run=1
while [ "$run" -le "$repeat" ]; do
    begun=$(date +%s)
    # The parts that need a paused clock or the code's own types.
    cargo test --locked --release --quiet --lib -- \
        server:: proto:: service::deadline service::error sse:: upstream:: generation::tool_calls
    # Two at once, so that bounds of time hold on two cores.
    cargo test --locked --release --quiet --test it -- --include-ignored --test-threads 2 \
        caller_faults slow_callers killed_processes upstream_ network_faults process_faults hostile_ recordings \
        server_ embedding transcription
    echo "run $run of $repeat: $(($(date +%s) - begun)) s"
    run=$((run + 1))
done
