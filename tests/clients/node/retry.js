// The retry policy that the adapter's documentation gives to callers, at work in grpc-js.
'use strict';

const assert = require('node:assert');
const grpc = require('@grpc/grpc-js');
const { endsWith, equal, failure, folded, prompted, unique } = require('./bench.js');

// A client on a channel of its own, which obeys the policy.
function retrying(bench) {
  return bench.dial(bench.api.GenerationService, { 'grpc.service_config': bench.serviceConfig });
}

// The text and the end of a stream that is asked for by the policy.
async function streamed(bench, prompt) {
  const { text, error } = await folded(bench.stream(prompted(prompt), { client: retrying(bench) }));
  bench.note(`text "${text}", error ${error?.message ?? 'none'}`);
  return { text, error };
}

async function recoversStream(bench) {
  const { text, error } = await streamed(bench, `Fail twice with 503: ${unique()}`);
  equal('the error', error, null);
  equal('the text', text, 'Hello! How can I help you today?');
}

async function waitsForPushback(bench) {
  const start = Date.now();
  const { error } = await streamed(bench, `Fail once with 503: ${unique()}`);
  equal('the error', error, null);
  // Its own first backoff is at most 0.6 s; the upstream asked for 1 s.
  assert.ok(Date.now() - start >= 950, 'the repeat does not wait for as long as it was told');
}

// The unary answer was aborted, so that a repeat, which would succeed, would be paid for twice.
async function stopsAtNegativePushback(bench) {
  const request = prompted(`Fail once with abort: ${unique()}`);
  const error = await failure(bench.generate(request, { client: retrying(bench) }));
  bench.note(`error ${error.message}`);
  endsWith(error, grpc.status.UNAVAILABLE);
}

// A repeat would succeed.
async function neverAfterDelta(bench) {
  const { text, error } = await streamed(bench, `Fail once with abort: ${unique()}`);
  endsWith(error, grpc.status.UNAVAILABLE);
  equal('the text before', text, 'Hello');
}

module.exports = { neverAfterDelta, recoversStream, stopsAtNegativePushback, waitsForPushback };
