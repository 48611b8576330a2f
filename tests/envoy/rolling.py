"""A rolling restart of two adapters and their Envoys under load."""

import asyncio
import time

import calls
from processes import Adapter, Envoy, until

STREAMS = 100
CALLS_PER_SECOND = 50
# Some five seconds at the simulated vLLM's pace, so that each drain begins amid every stream.
LAST_NUMBER = 200
WHOLE = " ".join(str(it) for it in range(1, LAST_NUMBER + 1))


class Load:
    """Streams and unary calls until it is told to stop; what has begun then still ends."""

    def __init__(self, generations):
        self.generations = generations
        self.running = True
        self.streams, self.calls = [], []

    async def stream(self):
        while self.running:
            self.streams.append(await calls.stream(self.generations, f"Count to {LAST_NUMBER}."))

    async def call(self):
        self.calls.append(await calls.unary(self.generations, "Say hello."))

    async def call_all(self):
        begun, start = [], time.monotonic()
        while self.running:
            begun.append(asyncio.create_task(self.call()))
            await asyncio.sleep(max(0, start + len(begun) / CALLS_PER_SECOND - time.monotonic()))
        await asyncio.gather(*begun)

    async def run(self):
        await asyncio.gather(self.call_all(), *(self.stream() for _ in range(STREAMS)))


def restart(mesh, n, drain_delay):
    """The order of a pod with a native sidecar: the adapter ends by itself, then its Envoy, then both begin anew."""
    adapter, sidecar = mesh.adapters[n], mesh.sidecars[n]
    running, start = sidecar.stats()["upstream_rq_active"], time.monotonic()
    adapter.terminate()
    status = adapter.ended()
    took = time.monotonic() - start
    sidecar.drain()
    assert status == 0, f"adapter {n} ended with {status}"
    print(f"adapter {n}, --drain-delay {drain_delay}: {running} calls ran at SIGTERM, it ended after {took:.1f} s")
    fresh = Adapter(mesh.program, f"adapter-{n}", mesh.folder, mesh.upstream.url, port=adapter.port)
    mesh.adapters[n] = mesh.owned(fresh)
    mesh.sidecars[n] = mesh.owned(Envoy(f"sidecar-{n}", mesh.folder, "adapter.yaml", [fresh.port], port=sidecar.port))
    until("both to be healthy", lambda: mesh.caller.stats()["membership_healthy"] == 2)


async def run(mesh):
    # The second adapter closes its port at once, so that calls meet a closed port before Envoy learns of it.
    delays = ["3s", "0s"]
    mesh.adapters[1].terminate()
    mesh.adapters[1].ended()
    again = Adapter(
        mesh.program, "adapter-1", mesh.folder, mesh.upstream.url, port=mesh.adapters[1].port, drain_delay=delays[1]
    )
    mesh.adapters[1] = mesh.owned(again)
    until("both to be healthy", lambda: mesh.caller.stats()["membership_healthy"] == 2)
    before, start = mesh.caller.stats(), time.monotonic()
    async with calls.channel(mesh.caller.port) as channel:
        load = Load(calls.stub(channel))
        task = asyncio.create_task(load.run())
        await asyncio.sleep(3)
        for n, delay in enumerate(delays):
            await asyncio.to_thread(restart, mesh, n, delay)
            await asyncio.sleep(2)
        load.running = False
        await task
    asked, repeated = mesh.counted(before, "upstream_rq_total", "upstream_rq_retry")
    whole = sum(text == WHOLE for _code, text in load.streams)
    print(f"{STREAMS} streams at a time: {calls.codes(load.streams)}; {whole} whole")
    print(f"{len(load.calls) / (time.monotonic() - start):.0f} calls a second: {calls.codes(load.calls)}")
    print(f"{asked} requests of Envoy, {repeated} of them repeats")
    assert all(ended == ("OK", WHOLE) for ended in load.streams)
    assert all(code == "OK" for code, _text in load.calls)
    assert asked - repeated == len(load.streams) + len(load.calls)
