// One answer of the model: what it has said so far, on the page and as a turn to send back.

import { create } from "@bufbuild/protobuf";
import { FinishReason } from "./gen/vllm_adapter/v1/finish_reason_pb";
import type { StreamGenerateResponse } from "./gen/vllm_adapter/v1/generation_pb";
import type { Usage } from "./gen/vllm_adapter/v1/usage_pb";
import { type ChatMessage, ChatMessageSchema, Role, type ToolCall, ToolCallSchema } from "./gen/vllm_adapter/v1/chat_pb";
import { button, el } from "./dom";

export class Answer {
  readonly element = el("article", "turn assistant");
  private readonly body = el("div", "text");
  private readonly metrics = el("p", "metrics");
  private readonly message = create(ChatMessageSchema, { role: Role.ASSISTANT });
  private thought?: { fold: HTMLDetailsElement; text: HTMLElement; title: HTMLElement };
  private readonly calls: { call: ToolCall; shown: HTMLElement; element: HTMLElement }[] = [];
  private readonly begun = performance.now();
  private first?: number;
  private usage?: Usage;
  private finish = "";

  constructor() {
    this.element.setAttribute("aria-busy", "true");
    this.element.append(el("h2", "role", ["Assistant"]), this.body, this.metrics);
  }

  get isEmpty(): boolean {
    return this.message.content === "" && this.message.reasoning === "" && this.calls.length === 0;
  }

  /** The turn to send back with the next question. */
  get turn(): ChatMessage {
    this.message.toolCalls = this.calls.map((it) => it.call);
    return this.message;
  }

  add({ event }: StreamGenerateResponse): void {
    switch (event.case) {
      case "content":
        this.foldThought();
        this.append(event.value.text);
        break;
      case "reasoning":
        this.think(event.value.text);
        break;
      case "toolCall":
        this.foldThought();
        this.call(event.value.toolIndex, event.value.id, event.value.name, event.value.arguments);
        break;
      case "finished":
        this.finish = event.value.finishReasonRaw || FinishReason[event.value.finishReason] || "";
        return;
      case "usage":
        this.usage = event.value;
        return;
      default:
        return;
    }
    this.first ??= performance.now();
  }

  private append(text: string): void {
    this.message.content += text;
    this.body.append(text);
  }

  private think(text: string): void {
    if (!this.thought) {
      const [title, shown] = [el("summary", "", ["Thinking…"]), el("div", "thought-text")];
      const fold = el("details", "thought", [title, shown], { open: true });
      this.thought = { fold, text: shown, title };
      this.body.before(fold);
    }
    this.message.reasoning += text;
    this.thought.text.append(text);
  }

  private foldThought(): void {
    if (!this.thought || this.thought.title.textContent !== "Thinking…") return;
    const seconds = (performance.now() - (this.first ?? this.begun)) / 1000;
    this.thought.title.textContent = `Thought for ${seconds.toFixed(1)} s`;
    this.thought.fold.open = false;
  }

  private call(index: number, id: string, name: string, more: string): void {
    let entry = this.calls[index];
    if (!entry) {
      const shown = el("code", "arguments");
      const element = el("section", "call", [el("h3", "call-name", [name]), el("pre", "", [shown])]);
      entry = { call: create(ToolCallSchema, { id, name }), shown, element };
      this.calls[index] = entry;
      this.metrics.before(element);
    }
    entry.call.arguments += more;
    entry.shown.append(more);
  }

  /** Shows how it ended. */
  end(note = ""): void {
    this.element.removeAttribute("aria-busy");
    this.foldThought();
    this.metrics.textContent = [note || this.finish, ...this.figures()].filter(Boolean).join(" · ");
  }

  private figures(): string[] {
    const end = performance.now();
    const figures: string[] = [];
    if (this.first !== undefined) figures.push(`first token ${Math.round(this.first - this.begun)} ms`);
    const { promptTokens, completionTokens, cachedTokens, reasoningTokens } = this.usage ?? {};
    if (completionTokens !== undefined) {
      const seconds = (end - (this.first ?? this.begun)) / 1000;
      if (completionTokens > 1 && seconds > 0) figures.push(`${((completionTokens - 1) / seconds).toFixed(1)} tokens/s`);
      figures.push(`${promptTokens ?? 0} in, ${completionTokens} out`);
    }
    if (reasoningTokens) figures.push(`${reasoningTokens} reasoning`);
    if (cachedTokens) figures.push(`${cachedTokens} cached`);
    return figures;
  }

  /** Lets the person answer the calls; `send` gets the results as turns. */
  askForResults(send: (results: ChatMessage[]) => void): void {
    if (this.calls.length === 0) return;
    const inputs = this.calls.map(({ call, element }) => {
      const input = el("textarea", "result", [], { rows: 1, placeholder: "Result, as JSON or text" });
      input.setAttribute("aria-label", `Result of ${call.name}`);
      element.append(input);
      return input;
    });
    const give = () => {
      submit.remove();
      for (const input of inputs) input.readOnly = true;
      send(this.calls.map(({ call }, index) => create(ChatMessageSchema, { role: Role.TOOL, toolCallId: call.id, content: inputs[index]?.value || "{}" })));
    };
    const submit = button(inputs.length > 1 ? "Send results" : "Send result", "primary send-results", give);
    this.metrics.before(submit);
    for (const input of inputs) {
      input.onkeydown = (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        if (submit.isConnected) give();
      };
    }
    inputs[0]?.focus();
  }
}
