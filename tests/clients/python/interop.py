"""The gRPC project's interop cases that apply, on the services of the adapter.

https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md
"""

import socket

import grpc
import h2.config
import h2.connection
import h2.events
from vllm_adapter.v1 import generation_pb2, generation_pb2_grpc

from bench import CALL_SECONDS, ends_with, equal, failure, folded, identified, prompted

LARGE_REQUEST = 271828
# More than the calls that the adapter takes at once on a connection, so that some wait here.
CONCURRENT_CALLS = 300
SOAK_CALLS = 200
SOAK_CHANNELS = 20
GENERATE = "/vllm_adapter.v1.GenerationService/Generate"


def empty_unary(bench):
    error = failure(lambda: bench.stub.Generate(generation_pb2.GenerateRequest(), timeout=CALL_SECONDS))
    bench.note(error.details())
    ends_with(error, grpc.StatusCode.INVALID_ARGUMENT)


def large_unary(bench):
    is_large(bench.stub.Generate(large(), timeout=CALL_SECONDS))


def large():
    return prompted("Repeat ".ljust(LARGE_REQUEST, "p"))


def is_large(answer):
    equal("the prompt's tokens of four bytes", answer.usage.prompt_tokens, LARGE_REQUEST // 4)
    equal("the text", answer.choices[0].message.content, " " + "p" * (LARGE_REQUEST - len("Repeat ")))


def client_compressed_unary(bench):
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        refused = failure(
            lambda by=compression: bench.stub.Generate(prompted("Hello!"), timeout=CALL_SECONDS, compression=by)
        )
        bench.note(f"{compression}: {refused.code()} {refused.details()}")
        ends_with(refused, grpc.StatusCode.UNIMPLEMENTED)
    headers = flagged_without_encoding(bench.adapter)
    bench.note(f"flag without encoding: {headers['grpc-status']} {headers['grpc-message']}")
    equal("the status of a flag without encoding", headers["grpc-status"], str(grpc.StatusCode.INTERNAL.value[0]))


def flagged_without_encoding(address):
    """The answer's headers to a message with the flag of a compressed one and no grpc-encoding, which C-core cannot."""
    host, port = address.split(":")
    message = prompted("Hello!").SerializeToString()
    http2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    http2.initiate_connection()
    pseudo = ((":method", "POST"), (":scheme", "http"), (":authority", address), (":path", GENERATE))
    http2.send_headers(1, (*pseudo, ("content-type", "application/grpc"), ("te", "trailers")))
    http2.send_data(1, b"\x01" + len(message).to_bytes(4, "big") + message, end_stream=True)
    headers = {}
    with socket.create_connection((host, int(port)), timeout=CALL_SECONDS) as connection:
        while True:
            connection.sendall(http2.data_to_send())
            data = connection.recv(65536)
            assert data, "the connection was closed"
            for event in http2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    headers |= dict(event.headers)
                if isinstance(event, h2.events.StreamEnded):
                    return headers


def server_streaming(bench):
    word = "p" * 31415
    request = prompted(f"Repeat {word}", ignore_eos=True, max_tokens=4)
    text, error = folded(bench.stub.StreamGenerate(request, timeout=CALL_SECONDS))
    equal("the error", error, None)
    equal("the text", text, f" {word}" * 4)


def custom_metadata(bench):
    own = (("x-grpc-test-echo-initial", "test_initial_metadata_value"), ("x-grpc-test-echo-trailing-bin", b"\xab" * 3))
    names = {name for name, _ in own}
    request_id, metadata = identified()
    _, call = bench.stub.Generate.with_call(prompted("Hello!"), timeout=CALL_SECONDS, metadata=metadata + own)
    headers, trailers = dict(call.initial_metadata()), dict(call.trailing_metadata())
    bench.note(f"headers {headers}, trailers {trailers}")
    equal("x-request-id", headers["x-request-id"], request_id)
    assert not names & (headers.keys() | trailers.keys()), "the caller's own metadata comes back"


def status_code_and_message(bench):
    message = "test status message"
    refused_with(bench, message, message)


def special_status_message(bench):
    """A message of the adapter is one line, so that white space is folded and the rest is intact."""
    message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    refused_with(bench, message, "test with whitespace and Unicode BMP ☺ and non-BMP 😈")


def refused_with(bench, message, want):
    """Lets the upstream refuse with a message, unary and streamed."""
    request = prompted(f"Fail with 400: {message}")
    unary = failure(lambda: bench.stub.Generate(request, timeout=CALL_SECONDS))
    _, streamed = folded(bench.stub.StreamGenerate(request, timeout=CALL_SECONDS))
    bench.note(streamed.details())
    for error in (unary, streamed):
        ends_with(error, grpc.StatusCode.INVALID_ARGUMENT)
        equal("the message", error.details(), want)


def unimplemented_method(bench):
    invoke_unimplemented(bench, "/vllm_adapter.v1.GenerationService/UnimplementedCall")


def unimplemented_service(bench):
    invoke_unimplemented(bench, "/vllm_adapter.v1.UnimplementedService/UnimplementedCall")


def invoke_unimplemented(bench, method):
    error = failure(lambda: bench.channel.unary_unary(method)(b"", timeout=CALL_SECONDS))
    bench.note(error.details())
    ends_with(error, grpc.StatusCode.UNIMPLEMENTED)


def cancel_after_begin(bench):
    stream = bench.stub.StreamGenerate(prompted("Wait."), timeout=CALL_SECONDS)
    bench.upstream.runs(1)
    stream.cancel()
    ends_with(folded(stream)[1], grpc.StatusCode.CANCELLED)
    bench.upstream.runs(0)


def cancel_after_first_response(bench):
    stream = bench.stub.StreamGenerate(prompted("Repeat more", ignore_eos=True), timeout=CALL_SECONDS)
    next(stream)
    stream.cancel()
    ends_with(folded(stream)[1], grpc.StatusCode.CANCELLED)
    bench.upstream.runs(0)


def timeout_on_sleeping_server(bench):
    too_short = failure(lambda: bench.stub.Generate(prompted("Wait."), timeout=0.001))
    ends_with(too_short, grpc.StatusCode.DEADLINE_EXCEEDED)
    # Long enough that the call gets upstream, which the end of the deadline must free.
    error = failure(lambda: bench.stub.Generate(prompted("Wait."), timeout=1))
    ends_with(error, grpc.StatusCode.DEADLINE_EXCEEDED)
    bench.upstream.runs(0)


def concurrent_large_unary(bench):
    calls = [bench.stub.Generate.future(large(), timeout=CALL_SECONDS) for _ in range(CONCURRENT_CALLS)]
    for call in calls:
        is_large(call.result())
    bench.note(f"{CONCURRENT_CALLS} calls on one channel")


def rpc_soak(bench):
    for _ in range(SOAK_CALLS):
        large_unary(bench)
    bench.note(f"{SOAK_CALLS} calls, one after another, on one channel")


def channel_soak(bench):
    for _ in range(SOAK_CHANNELS):
        with bench.dial() as channel:
            stub = generation_pb2_grpc.GenerationServiceStub(channel)
            is_large(stub.Generate(large(), timeout=CALL_SECONDS))
    bench.note(f"{SOAK_CHANNELS} channels, one after another")
