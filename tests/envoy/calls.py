"""Calls through Envoy, and what became of them."""

import http.client
import struct
import sys
from collections import Counter

import grpc

from processes import ROOT

sys.path.insert(0, str(ROOT / "clients/python/src"))

from vllm_adapter.v1 import generation_pb2, generation_pb2_grpc  # noqa: E402

SERVICE = "vllm_adapter.v1.GenerationService"


def channel(port):
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_retries", 0)])


def stub(channel):
    return generation_pb2_grpc.GenerationServiceStub(channel)


async def unary(generations, prompt, timeout=60):
    """The name of the code with which the call ended, and the text."""
    try:
        response = await generations.Generate(generation_pb2.GenerateRequest(prompt=prompt), timeout=timeout)
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details()
    return "OK", response.choices[0].message.content


async def stream(generations, prompt, timeout=120):
    """The same of a stream: its texts put together."""
    text = []
    try:
        async for response in generations.StreamGenerate(
            generation_pb2.GenerateRequest(prompt=prompt), timeout=timeout
        ):
            if response.WhichOneof("event") == "content":
                text.append(response.content.text)
    except grpc.aio.AioRpcError as error:
        return error.code().name, "".join(text)
    return "OK", "".join(text)


async def reports_load(generations):
    call = generations.Generate(generation_pb2.GenerateRequest(prompt="Hello!"), timeout=60)
    return "endpoint-load-metrics-bin" in dict(await call.trailing_metadata())


def codes(ended):
    """How many calls ended with which code, as `40 OK, 1 UNAVAILABLE`."""
    return ", ".join(f"{count} {code}" for code, count in Counter(code for code, _text in ended).most_common())


def web(port, prompt):
    """A stream by gRPC-Web over HTTP/1.1: the number of its messages, and its trailers."""
    message = generation_pb2.GenerateRequest(prompt=prompt).SerializeToString()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", "grpc-timeout": "60S"}
    connection.request("POST", f"/{SERVICE}/StreamGenerate", struct.pack(">BI", 0, len(message)) + message, headers)
    body = connection.getresponse().read()
    messages, trailers = 0, ""
    while body:
        flags, length = struct.unpack(">BI", body[:5])
        if flags & 0x80:
            trailers = body[5 : 5 + length].decode()
        else:
            messages += 1
        body = body[5 + length :]
    return messages, trailers
