#!/usr/bin/env node
// Calls the adapter by grpc-js, case by case, and prints what it got.
//
//     client.js PROTO ADAPTER UPSTREAM SERVICE_CONFIG
//
// PROTO is the contract's folder, ADAPTER the adapter's host and port, UPSTREAM those of the simulated vLLM behind
// it, and SERVICE_CONFIG the file with the retry policy.
'use strict';

const { readFileSync } = require('node:fs');
const { Bench } = require('./bench.js');
const details = require('./details.js');
const interop = require('./interop.js');
const retry = require('./retry.js');
const standard = require('./standard.js');

const CASES = {
  empty_unary: interop.emptyUnary,
  large_unary: interop.largeUnary,
  client_compressed_unary: interop.clientCompressedUnary,
  server_streaming: interop.serverStreaming,
  custom_metadata: interop.customMetadata,
  status_code_and_message: interop.statusCodeAndMessage,
  special_status_message: interop.specialStatusMessage,
  unimplemented_method: interop.unimplementedMethod,
  unimplemented_service: interop.unimplementedService,
  cancel_after_begin: interop.cancelAfterBegin,
  cancel_after_first_response: interop.cancelAfterFirstResponse,
  timeout_on_sleeping_server: interop.timeoutOnSleepingServer,
  concurrent_large_unary: interop.concurrentLargeUnary,
  rpc_soak: interop.rpcSoak,
  channel_soak: interop.channelSoak,
  health_check: standard.healthCheck,
  health_watch: standard.healthWatch,
  health_list: standard.healthList,
  reflection_v1: standard.reflectionV1,
  reflection_v1alpha: standard.reflectionV1Alpha,
  details_bad_request: details.badRequest,
  details_context_length: details.contextLength,
  details_model_not_found: details.modelNotFound,
  details_retry_info: details.retryInfo,
  details_after_delta: details.afterDelta,
  retry_recovers_stream: retry.recoversStream,
  retry_waits_for_pushback: retry.waitsForPushback,
  retry_stops_at_negative_pushback: retry.stopsAtNegativePushback,
  retry_never_after_delta: retry.neverAfterDelta,
};

// Runs a case, prints its result, and says whether it is good.
async function show(name, run, bench) {
  bench.notes = [];
  let result = 'ok';
  try {
    await run(bench);
  } catch (fault) {
    result = `FAILED ${String(fault.message).replace(/\s+/g, ' ').slice(0, 400)}`;
    console.error(fault);
  }
  console.log(`${name}: ${result}`);
  for (const note of bench.notes) {
    console.log(`    ${note}`);
  }
  return result === 'ok';
}

async function main() {
  if (process.argv.length !== 6) {
    console.error('usage: client.js PROTO ADAPTER UPSTREAM SERVICE_CONFIG');
    process.exit(2);
  }
  const [proto, adapter, upstream, serviceConfig] = process.argv.slice(2);
  const bench = new Bench(proto, adapter, upstream, readFileSync(serviceConfig, 'utf8'));
  let isGood = true;
  for (const [name, run] of Object.entries(CASES)) {
    isGood = (await show(name, run, bench)) && isGood;
  }
  bench.close();
  process.exitCode = isGood ? 0 : 1;
}

main();
