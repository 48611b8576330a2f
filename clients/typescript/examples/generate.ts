/** Asks once, and prints the whole answer. */

import { connect } from "vllm-grpc-adapter-client";

const client = connect(process.argv[2]!);
const response = await client.generate({ prompt: "Say hello.", maxTokens: 100 }, { timeoutMs: 30_000 });
const choice = response.choices[0]!;
console.log(choice.message?.content);
console.log("finish reason:", choice.finishReason);
console.log("tokens:", response.usage?.promptTokens, "+", response.usage?.completionTokens);
client.close();
