/** Asks over TLS with a key; and what is said of a certificate that is not trusted. */

import { readFileSync } from "node:fs";

import { type ChannelCredentials, credentials } from "@grpc/grpc-js";
import { AdapterError, connect } from "vllm-grpc-adapter-client";

const [address, ca, key] = process.argv.slice(2) as [string, string, string];

async function ask(tls: ChannelCredentials): Promise<string | undefined> {
  const client = connect(address, { tls, key });
  try {
    const response = await client.generate({ prompt: "Say hello." }, { timeoutMs: 30_000 });
    return response.choices[0]!.message?.content;
  } finally {
    client.close();
  }
}

console.log(await ask(credentials.createSsl(readFileSync(ca))));
try {
  // Trusts what Node trusts.
  await ask(credentials.createSsl());
} catch (error) {
  console.log("not trusted:", error instanceof AdapterError ? error.code : error);
}
