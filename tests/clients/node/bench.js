// What every case works with: channels, requests, and the simulated vLLM.
'use strict';

const assert = require('node:assert');
const { randomUUID } = require('node:crypto');
const path = require('node:path');
const { setTimeout } = require('node:timers/promises');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

// Of calls that are to end long before.
const CALL_MS = 30_000;

const LOADING = { enums: String, keepCase: true, longs: Number, oneofs: true };

// The adapter, the upstream behind it, and what a case got, which is printed below its result.
class Bench {
  constructor(proto, adapter, upstream, serviceConfig) {
    this.adapter = adapter;
    this.upstream = new Upstream(upstream);
    this.serviceConfig = serviceConfig;
    this.api = load('vllm_adapter/v1/generation.proto', proto).vllm_adapter.v1;
    this.clients = [];
    this.client = this.dial(this.api.GenerationService);
    this.notes = [];
  }

  // A client of a service on a channel of its own.
  dial(Service, options = {}) {
    const own = { 'grpc.use_local_subchannel_pool': 1, ...options };
    const client = new Service(this.adapter, grpc.credentials.createInsecure(), own);
    this.clients.push(client);
    return client;
  }

  // Makes a unary call; rejects with its error.
  generate(request, { client = this.client, metadata = new grpc.Metadata(), ms = CALL_MS } = {}) {
    return unary(client, 'Generate', request, { metadata, ms });
  }

  stream(request, { client = this.client, metadata = new grpc.Metadata() } = {}) {
    return client.StreamGenerate(request, metadata, { deadline: Date.now() + CALL_MS });
  }

  note(text) {
    this.notes.push(text);
  }

  close() {
    for (const client of this.clients) {
      client.close();
    }
  }
}

// The simulated vLLM.
class Upstream {
  constructor(address) {
    this.url = `http://${address}/load`;
  }

  // Waits until as many generations run.
  async runs(want) {
    let running;
    for (const deadline = Date.now() + CALL_MS; Date.now() < deadline; await setTimeout(10)) {
      running = (await (await fetch(this.url)).json()).server_load;
      if (running === want) {
        return;
      }
    }
    assert.fail(`${running} generations run upstream, not ${want}`);
  }
}

// The packages of a proto file, whose imports lie in the same folder.
function load(file, ...folders) {
  return grpc.loadPackageDefinition(protoLoader.loadSync(file, { ...LOADING, includeDirs: folders }));
}

// A proto file that an npm package carries.
function carried(name, file) {
  return load(path.join(path.dirname(require.resolve(`${name}/package.json`)), file));
}

// Makes a unary call; rejects with its error.
function unary(client, method, request, { metadata = new grpc.Metadata(), ms = CALL_MS } = {}) {
  return new Promise((resolve, reject) => {
    const done = (error, answer) => (error ? reject(error) : resolve(answer));
    client[method](request, metadata, { deadline: Date.now() + ms }, done);
  });
}

// Text that no other call has.
function unique() {
  return `node-${randomUUID()}`;
}

// An id, and the metadata that gives it to a call.
function identified() {
  const id = unique();
  const metadata = new grpc.Metadata();
  metadata.set('x-request-id', id);
  return { id, metadata };
}

function prompted(prompt, options = {}) {
  return { prompt, ...options };
}

// The error that a call ends with.
async function failure(call) {
  try {
    await call;
  } catch (error) {
    return error;
  }
  throw new Error('the call ended with OK');
}

// The text of a stream, and its error where it ended with one.
async function folded(stream) {
  let text = '';
  try {
    for await (const event of stream) {
      text += event.content?.text ?? '';
    }
  } catch (error) {
    return { text, error };
  }
  return { text, error: null };
}

function equal(what, got, want) {
  assert.ok(got === want, `${what} is ${String(got).slice(0, 200)}, not ${String(want).slice(0, 200)}`);
}

function endsWith(error, code) {
  equal('the code', grpc.status[error?.code], grpc.status[code]);
}

module.exports = { Bench, CALL_MS, carried, endsWith, equal, failure, folded, identified, load, prompted, unary, unique };
