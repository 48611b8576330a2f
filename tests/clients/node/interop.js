// The gRPC project's interop cases that apply, on the services of the adapter.
//
// https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md
'use strict';

const assert = require('node:assert');
const http2 = require('node:http2');
const grpc = require('@grpc/grpc-js');
const { endsWith, equal, failure, folded, identified, prompted } = require('./bench.js');

const { status } = grpc;
const { compressionAlgorithms } = grpc;
const LARGE_REQUEST = 271_828;
// More than the calls that the adapter takes at once on a connection, so that some wait here.
const CONCURRENT_CALLS = 300;
const SOAK_CALLS = 200;
const SOAK_CHANNELS = 20;

async function emptyUnary(bench) {
  const error = await failure(bench.generate({}));
  bench.note(error.details);
  endsWith(error, status.INVALID_ARGUMENT);
}

async function largeUnary(bench, client = bench.client) {
  const word = 'p'.repeat(LARGE_REQUEST - 'Repeat '.length);
  const answer = await bench.generate(prompted(`Repeat ${word}`), { client });
  equal("the prompt's tokens of four bytes", answer.usage.prompt_tokens, LARGE_REQUEST / 4);
  equal('the text', answer.choices[0].message.content, ` ${word}`);
}

async function clientCompressedUnary(bench) {
  for (const name of ['gzip', 'deflate']) {
    const client = compressing(bench, compressionAlgorithms[name]);
    const refused = await failure(bench.generate(prompted('Hello!'), { client }));
    bench.note(`${name}: ${refused.code} ${refused.details}`);
    endsWith(refused, status.UNIMPLEMENTED);
  }
  const headers = await flaggedWithoutEncoding(bench);
  bench.note(`flag without encoding: ${headers['grpc-status']} ${headers['grpc-message']}`);
  equal('the status of a flag without encoding', headers['grpc-status'], String(status.INTERNAL));
}

function compressing(bench, algorithm) {
  return bench.dial(bench.api.GenerationService, { 'grpc.default_compression_algorithm': algorithm });
}

// The answer's headers to a message with the flag of a compressed one and no grpc-encoding, which grpc-js cannot.
function flaggedWithoutEncoding(bench) {
  const message = bench.api.GenerationService.service.Generate.requestSerialize(prompted('Hello!'));
  const head = Buffer.from([1, 0, 0, 0, message.length]);
  return new Promise((resolve, reject) => {
    const session = http2.connect(`http://${bench.adapter}`).on('error', reject);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/vllm_adapter.v1.GenerationService/Generate',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    let headers = {};
    stream.on('response', (got) => (headers = { ...headers, ...got }));
    stream.on('trailers', (got) => (headers = { ...headers, ...got }));
    stream.on('error', reject);
    stream.on('close', () => session.close(() => resolve(headers)));
    stream.resume();
    stream.end(Buffer.concat([head, message]));
  });
}

async function serverStreaming(bench) {
  const word = 'p'.repeat(31_415);
  const request = prompted(`Repeat ${word}`, { ignore_eos: true, max_tokens: 4 });
  const { text, error } = await folded(bench.stream(request));
  equal('the error', error, null);
  equal('the text', text, ` ${word}`.repeat(4));
}

async function customMetadata(bench) {
  const names = ['x-grpc-test-echo-initial', 'x-grpc-test-echo-trailing-bin'];
  const { id, metadata } = identified();
  metadata.set(names[0], 'test_initial_metadata_value');
  metadata.set(names[1], Buffer.from([0xab, 0xab, 0xab]));
  const { headers, trailers } = await new Promise((resolve, reject) => {
    const got = {};
    const call = bench.client.Generate(prompted('Hello!'), metadata, (error) => error && reject(error));
    call.on('metadata', (initial) => (got.headers = initial.getMap()));
    call.on('status', (end) => resolve({ ...got, trailers: end.metadata.getMap() }));
  });
  bench.note(`headers ${JSON.stringify(headers)}, trailers ${JSON.stringify(trailers)}`);
  equal('x-request-id', headers['x-request-id'], id);
  for (const name of names) {
    assert.ok(!(name in headers) && !(name in trailers), `${name} comes back`);
  }
}

async function statusCodeAndMessage(bench) {
  const message = 'test status message';
  await refusedWith(bench, message, message);
}

// A message of the adapter is one line, so that white space is folded and the rest is intact.
async function specialStatusMessage(bench) {
  const message = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n';
  await refusedWith(bench, message, 'test with whitespace and Unicode BMP ☺ and non-BMP 😈');
}

// Lets the upstream refuse with a message, unary and streamed.
async function refusedWith(bench, message, want) {
  const request = prompted(`Fail with 400: ${message}`);
  const unary = await failure(bench.generate(request));
  const streamed = (await folded(bench.stream(request))).error;
  bench.note(streamed.details);
  for (const error of [unary, streamed]) {
    endsWith(error, status.INVALID_ARGUMENT);
    equal('the message', error.details, want);
  }
}

async function unimplementedMethod(bench) {
  await invokeUnimplemented(bench, '/vllm_adapter.v1.GenerationService/UnimplementedCall');
}

async function unimplementedService(bench) {
  await invokeUnimplemented(bench, '/vllm_adapter.v1.UnimplementedService/UnimplementedCall');
}

async function invokeUnimplemented(bench, method) {
  const same = (bytes) => bytes;
  const call = new Promise((resolve, reject) => {
    const done = (error, answer) => (error ? reject(error) : resolve(answer));
    bench.client.makeUnaryRequest(method, same, same, Buffer.alloc(0), done);
  });
  const error = await failure(call);
  bench.note(error.details);
  endsWith(error, status.UNIMPLEMENTED);
}

async function cancelAfterBegin(bench) {
  const stream = bench.stream(prompted('Wait.'));
  const end = folded(stream);
  await bench.upstream.runs(1);
  stream.cancel();
  endsWith((await end).error, status.CANCELLED);
  await bench.upstream.runs(0);
}

async function cancelAfterFirstResponse(bench) {
  const stream = bench.stream(prompted('Repeat more', { ignore_eos: true }));
  stream.once('data', () => stream.cancel());
  const error = await new Promise((resolve) => stream.on('error', resolve));
  endsWith(error, status.CANCELLED);
  await bench.upstream.runs(0);
}

async function timeoutOnSleepingServer(bench) {
  const tooShort = await failure(bench.generate(prompted('Wait.'), { ms: 1 }));
  endsWith(tooShort, status.DEADLINE_EXCEEDED);
  // Long enough that the call gets upstream, which the end of the deadline must free.
  const error = await failure(bench.generate(prompted('Wait.'), { ms: 1_000 }));
  endsWith(error, status.DEADLINE_EXCEEDED);
  await bench.upstream.runs(0);
}

async function concurrentLargeUnary(bench) {
  await Promise.all(Array.from({ length: CONCURRENT_CALLS }, () => largeUnary(bench)));
  bench.note(`${CONCURRENT_CALLS} calls on one channel`);
}

async function rpcSoak(bench) {
  for (let call = 0; call < SOAK_CALLS; call++) {
    await largeUnary(bench);
  }
  bench.note(`${SOAK_CALLS} calls, one after another, on one channel`);
}

async function channelSoak(bench) {
  for (let channel = 0; channel < SOAK_CHANNELS; channel++) {
    const client = bench.dial(bench.api.GenerationService);
    await largeUnary(bench, client);
    client.close();
  }
  bench.note(`${SOAK_CHANNELS} channels, one after another`);
}

module.exports = {
  cancelAfterBegin,
  cancelAfterFirstResponse,
  channelSoak,
  clientCompressedUnary,
  concurrentLargeUnary,
  customMetadata,
  emptyUnary,
  // The second argument is no case's.
  largeUnary: (bench) => largeUnary(bench),
  rpcSoak,
  serverStreaming,
  specialStatusMessage,
  statusCodeAndMessage,
  timeoutOnSleepingServer,
  unimplementedMethod,
  unimplementedService,
};
