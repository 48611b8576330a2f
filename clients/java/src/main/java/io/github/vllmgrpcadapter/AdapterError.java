package io.github.vllmgrpcadapter;

import com.google.protobuf.*;
import com.google.rpc.*;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.Map;

/** A call that did not end with OK. Its message says what is wrong. */
public final class AdapterError extends RuntimeException {
  /** The status. */
  public final Status.Code code;
  /** What is wrong, for programs, as UPSTREAM_OVERLOADED. Empty where this side's library made the status. */
  public final String reason;
  /** The path of the wrong field. Empty where none is to blame. */
  public final String field;
  /** The time to wait before the next try. Zero where nothing was said. */
  public final Duration retryDelay;
  /** The call's {@code x-request-id}. Empty where this side's library made the status. */
  public final String requestId;
  /** Further facts; after the first event of a stream, {@code partial} and {@code deltas}. */
  public final Map<String, String> metadata;

  /** From what a stub throws. */
  public AdapterError(StatusRuntimeException cause) {
    super(cause.getMessage(), cause);
    com.google.rpc.Status status = StatusProto.fromThrowable(cause);
    ErrorInfo info = detail(status, ErrorInfo.getDefaultInstance());
    BadRequest bad = detail(status, BadRequest.getDefaultInstance());
    var delay = detail(status, RetryInfo.getDefaultInstance()).getRetryDelay();
    code = cause.getStatus().getCode();
    reason = info.getReason();
    field = bad.getFieldViolationsCount() > 0 ? bad.getFieldViolations(0).getField() : "";
    retryDelay = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
    requestId = detail(status, RequestInfo.getDefaultInstance()).getRequestId();
    metadata = info.getMetadataMap();
  }

  private static <T extends Message> T detail(com.google.rpc.Status status, T none) {
    for (Any detail : status.getDetailsList()) {
      try {
        if (detail.isSameTypeAs(none)) {
          return detail.unpackSameTypeAs(none);
        }
      } catch (InvalidProtocolBufferException unreadable) {
        return none;
      }
    }
    return none;
  }
}
