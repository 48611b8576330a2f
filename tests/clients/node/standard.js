// The services that every gRPC server offers.
'use strict';

const assert = require('node:assert');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const { CALL_MS, carried, endsWith, equal, failure, load, unary } = require('./bench.js');

const SERVICE = 'vllm_adapter.v1.GenerationService';
const FILE = 'vllm_adapter/v1/generation.proto';
// npm's health.proto has no List.
const HEALTH = path.join(__dirname, '../../../third_party/proto');

function health(bench) {
  return bench.dial(load('grpc/health/v1/health.proto', HEALTH).grpc.health.v1.Health);
}

async function healthCheck(bench) {
  const client = health(bench);
  for (const service of ['', SERVICE]) {
    equal(`the health of "${service}"`, (await unary(client, 'Check', { service })).status, 'SERVING');
  }
  endsWith(await failure(unary(client, 'Check', { service: 'unknown' })), grpc.status.NOT_FOUND);
}

async function healthWatch(bench) {
  const client = health(bench);
  for (const [service, want] of Object.entries({ [SERVICE]: 'SERVING', unknown: 'SERVICE_UNKNOWN' })) {
    const watch = client.Watch({ service }, { deadline: Date.now() + CALL_MS });
    const answer = await new Promise((resolve, reject) => watch.once('data', resolve).on('error', reject));
    watch.cancel();
    equal(`the health of "${service}"`, answer.status, want);
  }
}

async function healthList(bench) {
  const { statuses } = await unary(health(bench), 'List', {});
  bench.note(JSON.stringify(statuses));
  equal('the health of the server', statuses['']?.status, 'SERVING');
  equal('the health of the service', statuses[SERVICE]?.status, 'SERVING');
}

// Asks twice on one stream, and the second time only after the first answer.
async function reflection(bench, version) {
  const { [version]: api } = carried('@grpc/reflection', `build/proto/grpc/reflection/${version}/reflection.proto`).grpc
    .reflection;
  const stream = bench.dial(api.ServerReflection).ServerReflectionInfo({ deadline: Date.now() + CALL_MS });
  const ask = (question) =>
    new Promise((resolve, reject) => {
      stream.once('data', resolve).once('error', reject);
      stream.write(question);
    });
  const listed = await ask({ list_services: '' });
  const names = listed.list_services_response.service.map((service) => service.name);
  const described = await ask({ file_containing_symbol: SERVICE });
  const files = described.file_descriptor_response.file_descriptor_proto;
  stream.end();
  bench.note(names.join(' '));
  assert.ok(names.includes(SERVICE), `${SERVICE} is not listed`);
  assert.ok(files.some((file) => file.includes(FILE)), `${FILE} is not described`);
}

module.exports = {
  healthCheck,
  healthList,
  healthWatch,
  reflectionV1: (bench) => reflection(bench, 'v1'),
  reflectionV1Alpha: (bench) => reflection(bench, 'v1alpha'),
};
