#!/usr/bin/env python3
"""An upstream that plays the part which the model of a request names.

Speaks as much HTTP/1.1 as the adapter does, on a free port of 127.0.0.1, which it prints.  Besides vLLM's route it has
two for the clients, which name a call by its `x-request-id`:

    GET  /calls/ID?until=begun|ended   waits, and tells what was seen of the call
    POST /calls/ID/next                lets the call's next event go
"""

import asyncio
import dataclasses
import json
import sys
import time
import urllib.parse

MAX_HEAD_BYTES = 64 * 1024
WAIT_SECONDS = 10
# Of the gRPC project's interop cases.
LARGE_ANSWER = 314159
EVENT_SIZES = (31415, 9, 2653, 58979)
# Longer than any backoff of the retry policy that the clients use before their second try.
RETRY_AFTER_SECONDS = 1


@dataclasses.dataclass
class Call:
    """What was seen of one call, over all its attempts."""

    begun_at: list = dataclasses.field(default_factory=list)
    headers: dict = dataclasses.field(default_factory=dict)
    # Whether the adapter closed the connection in the midst of the answer.
    abandoned: bool = False
    begun: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    ended: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    gate: asyncio.Semaphore = dataclasses.field(default_factory=lambda: asyncio.Semaphore(0))

    def report(self):
        gaps = [round(1000 * (b - a)) for a, b in zip(self.begun_at, self.begun_at[1:], strict=False)]
        return {
            "attempts": len(self.begun_at),
            "gaps_ms": gaps,
            "abandoned": self.abandoned,
            "headers": sorted(self.headers),
        }


class Protocol(asyncio.StreamReaderProtocol):
    """Tells when the peer has left, also where nobody reads, and without taking a byte of the next request."""

    def __init__(self, serve):
        self.left = asyncio.Event()
        reader = asyncio.StreamReader(limit=MAX_HEAD_BYTES)
        super().__init__(reader, lambda reader, writer: serve(Connection(reader, writer, self.left)))

    def eof_received(self):
        self.left.set()
        return super().eof_received()

    def connection_lost(self, exc):
        self.left.set()
        super().connection_lost(exc)


class Connection:
    """One connection, with the answers that go over it."""

    def __init__(self, reader, writer, left):
        self.reader = reader
        self.writer = writer
        self.left = left

    async def request(self):
        """The method, the path, the headers and the body of the next request; nothing at the end."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        start, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = start.split(" ")
        return method, path, headers, body

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def json(self, status, value, *headers):
        body = json.dumps(value).encode()
        lines = (f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(body)}", *headers)
        await self.send("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body)

    async def error(self, status, message, kind, *headers, param=None):
        error = {"message": message, "type": kind, "param": param, "code": status}
        await self.json(status, {"error": error}, *headers)

    async def begin_stream(self):
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        await self.send(head.encode())

    async def event(self, data):
        event = f"data: {data}\n\n".encode()
        await self.send(b"%x\r\n%b\r\n" % (len(event), event))

    async def end_stream(self):
        await self.event("[DONE]")
        await self.send(b"0\r\n\r\n")


# === what the upstream says ===


def envelope(request, kind, choices, **members):
    answer = {"id": "chatcmpl-1", "object": kind, "created": 1, "model": request["model"], "choices": choices}
    return {**answer, **members}


def chunk(request, text=None, finish_reason=None):
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return json.dumps(envelope(request, "chat.completion.chunk", [choice]))


def prompt(request):
    """The text of the last turn."""
    content = request["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def usage(request):
    size = len(prompt(request).encode())
    return {"prompt_tokens": size, "completion_tokens": 1, "total_tokens": size + 1}


async def speak(connection, request, texts):
    """Answers in full, streamed or not as the request asks."""
    if not request.get("stream"):
        message = {"role": "assistant", "content": "".join(texts)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        await connection.json(200, envelope(request, "chat.completion", [choice], usage=usage(request)))
        return
    await connection.begin_stream()
    for text in texts:
        await connection.event(chunk(request, text))
    await finish(connection, request)


async def finish(connection, request):
    await connection.event(chunk(request, finish_reason="stop"))
    await connection.event(json.dumps(envelope(request, "chat.completion.chunk", [], usage=usage(request))))
    await connection.end_stream()


# === the parts ===
#
# Each gets the connection, the request's body, and what was seen of the call; False from one ends the connection.


async def hello(connection, request, _call):
    await speak(connection, request, ["Hello", " from", " the", " upstream."])


async def large(connection, request, _call):
    await speak(connection, request, ["x" * LARGE_ANSWER])


async def sizes(connection, request, call):
    """Four events of given sizes, of which each but the first waits for its `next`."""
    await connection.begin_stream()
    for index, size in enumerate(EVENT_SIZES):
        if index > 0:
            await call.gate.acquire()
        await connection.event(chunk(request, "abcd"[index] * size))
    await finish(connection, request)


async def refuse(connection, request, _call):
    """Refuses with the prompt as its message."""
    await connection.error(400, prompt(request), "BadRequestError")


async def bad_field(connection, _request, _call):
    message = "temperature must be at most 1.0 for this model."
    await connection.error(400, message, "BadRequestError", param="temperature")


async def too_long(connection, _request, _call):
    message = "This model's maximum context length is 2048 tokens. However, your request has 4096 input tokens."
    await connection.error(400, message, "BadRequestError", param="input_tokens")


async def missing(connection, request, _call):
    message = f"The model `{request['model']}` does not exist. Valid aliases: of-another-tenant."
    await connection.error(404, message, "NotFoundError", param="model")


async def busy(connection, _request, _call):
    message = "Service Unavailable"
    await connection.error(503, message, "ServiceUnavailableError", f"retry-after: {RETRY_AFTER_SECONDS}")


async def busy_twice(connection, request, call):
    await (busy if len(call.begun_at) <= 2 else hello)(connection, request, call)


async def cut_after_delta(connection, request, _call):
    await connection.begin_stream()
    await connection.event(chunk(request, "Hello"))
    return False


async def cut_answer(connection, _request, _call):
    await connection.send(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"id":')
    return False


async def error_after_delta(connection, request, _call):
    await connection.begin_stream()
    await connection.event(chunk(request, "Hello"))
    error = {"message": "EngineCore died", "type": "InternalServerError", "param": None, "code": 500}
    await connection.event(json.dumps({"error": error}))
    await connection.end_stream()


async def hang(_connection, _request, _call):
    await asyncio.Event().wait()


async def endless(connection, request, _call):
    await connection.begin_stream()
    while True:
        await connection.event(chunk(request, "more "))
        await asyncio.sleep(0.02)


PARTS = {
    "bad-field": bad_field,
    "busy": busy,
    "busy-twice": busy_twice,
    "cut-after-delta": cut_after_delta,
    "cut-answer": cut_answer,
    "endless": endless,
    "error-after-delta": error_after_delta,
    "hang": hang,
    "hello": hello,
    "large": large,
    "missing": missing,
    "refuse": refuse,
    "sizes": sizes,
    "too-long": too_long,
}


# === the server ===


class Upstream:
    """All connections, and what was seen of the calls."""

    def __init__(self):
        self.calls = {}

    def call(self, request_id):
        return self.calls.setdefault(request_id, Call())

    async def serve(self, connection):
        try:
            while (request := await connection.request()) and await self.answer(connection, *request):
                pass
        except ConnectionError:
            pass
        finally:
            connection.writer.close()

    async def answer(self, connection, method, path, headers, body):
        """Whether the connection goes on."""
        url = urllib.parse.urlsplit(path)
        match method, url.path.strip("/").split("/"):
            case "POST", ["v1", "chat", "completions"]:
                return await self.play(connection, headers, json.loads(body))
            case "GET", ["calls", request_id]:
                await self.report(connection, self.call(request_id), urllib.parse.parse_qs(url.query)["until"][0])
            case "POST", ["calls", request_id, "next"]:
                self.call(request_id).gate.release()
                await connection.json(200, {})
            case "GET", ["version"]:
                await connection.json(200, {"version": "0.33.0"})
            case _:
                await connection.json(200, {})
        return True

    async def report(self, connection, call, event):
        try:
            await asyncio.wait_for({"begun": call.begun, "ended": call.ended}[event].wait(), WAIT_SECONDS)
        except TimeoutError:
            await connection.json(504, {"missed": event, **call.report()})
            return
        await connection.json(200, call.report())

    async def play(self, connection, headers, request):
        call = self.call(headers.get("x-request-id", ""))
        call.begun_at.append(time.monotonic())
        call.headers = headers
        call.ended.clear()
        call.begun.set()
        part = asyncio.ensure_future(PARTS[request["model"]](connection, request, call))
        left = asyncio.ensure_future(connection.left.wait())
        try:
            await asyncio.wait((part, left), return_when=asyncio.FIRST_COMPLETED)
            call.abandoned = not part.done() or part.exception() is not None
            return part.done() and part.result() is not False
        finally:
            part.cancel()
            left.cancel()
            call.ended.set()


async def main():
    upstream = Upstream()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Protocol(upstream.serve), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(0)
