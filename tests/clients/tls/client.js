// Asks once over TLS, and prints the answer's first word, or the code.
//
//     client.js PROTO ADDRESS CA [KEY_FILE | CERT KEY]
'use strict';

const { readFileSync } = require('node:fs');
const grpc = require('@grpc/grpc-js');
const { loadSync } = require('@grpc/proto-loader');

const [proto, address, ca, ...proof] = process.argv.slice(2);
const file = 'vllm_adapter/v1/generation.proto';
const { vllm_adapter } = grpc.loadPackageDefinition(loadSync(file, { includeDirs: [proto] }));
const identity = proof.length === 2 ? [readFileSync(proof[1]), readFileSync(proof[0])] : [null, null];
const tls = grpc.credentials.createSsl(readFileSync(ca), ...identity);
const client = new vllm_adapter.v1.GenerationService(address, tls);
const metadata = new grpc.Metadata();
if (proof.length === 1) metadata.set('authorization', `Bearer ${readFileSync(proof[0], 'utf8').trim()}`);
const deadline = Date.now() + 30_000;
client.generate({ prompt: 'Say hello.' }, metadata, { deadline }, (error, response) => {
  console.log(error ? grpc.status[error.code] : response.choices[0].message.content.split('!')[0]);
  client.close();
});
