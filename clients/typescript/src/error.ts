import { type Metadata, type ServiceError, status } from "@grpc/grpc-js";

import { BadRequest, ErrorInfo, RequestInfo, RetryInfo } from "./google/rpc/error_details.js";
import { Status } from "./google/rpc/status.js";

/** A call that did not end with OK. Its message says what is wrong. */
export class AdapterError extends Error {
  override name = "AdapterError";
  /** The status, as `UNAVAILABLE`. */
  readonly code: keyof typeof status;
  /** What is wrong, for programs, as `UPSTREAM_OVERLOADED`. Empty where this side's library made the status. */
  readonly reason: string;
  /** The path of the wrong field. Empty where none is to blame. */
  readonly field: string;
  /** The milliseconds to wait before the next try. Undefined where nothing was said. */
  readonly retryDelayMs: number | undefined;
  /** The call's `x-request-id`. Empty where this side's library made the status. */
  readonly requestId: string;
  /** Further facts; after the first event of a stream, `partial` and `deltas`. */
  readonly metadata: { [key: string]: string };

  /** From what a stub gives. */
  constructor(cause: ServiceError) {
    super(cause.details, { cause });
    const found = details(cause.metadata);
    const info = ErrorInfo.decode(found("ErrorInfo"));
    const delay = RetryInfo.decode(found("RetryInfo")).retryDelay;
    this.code = (status[cause.code] ?? "UNKNOWN") as keyof typeof status;
    this.reason = info.reason;
    this.field = BadRequest.decode(found("BadRequest")).fieldViolations[0]?.field ?? "";
    this.retryDelayMs = delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6;
    this.requestId = RequestInfo.decode(found("RequestInfo")).requestId;
    this.metadata = info.metadata;
  }
}

/** The details of a status, by the names of their types; one that is missing is empty. */
function details(metadata: Metadata | undefined): (name: string) => Uint8Array {
  const [bytes] = metadata?.get("grpc-status-details-bin") ?? [];
  const all = bytes instanceof Uint8Array ? Status.decode(bytes).details : [];
  return (name) => all.find((any) => any.typeUrl.endsWith(`/google.rpc.${name}`))?.value ?? new Uint8Array();
}
