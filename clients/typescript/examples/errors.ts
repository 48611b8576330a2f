/** What a failed call says: which field is wrong, how long to wait, what came before, and that a deadline has passed. */

import { AdapterError, connect, fold, type Request } from "vllm-grpc-adapter-client";
import type { StreamGenerateResponse } from "vllm-grpc-adapter-client/v1";

const client = connect(process.argv[2]!);

async function failure(call: Promise<unknown>): Promise<AdapterError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof AdapterError) {
      return error;
    }
    throw error;
  }
  throw new Error("the call did not fail");
}

function generate(request: Request, timeoutMs: number): Promise<AdapterError> {
  return failure(client.generate(request, { timeoutMs }));
}

let error = await generate({ prompt: "Say hello.", maxTokens: 0 }, 30_000);
console.log("wrong field:", error.code, error.reason, error.field);

// The connection tries twice more, after as long as the adapter says.
error = await generate({ prompt: "Fail with 503." }, 30_000);
console.log("overloaded:", error.code, error.reason, (error.retryDelayMs! / 1000).toFixed(1));

const events: StreamGenerateResponse[] = [];
async function read(): Promise<void> {
  for await (const event of client.streamGenerate({ prompt: "Fail with abort." }, { timeoutMs: 30_000 })) {
    events.push(event);
  }
}
error = await failure(read());
console.log("cut off:", error.code, error.reason, "after", (await fold(events)).choices[0]!.message?.content);

error = await generate({ prompt: "Wait." }, 500);
console.log("too late:", error.code);
client.close();
