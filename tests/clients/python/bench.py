"""What every case works with: channels, requests, and the simulated vLLM."""

import json
import time
import urllib.request
import uuid

import grpc
from vllm_adapter.v1 import generation_pb2, generation_pb2_grpc

# Of calls that are to end long before.
CALL_SECONDS = 30


class Bench:
    """The adapter, the upstream behind it, and what a case got, which is printed below its result."""

    def __init__(self, adapter, upstream, service_config):
        self.adapter = adapter
        self.upstream = Upstream(upstream)
        self.service_config = service_config
        self.channel = self.dial()
        self.stub = generation_pb2_grpc.GenerationServiceStub(self.channel)
        self.notes = []

    def dial(self, *options):
        # C-core shares connections between channels with the same arguments, unless it is told not to.
        return grpc.insecure_channel(self.adapter, (("grpc.use_local_subchannel_pool", 1), *options))

    def note(self, text):
        self.notes.append(str(text))


class Upstream:
    """The simulated vLLM."""

    def __init__(self, address):
        self._url = f"http://{address}/load"

    def runs(self, want):
        """Waits until as many generations run."""
        deadline = time.monotonic() + CALL_SECONDS
        while time.monotonic() < deadline:
            with urllib.request.urlopen(self._url) as response:
                running = json.load(response)["server_load"]
            if running == want:
                return
            time.sleep(0.01)
        raise AssertionError(f"{running} generations run upstream, not {want}")


def unique():
    """Text that no other call has."""
    return f"python-{uuid.uuid4().hex}"


def identified():
    """An id, and the metadata that gives it to a call."""
    request_id = unique()
    return request_id, (("x-request-id", request_id),)


def prompted(prompt, **options):
    return generation_pb2.GenerateRequest(prompt=prompt, **options)


def equal(what, got, want):
    assert got == want, f"{what} is {str(got)[:200]}, not {str(want)[:200]}"


def failure(call):
    """The error that a call ends with."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call ended with OK")


def folded(stream):
    """The text of a stream, and its error where it ended with one."""
    text = ""
    try:
        for event in stream:
            text += event.content.text
    except grpc.RpcError as error:
        return text, error
    return text, None


def ends_with(error, code):
    equal("the code", error and error.code(), code)
