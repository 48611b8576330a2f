// The program under test, a browser, and what waits for them.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

// Of a step that takes milliseconds on a quiet machine.
export const SOON_MS = 30_000;

// Starts the demo on ports that the system picks.
export async function demo(adapter, ...flags) {
  const command = spawn(adapter, ["demo", "--listen", "127.0.0.1:0", "--web-listen", "127.0.0.1:0", ...flags], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const found = {};
  for await (const line of createInterface({ input: command.stdout })) {
    found.page ??= /playground is at (\S+)/.exec(line)?.[1];
    found.upstream ??= /simulated vLLM is at (\S+?)\/v1/.exec(line)?.[1];
    if (found.page && found.upstream) break;
  }
  command.stdout.resume();
  return { ...found, stop: () => command.kill() };
}

// Generations that run in the simulated vLLM.
export async function load(upstream) {
  return (await (await fetch(`${upstream}/load`)).json()).server_load;
}

export async function until(what, holds) {
  const end = Date.now() + SOON_MS;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${SOON_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function browser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
}
