// The retry policy that the adapter's documentation gives to callers, at work in grpc-js.
'use strict';

const assert = require('node:assert');
const grpc = require('@grpc/grpc-js');
const { endsWith, equal, failure, folded, identified, prompted } = require('./bench.js');

// A client on a channel of its own, which obeys the policy.
function retrying(bench) {
  return bench.dial(bench.api.GenerationService, { 'grpc.service_config': bench.serviceConfig });
}

// The text and the end of a stream of a part of the upstream, asked for by the policy, and what was seen of it.
async function streamed(bench, part) {
  const { id, metadata } = identified();
  const { text, error } = await folded(bench.stream(prompted(part), { client: retrying(bench), metadata }));
  const seen = await bench.upstream.ended(id);
  bench.note(`${seen.attempts} attempts, ${seen.gaps_ms} ms apart; text "${text}", error ${error?.message ?? 'none'}`);
  return { text, error, seen };
}

async function recoversStream(bench) {
  const { text, error, seen } = await streamed(bench, 'busy-twice');
  equal('the error', error, null);
  equal('the text', text, 'Hello from the upstream.');
  equal('the attempts', seen.attempts, 3);
}

async function waitsForPushback(bench) {
  const { error, seen } = await streamed(bench, 'busy');
  endsWith(error, grpc.status.UNAVAILABLE);
  equal('the attempts', seen.attempts, 3);
  // Its own first backoff is at most 0.6 s; the upstream asked for 1 s.
  assert.ok(seen.gaps_ms[0] >= 950, 'the first repeat does not wait for as long as it was told');
}

// The unary answer was cut, so that a repeat would be paid for twice.
async function stopsAtNegativePushback(bench) {
  const { id, metadata } = identified();
  const error = await failure(bench.generate(prompted('cut-answer'), { client: retrying(bench), metadata }));
  const seen = await bench.upstream.ended(id);
  bench.note(`${seen.attempts} attempt, error ${error.message}`);
  endsWith(error, grpc.status.UNAVAILABLE);
  equal('the attempts', seen.attempts, 1);
}

async function neverAfterDelta(bench) {
  const { text, error, seen } = await streamed(bench, 'cut-after-delta');
  endsWith(error, grpc.status.UNAVAILABLE);
  equal('the text before', text, 'Hello');
  equal('the attempts', seen.attempts, 1);
}

module.exports = { neverAfterDelta, recoversStream, stopsAtNegativePushback, waitsForPushback };
