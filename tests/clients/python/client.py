#!/usr/bin/env python3
"""Call the adapter by C-core, case by case, and print what it got.

    client.py ADAPTER UPSTREAM SERVICE_CONFIG

ADAPTER is the adapter's host and port, UPSTREAM those of the simulated vLLM behind it, and SERVICE_CONFIG the file
with the retry policy.  The stubs of the contract are looked for on the module path.
"""

import pathlib
import sys
import traceback

import details
import interop
import retry
import standard
from bench import Bench

CASES = (
    interop.empty_unary,
    interop.large_unary,
    interop.client_compressed_unary,
    interop.server_streaming,
    interop.custom_metadata,
    interop.status_code_and_message,
    interop.special_status_message,
    interop.unimplemented_method,
    interop.unimplemented_service,
    interop.cancel_after_begin,
    interop.cancel_after_first_response,
    interop.timeout_on_sleeping_server,
    interop.concurrent_large_unary,
    interop.rpc_soak,
    interop.channel_soak,
    standard.health_check,
    standard.health_watch,
    standard.health_list,
    standard.reflection_v1,
    standard.reflection_v1alpha,
    details.details_bad_request,
    details.details_context_length,
    details.details_model_not_found,
    details.details_retry_info,
    details.details_after_delta,
    retry.retry_recovers_stream,
    retry.retry_waits_for_pushback,
    retry.retry_stops_at_negative_pushback,
    retry.retry_never_after_delta,
)


def show(case, bench):
    """Runs a case, prints its result, and says whether it is good."""
    bench.notes.clear()
    result = "ok"
    try:
        case(bench)
    except Exception as fault:
        result = f"FAILED {' '.join(str(fault).split())[:400]}"
        traceback.print_exc()
    print(f"{case.__name__}: {result}")
    for note in bench.notes:
        print(f"    {note}")
    sys.stdout.flush()
    return result == "ok"


def main():
    if len(sys.argv) != 4:
        sys.exit("usage: client.py ADAPTER UPSTREAM SERVICE_CONFIG")
    bench = Bench(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).read_text())
    results = [show(case, bench) for case in CASES]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
