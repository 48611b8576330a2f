"""Compare by h2spec the adapter with a bare HTTP/2 server of the same library.

    h2spec.py H2SPEC ADAPTER_PORT BARE_PORT

h2spec sends a fault right behind a request, and counts it as missed where the answer comes first, which a server may
do.  A case has failed if it failed in every run; the bare server's failures are those of any run.  Prints the failures
of each, and at last `h2spec: ok` where the adapter has none of its own.
"""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

RUNS = 8
# Of one run, which takes about ten seconds.
RUN_SECONDS = 120


def failures(h2spec, port):
    """How many cases there are, and those that failed in a run."""
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        command = [h2spec, "--port", port, "--junit-report", report.name]
        subprocess.run(command, stdout=subprocess.DEVNULL, timeout=RUN_SECONDS)
        cases = list(ET.parse(report.name).getroot().iter("testcase"))
    failed = {
        f"{case.get('package')}: {case.get('classname')}"
        for case in cases
        if case.find("error") is not None or case.find("failure") is not None
    }
    return len(cases), failed


def main():
    h2spec, adapter, bare = sys.argv[1:]
    n_cases, of_bare = failures(h2spec, bare)
    _, of_adapter = failures(h2spec, adapter)
    n_runs = 1
    while of_adapter - of_bare and n_runs < RUNS:
        of_bare |= failures(h2spec, bare)[1]
        of_adapter &= failures(h2spec, adapter)[1]
        n_runs += 1
    print(f"    {n_cases} cases, runs: {n_runs}")
    for case in sorted(of_adapter | of_bare):
        names = ("adapter" * (case in of_adapter), "bare server" * (case in of_bare))
        print(f"    failed by {' and '.join(filter(None, names))}: {case}")
    own = len(of_adapter - of_bare)
    if len(of_bare) > n_cases / 10:
        print("h2spec: FAILED the bare server is none to compare with")
    elif own:
        print(f"h2spec: FAILED {own} cases that the bare server passes")
    else:
        print("h2spec: ok")


if __name__ == "__main__":
    main()
