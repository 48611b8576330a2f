"""What every case works with: channels, requests, and the upstream's word."""

import json
import urllib.error
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
    """What upstream.py tells of its calls."""

    def __init__(self, address):
        self._url = f"http://{address}"

    def begun(self, request_id):
        """Waits until the upstream has the call."""
        return self._ask("GET", f"/calls/{request_id}?until=begun")

    def ended(self, request_id):
        """Waits until the upstream is done with the call, or was left."""
        return self._ask("GET", f"/calls/{request_id}?until=ended")

    def abandoned(self, request_id):
        """Waits until the call's upstream connection is closed in the midst of the answer."""
        assert self.ended(request_id)["abandoned"], "the upstream was not left"

    def next(self, request_id):
        """Lets the call's next event go."""
        self._ask("POST", f"/calls/{request_id}/next")

    def _ask(self, method, path):
        request = urllib.request.Request(self._url + path, method=method)
        try:
            with urllib.request.urlopen(request) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"the upstream has not seen it: {error.read().decode()}") from None


def identified():
    """An id by which the upstream is asked about a call, and the metadata that gives it to the call."""
    request_id = f"python-{uuid.uuid4().hex}"
    return request_id, (("x-request-id", request_id),)


def prompted(part, prompt="Hello!"):
    """The shortest request for a part of the upstream."""
    return generation_pb2.GenerateRequest(model=part, prompt=prompt)


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
