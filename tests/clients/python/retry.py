"""The retry policy that the adapter's documentation gives to callers, at work in C-core."""

import contextlib
import time

import grpc
from vllm_adapter.v1 import generation_pb2_grpc

from bench import CALL_SECONDS, ends_with, equal, failure, folded, prompted, unique


@contextlib.contextmanager
def retrying(bench):
    """A stub on a channel of its own, which obeys the policy."""
    with bench.dial(("grpc.service_config", bench.service_config)) as channel:
        yield generation_pb2_grpc.GenerationServiceStub(channel)


def streamed(bench, prompt):
    """The text and the end of a stream that is asked for by the policy."""
    with retrying(bench) as stub:
        text, error = folded(stub.StreamGenerate(prompted(prompt), timeout=CALL_SECONDS))
    reason = f"{error.code().name} {error.details()}" if error else "none"
    bench.note(f"text {text!r}, error {reason}")
    return text, error


def retry_recovers_stream(bench):
    text, error = streamed(bench, f"Fail twice with 503: {unique()}")
    equal("the error", error, None)
    equal("the text", text, "Hello! How can I help you today?")


def retry_waits_for_pushback(bench):
    start = time.monotonic()
    _, error = streamed(bench, f"Fail once with 503: {unique()}")
    equal("the error", error, None)
    # Its own first backoff is at most 0.6 s; the upstream asked for 1 s.
    assert time.monotonic() - start >= 0.95, "the repeat does not wait for as long as it was told"


def retry_stops_at_negative_pushback(bench):
    """The unary answer was aborted, so that a repeat, which would succeed, would be paid for twice."""
    with retrying(bench) as stub:
        request = prompted(f"Fail once with abort: {unique()}")
        error = failure(lambda: stub.Generate(request, timeout=CALL_SECONDS))
    bench.note(f"error {error.details()}")
    ends_with(error, grpc.StatusCode.UNAVAILABLE)


def retry_never_after_delta(bench):
    """A repeat would succeed."""
    text, error = streamed(bench, f"Fail once with abort: {unique()}")
    ends_with(error, grpc.StatusCode.UNAVAILABLE)
    equal("the text before", text, "Hello")
