"""Runs the Envoy files of deploy/envoy around adapters, and counts what Envoy did.

    python tests/envoy/run.py ADAPTER [CASE...]

Callers speak to an Envoy beside them, which speaks to an Envoy beside each adapter; all adapters have one simulated
vLLM.  ADAPTER is the program.  The last line is `N passed, N failed`, in cases.
"""

import asyncio
import sys
import tempfile
import traceback
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import calls
import rolling
from processes import Adapter, Envoy, Upstream, until


class Mesh:
    """Two adapters, each with its options and an Envoy, and an Envoy beside the caller."""

    def __init__(self, program, folder, stack, options=((), ()), policy=None):
        self.program, self.folder, self.stack = program, folder, stack
        self.upstream = self.owned(Upstream(program, folder))
        self.adapters, self.sidecars = [], []
        for n, more in enumerate(options):
            adapter = self.owned(Adapter(program, f"adapter-{n}", folder, self.upstream.url, *more))
            self.adapters.append(adapter)
            self.sidecars.append(self.owned(Envoy(f"sidecar-{n}", folder, "adapter.yaml", [adapter.port])))
        ports = [it.port for it in self.sidecars]
        self.caller = self.owned(Envoy("caller", folder, "caller.yaml", ports, policy=policy))

    def owned(self, process):
        self.stack.callback(process.kill)
        return process

    def calls(self):
        return [call for it in self.adapters for call in it.calls()]

    def counted(self, before, *names):
        after = self.caller.stats()
        return [after[it] - before[it] for it in names]

    async def one_by_one(self, call, prompts, timeout=60):
        before = self.caller.stats()
        async with calls.channel(self.caller.port) as channel:
            ended = [await call(calls.stub(channel), prompt, timeout) for prompt in prompts]
        return ended, before


async def retries(mesh):
    """A call that ends UNAVAILABLE before its first event is repeated, twice at most."""
    for call, name in ((calls.unary, "unary calls"), (calls.stream, "streams")):
        prompts = [f"Fail twice with 503: {name} {n}" for n in range(20)]
        ended, before = await mesh.one_by_one(call, prompts)
        asked, repeated, good = mesh.counted(
            before, "upstream_rq_total", "upstream_rq_retry", "upstream_rq_retry_success"
        )
        print(
            f"{name}: {calls.codes(ended)}; {asked} requests of Envoy, {repeated} of them repeats; {good} calls saved"
        )
        assert [code for code, _text in ended] == ["OK"] * 20
        assert (asked, repeated) == (60, 40)
    ended, before = await mesh.one_by_one(calls.stream, ["Fail with 400: as was asked for"] * 5)
    (repeated,) = mesh.counted(before, "upstream_rq_retry")
    print(f"wrong requests: {calls.codes(ended)}; {repeated} repeats")
    assert Counter(code for code, _text in ended) == {"INVALID_ARGUMENT": 5}
    assert repeated == 0


async def begun_streams(mesh):
    """A stream that ends UNAVAILABLE after its first event is not repeated."""
    ended, before = await mesh.one_by_one(calls.stream, ["Fail with abort."] * 20)
    asked, repeated = mesh.counted(before, "upstream_rq_total", "upstream_rq_retry")
    print(f"streams aborted after a token: {calls.codes(ended)}; {asked} requests of Envoy, {repeated} of them repeats")
    assert [code for code, text in ended if text] == ["UNAVAILABLE"] * 20
    assert (asked, repeated) == (20, 0)


async def deadlines(mesh):
    """A deadline passes through both Envoys to the adapter, and ends the call there."""
    known = len(mesh.calls())
    ended, _before = await mesh.one_by_one(calls.unary, ["Wait."] * 5, timeout=0.5)
    until("the end of the calls", lambda: len(mesh.calls()) == known + 5)
    seen = Counter(it["code"] for it in mesh.calls()[known:])
    until("the end of Envoy's requests", lambda: mesh.caller.stats()["upstream_rq_active"] == 0)
    print(f"callers: {calls.codes(ended)}; adapters: {dict(seen)}")
    assert [code for code, _text in ended] == ["DEADLINE_EXCEEDED"] * 5
    assert set(seen) <= {"DeadlineExceeded", "Cancelled"}


async def outliers(mesh):
    """An adapter that cannot reach its vLLM is left alone after some failures, and callers notice nothing."""
    ended, before = await mesh.one_by_one(calls.unary, [f"Repeat {n}." for n in range(100)])
    repeated, ejected = mesh.counted(before, "upstream_rq_retry", "outlier_detection.ejections_enforced_total")
    until("the log of all calls", lambda: len(mesh.calls()) == 100 + repeated)
    good, bad = (len(it.calls()) for it in mesh.adapters)
    print(f"{calls.codes(ended)}; {good} at the good adapter, {bad} at the bad one")
    print(f"{repeated} repeats; the bad one was ejected {ejected} times")
    assert [code for code, _text in ended] == ["OK"] * 100
    # Five, and what is sent until Envoy tells its workers, which it does once a second at most. Else it is half.
    assert ejected >= 1
    assert 5 <= bad == repeated < 40


async def browsers(mesh):
    """Envoy's filter makes gRPC of gRPC-Web over HTTP/1.1, and the status comes at the end of the body."""
    messages, trailers = await asyncio.to_thread(calls.web, mesh.sidecars[0].port, "Count to 5.")
    refused, head = await asyncio.to_thread(calls.web, mesh.sidecars[0].port, "Fail with abort.")
    print(f"gRPC-Web: {messages} messages and {trailers.split()[0]}")
    print(f"after an abort: {refused} messages and {head.split()[0]}")
    assert messages > 3
    assert trailers.startswith("grpc-status:0")
    assert head.startswith("grpc-status:14")


async def load_reports(mesh):
    """An adapter that says that it has more room gets more calls."""
    async with calls.channel(mesh.caller.port) as channel:
        generations = calls.stub(channel)
        if not await calls.reports_load(generations):
            print("not run: this adapter sends no load report")
            return

        async def some():
            return [await calls.unary(generations, "Repeat it.") for _ in range(150)]

        ended = [it for each in await asyncio.gather(*(some() for _ in range(4))) for it in each]
    small, large = (mesh.caller.of_hosts()[it.port] for it in mesh.sidecars)
    print(f"{calls.codes(ended)}; {small[0]} at the small adapter, {large[0]} at the large one")
    print(f"their weights at the end: {small[1]} and {large[1]}")
    assert [code for code, _text in ended] == ["OK"] * 600
    assert large[1] > 2 * small[1]
    assert large[0] > 1.5 * small[0]


async def rolling_restart(mesh):
    """Both adapters and their Envoys are replaced, one after the other, and no caller sees it."""
    await rolling.run(mesh)


CASES = [retries, begun_streams, deadlines, browsers, outliers, load_reports, rolling_restart]


def make(case, program, folder, stack):
    if case is load_reports:
        options = [("--max-in-flight", "20"), ("--max-in-flight", "200")]
        return Mesh(program, folder, stack, options, policy="weighted.yaml")
    mesh = Mesh(program, folder, stack)
    if case is outliers:
        bad = mesh.adapters[1]
        bad.terminate()
        bad.ended()
        # Nothing listens at this port, which is privileged.
        bad = Adapter(program, "adapter-1", folder, "http://127.0.0.1:1/v1", port=bad.port)
        mesh.adapters[1] = mesh.owned(bad)
        until("the health of both", lambda: mesh.caller.stats()["membership_healthy"] == 2)
    return mesh


def run(program, case, folder):
    with ExitStack() as stack:
        asyncio.run(case(make(case, program, folder, stack)))


def main():
    program, *names = sys.argv[1:]
    chosen = [it for it in CASES if not names or it.__name__ in names]
    assert len(names) in (0, len(chosen)), f"the cases are {[it.__name__ for it in CASES]}"
    failed = 0
    for case in chosen:
        print(f"=== {case.__name__}: {case.__doc__}")
        with tempfile.TemporaryDirectory(prefix="adapter-envoy-") as folder:
            try:
                run(str(Path(program).resolve()), case, Path(folder))
            except Exception:
                traceback.print_exc(file=sys.stdout)
                failed += 1
    print(f"\n{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
