"""Asks over TLS with a key; and what is said of a certificate that is not trusted."""

import sys
from pathlib import Path

import grpc
import vllm_adapter
from vllm_adapter import AdapterError, v1

ADDRESS, CA, KEY = sys.argv[1:]


def ask(tls: grpc.ChannelCredentials) -> str:
    with vllm_adapter.connect(ADDRESS, tls=tls, key=KEY) as client:
        response = client.generate(v1.GenerateRequest(prompt="Say hello."), timeout=30)
        return response.choices[0].message.content


print(ask(grpc.ssl_channel_credentials(Path(CA).read_bytes())))
try:
    # Trusts what gRPC trusts.
    ask(grpc.ssl_channel_credentials())
except AdapterError as error:
    print("not trusted:", error.code.name)
