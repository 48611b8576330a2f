// The dialog that shows the call as code.

import type { GenerateRequest } from "./gen/vllm_adapter/v1/generation_pb";
import { button, byId } from "./dom";
import { snippets } from "./snippets";

let chosen = "grpcurl";

/** Shows the call in the language that was chosen last. */
export function showCode(request: GenerateRequest): void {
  const texts = snippets(request);
  const [tabs, code] = [byId("languages"), byId("code")];
  const copy = byId<HTMLButtonElement>("copy");
  const choose = (name: string) => {
    chosen = name;
    code.textContent = texts[name] ?? "";
    copy.textContent = "Copy";
    for (const tab of tabs.children) tab.setAttribute("aria-pressed", String(tab.textContent === name));
  };
  tabs.replaceChildren(...Object.keys(texts).map((name) => button(name, "tab", () => choose(name))));
  copy.onclick = async () => {
    await navigator.clipboard.writeText(code.textContent ?? "");
    copy.textContent = "Copied";
  };
  choose(chosen);
  byId<HTMLDialogElement>("code-dialog").showModal();
}
