// The adapter's services on the page's own origin, by gRPC-Web.

import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { GenerationService } from "./gen/vllm_adapter/v1/generation_pb";
import { ModelService } from "./gen/vllm_adapter/v1/model_pb";
import { byId } from "./dom";

// In memory only: a reload forgets it.
let key = "";

const authorize: Interceptor = (next) => (request) => {
  if (key) request.header.set("authorization", `Bearer ${key}`);
  return next(request);
};

const transport = createGrpcWebTransport({ baseUrl: location.origin, interceptors: [authorize] });

export const generation = createClient(GenerationService, transport);
export const models = createClient(ModelService, transport);

export function hasKey(): boolean {
  return key !== "";
}

/** Whether the adapter wants a key, or another one. */
export function wantsKey(error: unknown): boolean {
  return ConnectError.from(error).code === Code.Unauthenticated;
}

/** Asks for the key; false where the person will not give one. */
export function askForKey(): Promise<boolean> {
  const dialog = byId<HTMLDialogElement>("key-dialog");
  const input = byId<HTMLInputElement>("key");
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => {
      const given = dialog.returnValue === "use" && input.value.trim() !== "";
      if (given) key = input.value.trim();
      input.value = "";
      resolve(given);
    };
  });
}
