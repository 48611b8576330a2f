// The details of errors, read by google-gax, which has the calls for them that grpc-js lacks.
'use strict';

const grpc = require('@grpc/grpc-js');
const { GoogleError } = require('google-gax');
const { endsWith, equal, failure, folded, identified, prompted } = require('./bench.js');

const { status } = grpc;

// Reads the details into the error, and notes them.
function readDetails(bench, error) {
  GoogleError.parseGRPCStatusDetails(error);
  bench.note(`ErrorInfo ${error.reason} of ${error.domain} ${JSON.stringify(error.errorInfoMetadata)}`);
  for (const detail of error.statusDetails.filter((it) => it.reason === undefined)) {
    bench.note(JSON.stringify(detail));
  }
}

// The one detail that has a member, which each kind has a name of its own for.
function detailWith(error, member) {
  return error.statusDetails.find((detail) => detail[member] !== undefined);
}

function check(error, { code, reason, id }) {
  endsWith(error, code);
  equal('the reason', error.reason, reason);
  equal('the domain', error.domain, 'vllm-grpc-adapter');
  equal("the request's id", detailWith(error, 'requestId')?.requestId, id);
}

// The error of a unary call, with its details.
async function detailed(bench, request, code, reason) {
  const { id, metadata } = identified();
  const error = await failure(bench.generate(request, { metadata }));
  readDetails(bench, error);
  check(error, { code, reason, id });
  return error;
}

async function badRequest(bench) {
  const error = await detailed(bench, prompted('Hello!', { max_tokens: 1_000_000 }), status.INVALID_ARGUMENT, 'INVALID_REQUEST');
  equal("the metadata's http_status", error.errorInfoMetadata.http_status, '400');
  const [violation] = detailWith(error, 'fieldViolations').fieldViolations;
  equal('the field', violation.field, 'max_tokens');
  equal('its description', violation.description, 'max_tokens must be in [1, 131072], got 1000000.');
}

async function contextLength(bench) {
  const error = await detailed(bench, prompted('word '.repeat(120_000)), status.INVALID_ARGUMENT, 'CONTEXT_LENGTH_EXCEEDED');
  equal('the field', detailWith(error, 'fieldViolations').fieldViolations[0].field, 'prompt');
}

async function modelNotFound(bench) {
  const error = await detailed(bench, prompted('Hello!', { model: 'missing' }), status.NOT_FOUND, 'MODEL_NOT_FOUND');
  equal("the metadata's model", error.errorInfoMetadata.model, 'missing');
  const { resourceType, resourceName } = detailWith(error, 'resourceType');
  equal('the resource', `${resourceType} ${resourceName}`, 'model missing');
}

async function retryInfo(bench) {
  const error = await detailed(bench, prompted('Fail with 503.'), status.UNAVAILABLE, 'UPSTREAM_OVERLOADED');
  equal('the delay in seconds', Number(detailWith(error, 'retryDelay').retryDelay.seconds), 1);
}

async function afterDelta(bench) {
  const { id, metadata } = identified();
  const { text, error } = await folded(bench.stream(prompted('Fail with abort.'), { metadata }));
  equal('the text before', text, 'Hello');
  readDetails(bench, error);
  check(error, { code: status.UNAVAILABLE, reason: 'UPSTREAM_ABORTED', id });
  const { partial, deltas } = error.errorInfoMetadata;
  equal('the metadata', `${partial} ${deltas}`, 'true 1');
}

module.exports = { afterDelta, badRequest, contextLength, modelNotFound, retryInfo };
