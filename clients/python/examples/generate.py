"""Asks once, and prints the whole answer."""

import sys

import vllm_adapter
from vllm_adapter import v1

with vllm_adapter.connect(sys.argv[1]) as client:
    request = v1.GenerateRequest(prompt="Say hello.", max_tokens=100)
    response = client.generate(request, timeout=30)
    choice = response.choices[0]
    print(choice.message.content)
    print("finish reason:", v1.FinishReason.Name(choice.finish_reason))
    print("tokens:", response.usage.prompt_tokens, "+", response.usage.completion_tokens)
