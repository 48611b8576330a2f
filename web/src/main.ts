// The playground: a chat with a model behind the adapter.

import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { type ChatMessage, ChatMessageSchema, Role } from "./gen/vllm_adapter/v1/chat_pb";
import { Answer } from "./answer";
import { askForKey, generation, models, wantsKey } from "./api";
import { showCode } from "./code";
import { button, byId, el } from "./dom";
import { errorCard } from "./errors";
import { clearForms, fillExample, request } from "./form";
import { hasImages, listenForImages, takeImages } from "./images";

const EXAMPLES: { text: string; fill?: "tools" | "schema" }[] = [
  { text: "Say hello." },
  { text: "Count to 100." },
  { text: "Think about 17 + 25." },
  { text: "Weather in Paris and Tokyo?", fill: "tools" },
  { text: "Describe a person as JSON.", fill: "schema" },
];

const chat = byId("chat");
const prompt = byId<HTMLTextAreaElement>("prompt");
const send = byId<HTMLButtonElement>("send");

/** The turns that were answered. */
let history: ChatMessage[] = [];
/** The turns of the last question, for the code of the call. */
let asked: ChatMessage[] = [];
let running: AbortController | undefined;

async function listModels(): Promise<void> {
  const select = byId<HTMLSelectElement>("model");
  try {
    const { models: list } = await models.listModels({});
    select.replaceChildren(...list.map(({ id }) => el("option", "", [id], { value: id })));
    byId("status").replaceChildren();
  } catch (error) {
    if (wantsKey(error) && (await askForKey())) return listModels();
    byId("status").replaceChildren(errorCard(error, () => void listModels()));
  }
}

function setRunning(controller: AbortController | undefined): void {
  running = controller;
  send.textContent = controller ? "Stop" : "Send";
  send.classList.toggle("stop", controller !== undefined);
  document.body.classList.toggle("running", controller !== undefined);
}

/** Follows the answer while the person is at the end of the chat. */
function following(update: () => void): void {
  const isAtEnd = chat.scrollHeight - chat.scrollTop - chat.clientHeight < 80;
  update();
  if (isAtEnd) chat.scrollTop = chat.scrollHeight;
}

async function ask(turns: ChatMessage[]): Promise<void> {
  if (running) return;
  asked = turns;
  const question = [...history, ...turns];
  const controller = new AbortController();
  const answer = new Answer();
  const fail = (error: unknown) => {
    answer.end();
    if (answer.isEmpty) answer.element.replaceChildren();
    answer.element.append(errorCard(error, () => {
      answer.element.remove();
      void ask(turns);
    }));
  };
  setRunning(controller);
  chat.append(answer.element);
  chat.scrollTop = chat.scrollHeight;
  try {
    for await (const event of generation.streamGenerate(request(question), { signal: controller.signal })) {
      following(() => answer.add(event));
    }
    following(() => answer.end());
    history = [...question, answer.turn];
    asked = [];
  } catch (error) {
    if (controller.signal.aborted || ConnectError.from(error).code === Code.Canceled) {
      answer.end("stopped");
      // The turns of a call without its result would be refused.
      if (answer.turn.content && answer.turn.toolCalls.length === 0) [history, asked] = [[...question, answer.turn], []];
    } else if (wantsKey(error) && (await askForKey())) {
      setRunning(undefined);
      answer.element.remove();
      return ask(turns);
    } else {
      following(() => fail(error));
    }
    return setRunning(undefined);
  }
  setRunning(undefined);
  if (answer.turn.toolCalls.length > 0) answer.askForResults((results) => void ask(results));
  else prompt.focus();
}

function userTurn(text: string, urls: string[]): HTMLElement {
  const pictures = urls.map((src) => el("img", "sent", [], { src, alt: "Image" }));
  return el("article", "turn user", [el("h2", "role", ["You"]), ...pictures, el("div", "text", [text])]);
}

function submit(): void {
  if (running) return running.abort();
  const text = prompt.value.trim();
  if (text === "" && !hasImages()) return prompt.focus();
  const { parts, urls } = takeImages();
  const turn = create(ChatMessageSchema, { role: Role.USER, content: parts.length ? "" : text, parts });
  if (parts.length && text) turn.parts.push(...create(ChatMessageSchema, { parts: [{ part: { case: "text", value: text } }] }).parts);
  byId("welcome").hidden = true;
  chat.append(userTurn(text, urls));
  prompt.value = "";
  resize();
  void ask(withoutOpenCalls([turn]));
}

/** A question in place of a result: the calls that wait are forgotten with the question that led to them. */
function withoutOpenCalls(turns: ChatMessage[]): ChatMessage[] {
  while (history.length > 0 && history.at(-1)?.toolCalls.length) {
    const from = history.findLastIndex((turn) => turn.role === Role.USER);
    history = history.slice(0, Math.max(from, 0));
  }
  for (const old of chat.querySelectorAll(".send-results")) old.remove();
  return turns;
}

function resize(): void {
  prompt.rows = Math.min(8, prompt.value.split("\n").length);
}

function reset(): void {
  running?.abort();
  [history, asked] = [[], []];
  for (const turn of chat.querySelectorAll(".turn")) turn.remove();
  byId("welcome").hidden = false;
  prompt.focus();
}

function showCall(): void {
  try {
    const draft = prompt.value.trim() || "Hello!";
    const last = asked.length ? [...history, ...asked] : history.slice(0, -1);
    const turns = last.length && !prompt.value.trim() ? last : [...history, create(ChatMessageSchema, { role: Role.USER, content: draft })];
    showCode(request(turns));
  } catch (error) {
    byId("status").replaceChildren(errorCard(error));
  }
}

function togglePanel(): void {
  const isOpen = document.body.classList.toggle("panel-open");
  byId("settings-button").setAttribute("aria-expanded", String(isOpen));
}

function start(): void {
  byId("composer").onsubmit = (event) => {
    event.preventDefault();
    submit();
  };
  prompt.oninput = resize;
  prompt.onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!running) submit();
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.abort();
  });
  byId("new-chat").onclick = reset;
  byId("show-code").onclick = showCall;
  byId("settings-button").onclick = togglePanel;
  byId("close-settings").onclick = togglePanel;
  for (const id of ["tools", "schema"] as const) byId(`${id}-example`).onclick = () => fillExample(id);
  byId("examples").append(
    ...EXAMPLES.map(({ text, fill }) =>
      button(text, "example", () => {
        clearForms();
        if (fill) fillExample(fill);
        prompt.value = text;
        submit();
      }),
    ),
  );
  listenForImages();
  void listModels();
  prompt.focus();
}

start();
