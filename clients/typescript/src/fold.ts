import { ChatMessage, Choice, GenerateResponse, Role, type StreamGenerateResponse, ToolCall } from "./v1.js";

type Events = Iterable<StreamGenerateResponse> | AsyncIterable<StreamGenerateResponse>;

/**
 * Makes of a stream's events the response that Generate gives for the same answer.
 *
 * Unless they are all, up to an end without an error, the answer is incomplete.
 */
export async function fold(events: Events): Promise<GenerateResponse> {
  const response = GenerateResponse.create();
  for await (const { event, ...beside } of events) {
    copy(beside, response);
    if (event?.$case === "started") {
      copy(event.value, response);
    } else if (event?.$case === "usage") {
      response.usage = event.value;
    } else if (event) {
      push(event, choice(response, event.value.choiceIndex));
    }
  }
  response.choices.sort((a, b) => (a.index ?? 0) - (b.index ?? 0));
  return response;
}

type Delta = Exclude<NonNullable<StreamGenerateResponse["event"]>, { $case: "started" | "usage" }>;

function push(event: Delta, { choice, message }: { choice: Choice; message: ChatMessage }): void {
  switch (event.$case) {
    case "content":
      message.content += event.value.text;
      break;
    case "reasoning":
      message.reasoning += event.value.text;
      break;
    case "refusal":
      choice.refusal += event.value.text;
      break;
    case "toolCall": {
      const { toolIndex, id, name, arguments: text } = event.value;
      const call = (message.toolCalls[toolIndex] ??= ToolCall.create({ id, name }));
      call.arguments += text;
      break;
    }
    case "tokens":
    case "finished":
      copy(event.value, choice);
  }
}

function choice(response: GenerateResponse, index: number): { choice: Choice; message: ChatMessage } {
  let choice = response.choices.find((choice) => choice.index === index);
  if (!choice) {
    choice = Choice.create({ index });
    response.choices.push(choice);
  }
  const message = (choice.message ??= ChatMessage.create({ role: Role.ROLE_ASSISTANT }));
  return { choice, message };
}

/** The fields that have the same name in both, where they are set; lists are appended to. */
function copy(from: object, to: { [name: string]: any }): void {
  for (const [name, value] of Object.entries(from)) {
    if (name in to && Array.isArray(value)) {
      to[name].push(...value);
    } else if (name in to && value !== undefined && value !== "") {
      to[name] = value;
    }
  }
}
