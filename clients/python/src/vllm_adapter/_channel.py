"""What a connection is set to."""

from collections.abc import Sequence

import grpc

SERVICE_CONFIG = """{
  "methodConfig": [{
    "name": [{}],
    "retryPolicy": {
      "maxAttempts": 3, "initialBackoff": "0.5s", "maxBackoff": "5s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }],
  "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1}
}"""
"""Tries again what is UNAVAILABLE, as long as no answer has begun."""

MAX_RECEIVE_BYTES = 32 * 1024 * 1024
"""The adapter's own limit for a response."""

Options = Sequence[tuple[str, str | int]]


def options(further: Options) -> Options:
    """The channel's options; the first of one name holds, so that the further ones prevail."""
    return [
        *further,
        ("grpc.service_config", SERVICE_CONFIG),
        ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def credentials(tls: grpc.ChannelCredentials | None, key: str) -> grpc.ChannelCredentials | None:
    """TLS, with the key in each call."""
    if not key:
        return tls
    if tls is None:
        raise ValueError("key is sent over TLS alone: set tls too, as grpc.ssl_channel_credentials().")
    return grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(key))
