"""What a failed call says: which field is wrong, how long to wait, what came before, and that a deadline has passed."""

import sys

import vllm_adapter
from vllm_adapter import AdapterError, v1

with vllm_adapter.connect(sys.argv[1]) as client:
    try:
        client.generate(v1.GenerateRequest(prompt="Say hello.", max_tokens=0), timeout=30)
    except AdapterError as error:
        print("wrong field:", error.code.name, error.reason, error.field)

    # The connection tries twice more, after as long as the adapter says.
    try:
        client.generate(v1.GenerateRequest(prompt="Fail with 503."), timeout=30)
    except AdapterError as error:
        print("overloaded:", error.code.name, error.reason, error.retry_delay)

    events: list[v1.StreamGenerateResponse] = []
    try:
        for event in client.stream_generate(v1.GenerateRequest(prompt="Fail with abort."), timeout=30):
            events.append(event)
    except AdapterError as error:
        content = vllm_adapter.fold(events).choices[0].message.content
        print("cut off:", error.code.name, error.reason, "after", content)

    try:
        client.generate(v1.GenerateRequest(prompt="Wait."), timeout=0.5)
    except AdapterError as error:
        print("too late:", error.code.name)
