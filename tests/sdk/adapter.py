"""The adapter as a process of its own, and its stubs, made from `proto/` when they are needed."""

import importlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import types

import grpc
import grpc_tools
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).parents[2] / "proto"
START_SECONDS = 20
# A `grpc.health.v1.HealthCheckResponse` with the status SERVING.
SERVING = b"\x08\x01"


def stubs(directory):
    """The generated messages and the stubs' classes, each as one namespace; their modules are written to the directory."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    includes = [f"-I{PROTO}", f"-I{pathlib.Path(grpc_tools.__file__).parent / '_proto'}"]
    outputs = [f"--python_out={directory}", f"--grpc_python_out={directory}"]
    if protoc.main(["protoc", *includes, *outputs, *sources]) != 0:
        sys.exit("protoc failed")
    sys.path.insert(0, str(directory))
    messages, services = types.SimpleNamespace(), types.SimpleNamespace()
    for name in (pathlib.Path(source).stem for source in sources):
        vars(messages).update(vars(importlib.import_module(f"vllm_adapter.v1.{name}_pb2")))
        vars(services).update(vars(importlib.import_module(f"vllm_adapter.v1.{name}_pb2_grpc")))
    return messages, services


class Adapter:
    """A running adapter, until it is closed."""

    def __init__(self, binary, upstream, key, *flags):
        self._directory = tempfile.TemporaryDirectory()
        self._log = pathlib.Path(self._directory.name, "log")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ADAPTER_")}
        environment |= {"ADAPTER_LISTEN": address, "ADAPTER_UPSTREAM": upstream, "OPENAI_API_KEY": key}
        with self._log.open("wb") as log:
            # In a directory of its own, where no .env lies.
            self._process = subprocess.Popen(
                [pathlib.Path(binary).resolve(), *flags],
                cwd=self._directory.name,
                env=environment,
                stdout=log,
                stderr=log,
            )
        self.channel = grpc.insecure_channel(address)
        self._wait()

    def _wait(self):
        check = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if check(b"", timeout=1, wait_for_ready=True) == SERVING:
                    return
            except grpc.RpcError:
                pass
            time.sleep(0.05)
        self.close()
        sys.exit("the adapter did not start to serve")

    def close(self):
        self.channel.close()
        # Nothing runs in it any more that would need a graceful end.
        self._process.kill()
        self._process.wait()
        sys.stderr.write(self._log.read_text(errors="replace") if self._process.returncode > 0 else "")
        self._directory.cleanup()
