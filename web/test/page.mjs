// The playground in a browser, before the demo.
//
//     node page.mjs ADAPTER [SCREENSHOTS]
//
// ADAPTER is the program; into the folder SCREENSHOTS go the pictures of the documentation.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SOON_MS, browser, demo, load, until } from "./bench.mjs";

const PIXEL = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  "base64",
);

const [adapter, screenshots] = process.argv.slice(2);

async function loaded(chromium, url, options = {}) {
  const context = await chromium.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(SOON_MS);
  page.faults = [];
  page.on("console", (message) => message.type() === "error" && page.faults.push(message.text()));
  page.on("pageerror", (error) => page.faults.push(String(error)));
  page.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    if (!["data:", "blob:"].includes(protocol) && origin !== new URL(url).origin) page.faults.push(`request to ${request.url()}`);
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective}`));
  });
  await page.goto(url);
  return page;
}

async function open(chromium, url, options) {
  const page = await loaded(chromium, url, options);
  await page.waitForFunction(() => document.querySelector("#model").options.length > 0);
  return page;
}

async function ask(page, text) {
  await page.fill("#prompt", text);
  await page.press("#prompt", "Enter");
}

const answer = (page) => page.locator(".assistant").last();
const ended = (page) => page.waitForFunction(() => document.querySelector(".assistant:last-of-type:not([aria-busy])") && !document.body.classList.contains("running"));

const CASES = {
  async tokens_appear_before_the_end(page) {
    await ask(page, "Count to 40.");
    await page.waitForFunction(() => document.querySelector(".assistant .text")?.textContent.length > 0);
    const seen = new Set();
    while (await page.evaluate(() => document.body.classList.contains("running"))) {
      seen.add(await answer(page).locator(".text").textContent());
    }
    await ended(page);
    assert.ok(seen.size > 3, `the text grew in ${seen.size} steps`);
    assert.match(await answer(page).locator(".text").textContent(), /^1 2 3 .* 39 40$/);
    const metrics = await answer(page).locator(".metrics").textContent();
    assert.match(metrics, /^stop · first token \d+ ms · [\d.]+ tokens\/s · \d+ in, \d+ out$/);
    return `${seen.size} steps; ${metrics}`;
  },

  async stop_reaches_the_upstream(page, { upstream }) {
    await ask(page, "Count to 1000.");
    await page.waitForFunction(() => document.querySelector(".assistant .text")?.textContent.length > 10);
    assert.equal(await load(upstream), 1);
    await page.click("#send");
    await until("the simulated vLLM sees the connection close", async () => (await load(upstream)) === 0);
    const text = await answer(page).locator(".text").textContent();
    assert.doesNotMatch(text, /1000/);
    assert.match(await answer(page).locator(".metrics").textContent(), /^stopped/);
    await ask(page, "Count to 1000.");
    await until("it runs", async () => (await load(upstream)) === 1);
    await page.keyboard.press("Escape");
    await until("Escape stops it", async () => (await load(upstream)) === 0);
    return `stopped after ${text.length} characters`;
  },

  async reasoning_folds(page) {
    await ask(page, "Think about 17 + 25.");
    await ended(page);
    const fold = answer(page).locator("details");
    assert.match(await fold.locator("summary").textContent(), /^Thought for [\d.]+ s$/);
    assert.equal(await fold.getAttribute("open"), null);
    assert.equal(await fold.locator(".thought-text").textContent(), "The numbers are 17 and 25. Added one after the other, they make 17, then 42. No number is left, so 42 is the sum.");
    assert.equal(await answer(page).locator(".text").textContent(), "17 + 25 = 42");
  },

  async a_tool_call_is_answered(page) {
    await page.click("text=Weather in Paris and Tokyo?");
    await ended(page);
    assert.deepEqual(await answer(page).locator(".arguments").allTextContents(), ['{"city":"Paris"}', '{"city":"Tokyo"}']);
    await page.getByLabel("Result of get_weather").first().fill("sunny");
    await page.getByLabel("Result of get_weather").last().fill("rain");
    await page.click("text=Send results");
    await page.waitForFunction(() => document.querySelectorAll(".assistant").length === 2);
    await ended(page);
    assert.equal(await answer(page).locator(".text").textContent(), "The tool says: rain");
  },

  async json_fits_the_schema(page) {
    await page.click("text=Describe a person as JSON.");
    await ended(page);
    assert.deepEqual(JSON.parse(await answer(page).locator(".text").textContent()), { name: "Ada Lovelace", age: 36 });
  },

  async an_image_is_dropped(page) {
    await page.evaluate((bytes) => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(bytes)], "dot.png", { type: "image/png" }));
      document.querySelector("#prompt").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    }, [...PIXEL]);
    await page.waitForSelector(".thumbnail");
    await ask(page, "Hello!");
    await ended(page);
    assert.equal(await page.locator(".user img").count(), 1);
    assert.match(await answer(page).locator(".text").textContent(), /^I got a picture of type image\/png: 1 by 1 pixels, /);
  },

  async an_error_shows_its_details(page) {
    await page.fill("#temperature", "9");
    await ask(page, "Hello!");
    await ended(page);
    const text = await answer(page).locator(".error").innerText();
    for (const part of ["INVALID_ARGUMENT", "temperature", "request id"]) assert.ok(text.includes(part), `${part} in ${text}`);
    await page.fill("#temperature", "");
    await page.click("text=Try again");
    await ended(page);
    assert.equal(await answer(page).locator(".text").textContent(), "Hello! How can I help you today?");
    return text.replace(/\s+/g, " ");
  },

  async an_error_after_tokens_keeps_them(page) {
    await ask(page, "Fail with abort.");
    await ended(page);
    assert.equal(await answer(page).locator(".text").textContent(), "Hello");
    assert.match(await answer(page).locator(".error").innerText(), /^UNAVAILABLE/);
  },

  async the_call_is_copied_as_code(page) {
    await ask(page, "It's 5 o'clock.");
    await ended(page);
    await page.click("#show-code");
    const languages = await page.locator("#languages button").allTextContents();
    assert.deepEqual(languages, ["grpcurl", "Python", "Go", "TypeScript"]);
    for (const language of languages) {
      await page.click(`#languages >> text=${language}`);
      assert.match(await page.locator("#code").textContent(), /clock/);
    }
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.click("#copy");
    await page.waitForSelector("#copy >> text=Copied");
  },

  async the_keyboard_is_enough(page) {
    await page.keyboard.type("Say hello.");
    await page.keyboard.press("Enter");
    await ended(page);
    assert.equal(await page.evaluate(() => document.activeElement.id), "prompt");
  },
};

// Before an adapter that knows its callers by their keys.
async function a_key_is_asked_for(chromium) {
  const folder = await mkdtemp(join(tmpdir(), "page-"));
  const made = execFileSync(adapter, ["keygen", "page"], { encoding: "utf8" });
  const config = join(folder, "adapter.toml");
  const upstream = '[[upstream]]\nname = "demo"\nurls = ["http://127.0.0.1:1/v1"]\n';
  await writeFile(config, upstream + made.slice(made.indexOf("[[caller]]")));
  const { page: url, stop } = await demo(adapter, "--config", config);
  const page = await loaded(chromium, url);
  try {
    await page.waitForSelector("#key-dialog[open]");
    await page.fill("#key", "wrong");
    await page.press("#key", "Enter");
    await page.waitForFunction(() => document.querySelector("#key-dialog[open] #key")?.value === "");
    await page.fill("#key", made.split("\n")[1]);
    await page.press("#key", "Enter");
    await page.waitForFunction(() => document.querySelector("#model").options.length > 0);
    await ask(page, "Hello!");
    await ended(page);
    assert.equal(await answer(page).locator(".text").textContent(), "Hello! How can I help you today?");
    const kept = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie);
    assert.equal(kept, "{}");
    assert.deepEqual(page.faults, []);
  } finally {
    await page.context().close();
    stop();
    await rm(folder, { recursive: true });
  }
}

async function picture(chromium, url, name, options) {
  const page = await open(chromium, url, options);
  await ask(page, "Think about 17 + 25.");
  await ended(page);
  await page.evaluate(() => document.querySelector("#tools-example").click());
  await ask(page, "Weather in Paris?");
  await ended(page);
  await answer(page).locator(".result").fill('{"sky": "clear", "celsius": 21}');
  await page.screenshot({ path: `${screenshots}/playground-${name}.png` });
  await page.context().close();
}

async function pictures(chromium, url) {
  const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
  await picture(chromium, url, "light", { colorScheme: "light" });
  await picture(chromium, url, "dark", { colorScheme: "dark" });
  await picture(chromium, url, "phone", { colorScheme: "light", ...phone });
}

const { page: url, upstream, stop } = await demo(adapter);
const chromium = await browser();
let failed = 0;
try {
  for (const [name, run] of Object.entries(CASES)) {
    const page = await open(chromium, url);
    let result;
    try {
      result = (await run(page, { url, upstream })) ?? "";
      assert.deepEqual(page.faults, []);
      result = `ok ${result}`;
    } catch (error) {
      failed += 1;
      result = `FAILED ${error.message.slice(0, 600)}`;
    }
    console.log(`${name}: ${result}`);
    await page.context().close();
  }
  try {
    await a_key_is_asked_for(chromium);
    console.log("a_key_is_asked_for: ok");
  } catch (error) {
    failed += 1;
    console.log(`a_key_is_asked_for: FAILED ${error.message.slice(0, 600)}`);
  }
  if (screenshots) {
    await pictures(chromium, url);
  }
} finally {
  await chromium.close();
  stop();
}
console.log(`${Object.keys(CASES).length + 1 - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
