"""A client of vllm-grpc-adapter. `vllm_adapter.aio` is the same for asyncio."""

from collections.abc import Iterator

import grpc

from . import _channel, v1
from ._channel import MAX_RECEIVE_BYTES, SERVICE_CONFIG
from ._error import AdapterError
from ._fold import fold
from .v1.generation_pb2_grpc import GenerationServiceStub

__all__ = ["MAX_RECEIVE_BYTES", "SERVICE_CONFIG", "AdapterError", "Client", "connect", "fold", "v1"]


def connect(
    address: str, *, tls: grpc.ChannelCredentials | None = None, key: str = "", options: _channel.Options = ()
) -> "Client":
    """A client of the adapter at `address`, as `localhost:50051`. It connects at the first call.

    `tls`: as `grpc.ssl_channel_credentials()`; None is plaintext. `key`: a bearer key, sent in each call; ValueError
    without `tls`. `options`: further options of the channel, as the largest response; they prevail.
    """
    settings, credentials = _channel.options(options), _channel.credentials(tls, key)
    if credentials is None:
        return Client(grpc.insecure_channel(address, settings))
    return Client(grpc.secure_channel(address, credentials, settings))


class Client:
    """Calls GenerationService, and raises AdapterError. Threads may share it.

    The other services have stubs that take its `channel`; `AdapterError` takes what they raise.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self._stub = GenerationServiceStub(channel)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def generate(self, request: v1.GenerateRequest, *, timeout: float | None) -> v1.GenerateResponse:
        """The whole answer, within `timeout` seconds; None is without end."""
        try:
            return self._stub.Generate(request, timeout=timeout)
        except grpc.RpcError as error:
            raise AdapterError(error) from error

    def stream_generate(
        self, request: v1.GenerateRequest, *, timeout: float | None
    ) -> Iterator[v1.StreamGenerateResponse]:
        """The events of the answer, within `timeout` seconds. Closing the iterator ends the call."""
        call = self._stub.StreamGenerate(request, timeout=timeout)
        try:
            yield from call
        except grpc.RpcError as error:
            raise AdapterError(error) from error
        finally:
            call.cancel()
