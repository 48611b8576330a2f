"""A failed call, with what the adapter says about it."""

import grpc
from google.rpc import error_details_pb2, status_pb2


class AdapterError(Exception):
    """A call that did not end with OK.

    `code` is the status, and `message` says what is wrong. `reason` says it for programs, as `UPSTREAM_OVERLOADED`;
    it and `request_id` are empty where this side's library made the status. `field` is the path of the wrong field,
    and empty where none is to blame. `retry_delay` is the seconds to wait before the next try; None where nothing was
    said. `metadata` has further facts; after the first event of a stream, `partial` and `deltas`.
    """

    def __init__(self, error: grpc.RpcError) -> None:
        """From what a stub raises, for asyncio or not."""
        assert isinstance(error, (grpc.Call, grpc.aio.AioRpcError)), "a stub raises no other"
        self.code: grpc.StatusCode = error.code()
        self.message = error.details() or ""
        super().__init__(f"{self.code.name} {self.message}")
        status = status_pb2.Status()
        for name, value in error.trailing_metadata() or ():
            if name == "grpc-status-details-bin" and isinstance(value, bytes):
                status.MergeFromString(value)
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.RequestInfo()
        bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        for detail in status.details:
            for known in (info, request, bad, retry):
                detail.Unpack(known)
        self.reason = info.reason
        self.field = bad.field_violations[0].field if bad.field_violations else ""
        self.retry_delay = retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
        self.request_id = request.request_id
        self.metadata = dict(info.metadata)
