/** Asks for JSON that fits a schema. */

import { connect } from "vllm-grpc-adapter-client";
import { FinishReason } from "vllm-grpc-adapter-client/v1";

const SCHEMA = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

const client = connect(process.argv[2]!);
const request = {
  prompt: "A city, as JSON.",
  structuredOutput: { constraint: { $case: "jsonSchema" as const, value: JSON.stringify(SCHEMA) } },
};
const choice = (await client.generate(request, { timeoutMs: 30_000 })).choices[0]!;
// Only a whole answer holds whole JSON.
if (choice.finishReason !== FinishReason.FINISH_REASON_STOP) {
  throw new Error(`cut off: ${choice.finishReasonRaw}`);
}
console.log("city:", JSON.parse(choice.message!.content).city);
client.close();
