"""The client for asyncio. `vllm_adapter.fold` takes a list of its events."""

from collections.abc import AsyncIterator

import grpc

from . import AdapterError, _channel, v1
from .v1.generation_pb2_grpc import GenerationServiceStub

__all__ = ["Client", "connect"]


def connect(
    address: str, *, tls: grpc.ChannelCredentials | None = None, key: str = "", options: _channel.Options = ()
) -> "Client":
    """As `vllm_adapter.connect`; called where the event loop runs."""
    settings, credentials = _channel.options(options), _channel.credentials(tls, key)
    if credentials is None:
        return Client(grpc.aio.insecure_channel(address, settings))
    return Client(grpc.aio.secure_channel(address, credentials, settings))


class Client:
    """As `vllm_adapter.Client`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self._stub = GenerationServiceStub(channel)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()

    async def generate(self, request: v1.GenerateRequest, *, timeout: float | None) -> v1.GenerateResponse:
        try:
            return await self._stub.Generate(request, timeout=timeout)
        except grpc.RpcError as error:
            raise AdapterError(error) from error

    async def stream_generate(
        self, request: v1.GenerateRequest, *, timeout: float | None
    ) -> AsyncIterator[v1.StreamGenerateResponse]:
        call = self._stub.StreamGenerate(request, timeout=timeout)
        try:
            async for event in call:
                yield event
        except grpc.RpcError as error:
            raise AdapterError(error) from error
        finally:
            call.cancel()
