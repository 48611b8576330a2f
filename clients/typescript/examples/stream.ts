/** Prints an answer while it is made, and then what is known of the whole. */

import { connect, fold } from "vllm-grpc-adapter-client";
import type { StreamGenerateResponse } from "vllm-grpc-adapter-client/v1";

const client = connect(process.argv[2]!);
const events: StreamGenerateResponse[] = [];
const request = { prompt: "Think about 2+2.", maxTokens: 100 };
for await (const response of client.streamGenerate(request, { timeoutMs: 30_000 })) {
  events.push(response);
  if (response.event?.$case === "content") {
    process.stdout.write(response.event.value.text);
  }
}
console.log();
const response = await fold(events);
const choice = response.choices[0]!;
console.log("reasoning:", choice.message?.reasoning);
console.log("finish reason:", choice.finishReason);
console.log("tokens:", response.usage?.promptTokens, "+", response.usage?.completionTokens);
client.close();
