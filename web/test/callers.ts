// What a page of another origin does: calls by connect-web's client and by grpc-web's, and tells how each ended.

import { type DescMessage, type MessageShape, create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { GrpcWebClientBase, MethodDescriptor, MethodType, type RpcError } from "grpc-web";
import { ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb";
import { type GenerateRequest, GenerateRequestSchema, GenerateResponseSchema, GenerationService, StreamGenerateResponseSchema } from "../src/gen/vllm_adapter/v1/generation_pb";

interface Outcome {
  code: number;
  message: string;
  /** The reason of google.rpc.ErrorInfo, or whether there are details at all. */
  details: string;
  events: number;
}

const OK = { code: 0, message: "", details: "" };

function failed(thrown: unknown, events: number): Outcome {
  const error = ConnectError.from(thrown);
  const details = error.findDetails(ErrorInfoSchema)[0]?.reason ?? "";
  return { code: error.code, message: error.rawMessage, details, events };
}

async function connect(baseUrl: string, prompt: string, isStream: boolean, maxTokens?: number): Promise<Outcome> {
  const client = createClient(GenerationService, createGrpcWebTransport({ baseUrl }));
  let events = 0;
  try {
    if (isStream) for await (const _ of client.streamGenerate({ prompt, maxTokens })) events += 1;
    else await client.generate({ prompt, maxTokens });
    return { ...OK, events };
  } catch (error) {
    return failed(error, events);
  }
}

function method<T extends DescMessage>(name: string, type: string, response: T) {
  const [request, answer] = [Object as never, Object as never];
  const write = (message: GenerateRequest) => toBinary(GenerateRequestSchema, message);
  const read = (bytes: Uint8Array): MessageShape<T> => fromBinary(response, bytes);
  return new MethodDescriptor<GenerateRequest, MessageShape<T>>(`/vllm_adapter.v1.GenerationService/${name}`, type, request, answer, write as never, read);
}

function grpcWeb(url: string, prompt: string, isStream: boolean, maxTokens?: number): Promise<Outcome> {
  const client = new GrpcWebClientBase({ format: "binary" });
  const request = create(GenerateRequestSchema, { prompt, maxTokens });
  const told = ({ code, message, metadata }: RpcError, events: number) => {
    const details = metadata?.["grpc-status-details-bin"] ? "present" : "";
    return { code, message, details, events };
  };
  return new Promise((resolve) => {
    if (!isStream) {
      const unary = method("Generate", MethodType.UNARY, GenerateResponseSchema);
      client.rpcCall(`${url}${unary.getName()}`, request, {}, unary, (error) => resolve(error ? told(error, 0) : { ...OK, events: 0 }));
      return;
    }
    let events = 0;
    const streaming = method("StreamGenerate", MethodType.SERVER_STREAMING, StreamGenerateResponseSchema);
    const stream = client.serverStreaming(`${url}${streaming.getName()}`, request, {}, streaming);
    stream.on("data", () => (events += 1));
    stream.on("error", (error) => resolve(told(error, events)));
    stream.on("end", () => resolve({ ...OK, events }));
  });
}

Object.assign(globalThis, { callers: { connect, grpcWeb } });
