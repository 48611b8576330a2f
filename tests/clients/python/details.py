"""The details of errors, read by the calls of grpcio-status."""

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from bench import CALL_SECONDS, ends_with, equal, failure, folded, identified, prompted

KINDS = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        error_details_pb2.BadRequest,
        error_details_pb2.ErrorInfo,
        error_details_pb2.RequestInfo,
        error_details_pb2.ResourceInfo,
        error_details_pb2.RetryInfo,
    )
}


def read_details(bench, error):
    """The details by the names of their kinds, which are noted; an absent one is empty."""
    found = {kind.DESCRIPTOR.name: kind() for kind in KINDS.values()}
    for packed in rpc_status.from_call(error).details:
        detail = KINDS[packed.TypeName()]()
        assert packed.Unpack(detail)
        found[detail.DESCRIPTOR.name] = detail
        bench.note(f"{detail.DESCRIPTOR.name} {' '.join(str(detail).split())}")
    return found


def check(error, found, code, reason, request_id):
    ends_with(error, code)
    equal("the reason", found["ErrorInfo"].reason, reason)
    equal("the domain", found["ErrorInfo"].domain, "vllm-grpc-adapter")
    equal("the request's id", found["RequestInfo"].request_id, request_id)


def details_of(bench, request, code, reason):
    """The details of the error of a unary call."""
    request_id, metadata = identified()
    error = failure(lambda: bench.stub.Generate(request, timeout=CALL_SECONDS, metadata=metadata))
    found = read_details(bench, error)
    check(error, found, code, reason, request_id)
    return found


def details_bad_request(bench):
    request = prompted("Hello!", max_tokens=1_000_000)
    found = details_of(bench, request, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    equal("the metadata's http_status", found["ErrorInfo"].metadata["http_status"], "400")
    violation = found["BadRequest"].field_violations[0]
    equal("the field", violation.field, "max_tokens")
    equal("its description", violation.description, "max_tokens must be in [1, 131072], got 1000000.")


def details_context_length(bench):
    found = details_of(bench, prompted("word " * 120_000), grpc.StatusCode.INVALID_ARGUMENT, "CONTEXT_LENGTH_EXCEEDED")
    equal("the field", found["BadRequest"].field_violations[0].field, "prompt")


def details_model_not_found(bench):
    found = details_of(bench, prompted("Hello!", model="missing"), grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    equal("the metadata's model", found["ErrorInfo"].metadata["model"], "missing")
    resource = found["ResourceInfo"]
    equal("the resource", (resource.resource_type, resource.resource_name), ("model", "missing"))


def details_retry_info(bench):
    found = details_of(bench, prompted("Fail with 503."), grpc.StatusCode.UNAVAILABLE, "UPSTREAM_OVERLOADED")
    equal("the delay in ms", found["RetryInfo"].retry_delay.ToMilliseconds(), 1000)


def details_after_delta(bench):
    request_id, metadata = identified()
    stream = bench.stub.StreamGenerate(prompted("Fail with abort."), timeout=CALL_SECONDS, metadata=metadata)
    text, error = folded(stream)
    equal("the text before", text, "Hello")
    found = read_details(bench, error)
    check(error, found, grpc.StatusCode.UNAVAILABLE, "UPSTREAM_ABORTED", request_id)
    facts = found["ErrorInfo"].metadata
    equal("the metadata", (facts["partial"], facts["deltas"]), ("true", "1"))
