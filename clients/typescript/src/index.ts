/** A client of vllm-grpc-adapter. The messages of the contract are in `vllm-grpc-adapter-client/v1`. */

import { type ChannelCredentials, type ChannelOptions, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";

import { AdapterError } from "./error.js";
import { GenerateRequest, type GenerateResponse, GenerationServiceClient, type StreamGenerateResponse } from "./v1.js";

export { AdapterError } from "./error.js";
export { fold } from "./fold.js";

/** Tries again what is UNAVAILABLE, as long as no answer has begun. */
export const SERVICE_CONFIG = `{
  "methodConfig": [{
    "name": [{}],
    "retryPolicy": {
      "maxAttempts": 3, "initialBackoff": "0.5s", "maxBackoff": "5s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }],
  "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1}
}`;

/** The adapter's own limit for a response. */
export const MAX_RECEIVE_BYTES = 32 * 1024 * 1024;

/** How to connect. */
export interface Options {
  /** As `credentials.createSsl()` of grpc-js. Unset: plaintext. */
  tls?: ChannelCredentials;
  /** A bearer key, sent in each call. An error without `tls`. */
  key?: string;
  /** The largest response. Unset: `MAX_RECEIVE_BYTES`. */
  maxReceiveBytes?: number;
  /** Further options of grpc-js; they prevail. */
  further?: ChannelOptions;
}

/** The time of a call, upload and stream included. */
export interface CallOptions {
  /** In milliseconds. Infinity: without end. */
  timeoutMs: number;
}

/** A request as an object with the fields that are set. */
export type Request = Parameters<typeof GenerateRequest.fromPartial>[0];

/** A client of the adapter at `address`, as `localhost:50051`. It connects at the first call. */
export function connect(address: string, options: Options = {}): Client {
  const { tls, key, maxReceiveBytes = MAX_RECEIVE_BYTES, further } = options;
  if (key && !tls) {
    throw new TypeError("key is sent over TLS alone: set tls too, as credentials.createSsl().");
  }
  const bearer = credentials.createFromMetadataGenerator((_, done) => {
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${key}`);
    done(null, metadata);
  });
  const chosen = tls && key ? credentials.combineChannelCredentials(tls, bearer) : tls;
  return new Client(address, chosen ?? credentials.createInsecure(), {
    "grpc.service_config": SERVICE_CONFIG,
    "grpc.max_receive_message_length": maxReceiveBytes,
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.keepalive_permit_without_calls": 1,
    ...further,
  });
}

/**
 * Calls GenerationService, and throws AdapterError.
 *
 * The other services have stubs that take the channel of its `stub`; `new AdapterError` takes what they give.
 */
export class Client {
  /** The stub of GenerationService. */
  readonly stub: GenerationServiceClient;

  /** `connect` makes one. */
  constructor(address: string, credentials: ChannelCredentials, options: ChannelOptions) {
    this.stub = new GenerationServiceClient(address, credentials, options);
  }

  /** The whole answer. */
  generate(request: Request, { timeoutMs }: CallOptions): Promise<GenerateResponse> {
    const message = GenerateRequest.fromPartial(request);
    const deadline = Date.now() + timeoutMs;
    return new Promise((resolve, reject) => {
      this.stub.generate(message, new Metadata(), { deadline }, (error, response) =>
        error ? reject(new AdapterError(error)) : resolve(response),
      );
    });
  }

  /** The events of the answer. Leaving the loop ends the call. */
  async *streamGenerate(request: Request, { timeoutMs }: CallOptions): AsyncGenerator<StreamGenerateResponse, void> {
    const deadline = Date.now() + timeoutMs;
    const call = this.stub.streamGenerate(GenerateRequest.fromPartial(request), new Metadata(), { deadline });
    // Where the loop was left, nobody else listens.
    call.on("error", () => {});
    try {
      yield* call;
    } catch (error) {
      throw new AdapterError(error as ServiceError);
    } finally {
      call.cancel();
    }
  }

  /** Closes the connection. */
  close(): void {
    this.stub.close();
  }
}
