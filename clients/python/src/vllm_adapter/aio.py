"""The client for asyncio."""

from collections.abc import AsyncIterable, AsyncIterator

import grpc

from . import MAX_RECEIVE_BYTES, AdapterError, Fold, _channel, v1
from .v1.generation_pb2_grpc import GenerationServiceStub

__all__ = ["Client", "connect", "fold"]


def connect(
    address: str,
    *,
    tls: grpc.ChannelCredentials | None = None,
    key: str = "",
    max_receive_bytes: int = MAX_RECEIVE_BYTES,
    options: _channel.Options = (),
) -> "Client":
    """As `vllm_adapter.connect`; called where the event loop runs."""
    settings, credentials = _channel.options(max_receive_bytes, options), _channel.credentials(tls, key)
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
        """The whole answer, within `timeout` seconds; None is without end."""
        try:
            return await self._stub.Generate(request, timeout=timeout)
        except grpc.RpcError as error:
            raise AdapterError.of(error) from error

    async def stream_generate(
        self, request: v1.GenerateRequest, *, timeout: float | None
    ) -> AsyncIterator[v1.StreamGenerateResponse]:
        """The events of the answer, within `timeout` seconds. Closing the iterator ends the call."""
        call = self._stub.StreamGenerate(request, timeout=timeout)
        try:
            async for event in call:
                yield event
        except grpc.RpcError as error:
            raise AdapterError.of(error) from error
        finally:
            call.cancel()


async def fold(events: AsyncIterable[v1.StreamGenerateResponse]) -> v1.GenerateResponse:
    """Reads a stream to its end, and gives the whole answer."""
    folded = Fold()
    async for event in events:
        folded.push(event)
    return folded.response()
