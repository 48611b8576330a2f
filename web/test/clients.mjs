// connect-web's and grpc-web's own clients, on pages of an allowed and of a refused origin.
//
//     node clients.mjs ADAPTER

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { buildSync } from "esbuild";
import { SOON_MS, browser, demo } from "./bench.mjs";

const [adapter] = process.argv.slice(2);
const [INVALID_ARGUMENT, UNAVAILABLE] = [3, 14];
const script = buildSync({ entryPoints: [new URL("callers.ts", import.meta.url).pathname], bundle: true, write: false }).outputFiles[0].text;

// A site with one page, which has the clients; its origin is where it listens.
function site() {
  const server = createServer((request, response) => {
    const isScript = request.url === "/callers.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? script : '<!doctype html><script src="/callers.js"></script>');
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve({ server, origin: `http://127.0.0.1:${server.address().port}` })));
}

// Prompt, whether it is a stream, most tokens, and how it ends: code, message, whether events came before.
const CALLS = {
  unary: ["Hello!", false, undefined, 0, /^$/, false],
  stream: ["Hello!", true, undefined, 0, /^$/, true],
  unary_refused: ["Hello!", false, 1_000_000, INVALID_ARGUMENT, /max_tokens/, false],
  stream_refused_before_the_first_event: ["Hello!", true, 1_000_000, INVALID_ARGUMENT, /max_tokens/, false],
  stream_refused_by_the_adapter: ["", true, undefined, INVALID_ARGUMENT, /prompt/, false],
  stream_broken_after_the_first_event: ["Fail with abort.", true, undefined, UNAVAILABLE, /./, true],
};

const [allowed, refused] = [await site(), await site()];
const { page: url, stop } = await demo(adapter, "--web-origins", allowed.origin);
const chromium = await browser();
let [passed, failed] = [0, 0];

async function check(name, run) {
  try {
    console.log(`${name}: ok ${JSON.stringify(await run())}`);
    passed += 1;
  } catch (error) {
    console.log(`${name}: FAILED ${error.message.slice(0, 400)}`);
    failed += 1;
  }
}

try {
  const base = url.replace(/\/$/, "");
  for (const [kind, { origin }] of Object.entries({ allowed, refused })) {
    const page = await chromium.newPage();
    page.setDefaultTimeout(SOON_MS);
    await page.goto(origin);
    for (const client of ["connect", "grpcWeb"]) {
      for (const [name, [prompt, isStream, maxTokens, code, message, hasEvents]] of Object.entries(CALLS)) {
        await check(`${kind} ${client} ${name}`, async () => {
          const call = [client, base, prompt, isStream, maxTokens];
          const got = await page.evaluate(([by, ...rest]) => globalThis.callers[by](...rest), call);
          if (kind === "refused") {
            assert.notEqual(got.code, 0);
            assert.deepEqual([got.events, got.details], [0, ""]);
            return got;
          }
          assert.equal(got.code, code, JSON.stringify(got));
          assert.match(got.message, message);
          assert.equal(got.details !== "", code !== 0, JSON.stringify(got));
          assert.equal(got.events > 0, hasEvents, JSON.stringify(got));
          return got;
        });
      }
    }
    await page.close();
  }
  // A page can send without a preflight what it may not read; the adapter does not answer that either.
  await check("a call from a refused origin without a preflight", async () => {
    const headers = { origin: refused.origin, "content-type": "application/grpc-web" };
    const { status } = await fetch(`${base}/vllm_adapter.v1.GenerationService/Generate`, { method: "POST", headers });
    assert.equal(status, 403);
    return status;
  });
} finally {
  await chromium.close();
  stop();
  allowed.server.close();
  refused.server.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
