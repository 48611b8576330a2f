/** Lets the model call a tool, and answers with the tool's result. */

import { connect, fold, type Request } from "vllm-grpc-adapter-client";
import { ChatMessage, Role } from "vllm-grpc-adapter-client/v1";

const PARAMETERS = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [
  { name: "get_weather", description: "The weather in a city.", parametersJson: JSON.stringify(PARAMETERS) },
];

const client = connect(process.argv[2]!);
const messages = [ChatMessage.fromPartial({ role: Role.ROLE_USER, content: "Weather in Paris?" })];
const request: Request = { messages, tools };
const choice = (await fold(client.streamGenerate(request, { timeoutMs: 30_000 }))).choices[0]!;
console.log("finish reason:", choice.finishReason);
messages.push(choice.message!);
for (const call of choice.message!.toolCalls) {
  const { city } = JSON.parse(call.arguments);
  console.log(`${call.name}: ${city}`);
  const result = { role: Role.ROLE_TOOL, toolCallId: call.id, content: `Sunny in ${city}.` };
  messages.push(ChatMessage.fromPartial(result));
}
const response = await client.generate(request, { timeoutMs: 30_000 });
console.log(response.choices[0]!.message?.content);
client.close();
