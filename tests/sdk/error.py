"""Errors of both sides in one form: what the adapter has to make of an upstream's error, and what it made of it."""

import openai
from google.rpc import error_details_pb2
from grpc_status import rpc_status

DOMAIN = "vllm-grpc-adapter"

# The adapter's status and reason for an HTTP status of the upstream, of an operator whose key it is.
STATUSES = {
    400: ("INVALID_ARGUMENT", "INVALID_REQUEST"),
    401: ("INTERNAL", "UPSTREAM_AUTH"),
    404: ("NOT_FOUND", "MODEL_NOT_FOUND"),
    422: ("INVALID_ARGUMENT", "INVALID_REQUEST"),
    500: ("INTERNAL", "UPSTREAM_INTERNAL"),
    501: ("UNIMPLEMENTED", "UPSTREAM_UNIMPLEMENTED"),
    503: ("UNAVAILABLE", "UPSTREAM_OVERLOADED"),
}

# The field of the request for a parameter that vLLM names, where it has another name.
FIELDS = {
    "logprobs": "top_logprobs",
    "max_completion_tokens": "max_tokens",
    "response_format": "structured_output",
    "structured_outputs": "structured_output",
    "prompt": "completion",
    "suffix": "completion.suffix",
}


def from_sdk(error):
    """What the adapter has to make of an error of the SDK.

    The message is left out, since the adapter refuses some requests before vLLM does, and so is the field where vLLM
    names none.
    """
    body = error.body if isinstance(error.body, dict) else {}
    # An error within a stream has no HTTP status; its body says which it would have been.
    status = error.status_code if isinstance(error, openai.APIStatusError) else body["code"]
    code, reason = STATUSES[status]
    parameter = (body.get("param") or "").removeprefix("body.")
    if parameter in ("input_tokens", "input_text"):
        return {"code": code, "reason": "CONTEXT_LENGTH_EXCEEDED", "domain": DOMAIN, "has_request_id": True}
    whole = {"code": code, "reason": reason, "domain": DOMAIN, "has_request_id": True}
    if code == "INVALID_ARGUMENT" and parameter:
        whole["field"] = FIELDS.get(parameter, parameter)
    return whole


def from_grpc(error, expected):
    """What the adapter made of it; `expected` is what it has to make of it, and says whether the field is compared."""
    details = details_of(error)
    info = details.get("ErrorInfo")
    request = details.get("RequestInfo")
    whole = {
        "code": error.code().name,
        "reason": info.reason if info else "none",
        "domain": info.domain if info else "none",
        "has_request_id": bool(request and request.request_id),
    }
    if "field" in expected:
        violations = details["BadRequest"].field_violations if "BadRequest" in details else []
        fields = [violation.field for violation in violations]
        # The adapter may name the very member within the field.
        is_right = any(f"{field}.".startswith(f"{expected['field']}.") for field in fields)
        whole["field"] = expected["field"] if is_right else ", ".join(fields) or "none"
    return whole


def details_of(error):
    """The error's details by the names of their types."""
    status = rpc_status.from_call(error)
    found = {}
    for packed in status.details if status else []:
        name = packed.TypeName().removeprefix("google.rpc.")
        detail = getattr(error_details_pb2, name)()
        packed.Unpack(detail)
        found[name] = detail
    return found
