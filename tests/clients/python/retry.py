"""The retry policy that the adapter's documentation gives to callers, at work in C-core."""

import contextlib

import grpc
from vllm_adapter.v1 import generation_pb2_grpc

from bench import CALL_SECONDS, ends_with, equal, failure, folded, identified, prompted


@contextlib.contextmanager
def retrying(bench):
    """A stub on a channel of its own, which obeys the policy."""
    with bench.dial(("grpc.service_config", bench.service_config)) as channel:
        yield generation_pb2_grpc.GenerationServiceStub(channel)


def streamed(bench, part):
    """The text and the end of a stream of a part of the upstream, asked for by the policy, and what was seen of it."""
    request_id, metadata = identified()
    with retrying(bench) as stub:
        text, error = folded(stub.StreamGenerate(prompted(part), timeout=CALL_SECONDS, metadata=metadata))
    seen = bench.upstream.ended(request_id)
    reason = f"{error.code().name} {error.details()}" if error else "none"
    bench.note(f"{seen['attempts']} attempts, {seen['gaps_ms']} ms apart; text {text!r}, error {reason}")
    return text, error, seen


def retry_recovers_stream(bench):
    text, error, seen = streamed(bench, "busy-twice")
    equal("the error", error, None)
    equal("the text", text, "Hello from the upstream.")
    equal("the attempts", seen["attempts"], 3)


def retry_waits_for_pushback(bench):
    _, error, seen = streamed(bench, "busy")
    ends_with(error, grpc.StatusCode.UNAVAILABLE)
    equal("the attempts", seen["attempts"], 3)
    # Its own first backoff is at most 0.6 s; the upstream asked for 1 s.
    assert seen["gaps_ms"][0] >= 950, "the first repeat does not wait for as long as it was told"


def retry_stops_at_negative_pushback(bench):
    """The unary answer was cut, so that a repeat would be paid for twice."""
    request_id, metadata = identified()
    with retrying(bench) as stub:
        error = failure(lambda: stub.Generate(prompted("cut-answer"), timeout=CALL_SECONDS, metadata=metadata))
    seen = bench.upstream.ended(request_id)
    bench.note(f"{seen['attempts']} attempt, error {error.details()}")
    ends_with(error, grpc.StatusCode.UNAVAILABLE)
    equal("the attempts", seen["attempts"], 1)


def retry_never_after_delta(bench):
    text, error, seen = streamed(bench, "cut-after-delta")
    ends_with(error, grpc.StatusCode.UNAVAILABLE)
    equal("the text before", text, "Hello")
    equal("the attempts", seen["attempts"], 1)
