// The settings beside the chat, and the request that they make.

import { create } from "@bufbuild/protobuf";
import {
  type GenerateRequest,
  GenerateRequestSchema,
  ToolChoiceSchema,
  StructuredOutputSchema,
  ToolMode,
} from "./gen/vllm_adapter/v1/generation_pb";
import { type ChatMessage, ChatMessageSchema, Role, type Tool, ToolSchema } from "./gen/vllm_adapter/v1/chat_pb";
import { byId } from "./dom";

const WEATHER = [
  {
    name: "get_weather",
    description: "The weather in a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];
const PERSON = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" } },
  required: ["name", "age"],
};

/** What is wrong with a setting, for the person. */
export class SettingError extends Error {
  constructor(readonly field: string, message: string) {
    super(message);
  }
}

const value = (id: string) => byId<HTMLInputElement>(id).value.trim();

function number(id: string): number | undefined {
  const text = value(id);
  return text === "" ? undefined : Number(text);
}

function integer(id: string, name: string): number | undefined {
  const given = number(id);
  if (given !== undefined && !Number.isInteger(given)) throw new SettingError(id, `${name}: must be a whole number`);
  return given;
}

function json(id: string, name: string): unknown {
  try {
    return JSON.parse(value(id));
  } catch (error) {
    throw new SettingError(id, `${name}: ${(error as Error).message}`);
  }
}

function tools(): Tool[] {
  if (value("tools") === "") return [];
  const list = json("tools", "Tools");
  if (!Array.isArray(list)) throw new SettingError("tools", "Tools: must be a JSON array of functions");
  return list.map((item) => {
    // As OpenAI's clients write them, or without the envelope.
    const tool = item?.function ?? item;
    if (typeof tool?.name !== "string") throw new SettingError("tools", "Tools: each needs a `name`");
    return create(ToolSchema, {
      name: tool.name,
      description: typeof tool.description === "string" ? tool.description : "",
      parametersJson: tool.parameters === undefined ? "" : JSON.stringify(tool.parameters),
    });
  });
}

function schema(): string {
  if (value("schema") === "") return "";
  json("schema", "JSON schema");
  return value("schema");
}

/** The request for these turns, by the settings. Throws a SettingError. */
export function request(turns: ChatMessage[]): GenerateRequest {
  const system = value("system");
  const first = system ? [create(ChatMessageSchema, { role: Role.SYSTEM, content: system })] : [];
  const made = create(GenerateRequestSchema, {
    model: value("model"),
    messages: [...first, ...turns],
    temperature: number("temperature"),
    topP: number("top-p"),
    maxTokens: integer("max-tokens", "Max tokens"),
    stop: byId<HTMLTextAreaElement>("stop-texts").value.split("\n").filter((line) => line !== ""),
    reasoningEffort: value("effort"),
    tools: tools(),
  });
  const seed = integer("seed", "Seed");
  if (seed !== undefined) made.seed = BigInt(seed);
  const mode = Number(value("tool-mode")) as ToolMode;
  if (made.tools.length > 0 && mode !== ToolMode.UNSPECIFIED) {
    made.toolChoice = create(ToolChoiceSchema, { choice: { case: "mode", value: mode } });
  }
  const form = schema();
  if (form) made.structuredOutput = create(StructuredOutputSchema, { constraint: { case: "jsonSchema", value: form } });
  return made;
}

/** Puts an example into the tools or the schema, and opens their section. */
export function fillExample(id: "tools" | "schema"): void {
  const area = byId<HTMLTextAreaElement>(id);
  area.value = JSON.stringify(id === "tools" ? WEATHER : PERSON, null, 2);
  area.closest("details")?.setAttribute("open", "");
}

export function clearForms(): void {
  for (const id of ["tools", "schema"]) byId<HTMLTextAreaElement>(id).value = "";
}
