"""Asks once over TLS, and prints the answer's first word, or the code.

client.py ADDRESS CA [KEY_FILE | CERT KEY]
"""

import sys
from pathlib import Path

import grpc
import vllm_adapter
from vllm_adapter import v1

address, ca, *proof = sys.argv[1:]
key, identity = "", (None, None)
match proof:
    case [path]:
        key = Path(path).read_text().strip()
    case [certificate, private]:
        identity = (Path(private).read_bytes(), Path(certificate).read_bytes())
tls = grpc.ssl_channel_credentials(Path(ca).read_bytes(), *identity)
with vllm_adapter.connect(address, tls=tls, key=key) as client:
    try:
        response = client.generate(v1.GenerateRequest(prompt="Say hello."), timeout=30)
        print(response.choices[0].message.content.partition("!")[0])
    except vllm_adapter.AdapterError as error:
        print(error.code.name)
