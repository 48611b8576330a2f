"""Prints an answer while it is made, and then what is known of the whole."""

import asyncio
import sys

import vllm_adapter
from vllm_adapter import aio, v1


async def main(address: str) -> None:
    async with aio.connect(address) as client:
        request = v1.GenerateRequest(prompt="Think about 2+2.", max_tokens=100)
        events: list[v1.StreamGenerateResponse] = []
        async for event in client.stream_generate(request, timeout=30):
            events.append(event)
            print(event.content.text, end="", flush=True)
        print()
        response = vllm_adapter.fold(events)
        choice = response.choices[0]
        print("reasoning:", choice.message.reasoning)
        print("finish reason:", v1.FinishReason.Name(choice.finish_reason))
        print("tokens:", response.usage.prompt_tokens, "+", response.usage.completion_tokens)


asyncio.run(main(sys.argv[1]))
