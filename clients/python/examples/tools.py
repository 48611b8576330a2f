"""Lets the model call a tool, and answers with the tool's result."""

import json
import sys

import vllm_adapter
from vllm_adapter import v1

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = v1.Tool(name="get_weather", description="The weather in a city.", parameters_json=json.dumps(PARAMETERS))

with vllm_adapter.connect(sys.argv[1]) as client:
    turns = [v1.ChatMessage(role=v1.ROLE_USER, content="Weather in Paris?")]
    request = v1.GenerateRequest(messages=turns, tools=[TOOL])
    choice = vllm_adapter.fold(client.stream_generate(request, timeout=30)).choices[0]
    print("finish reason:", v1.FinishReason.Name(choice.finish_reason))
    turns.append(choice.message)
    for call in choice.message.tool_calls:
        city = json.loads(call.arguments)["city"]
        print(f"{call.name}: {city}")
        turns.append(v1.ChatMessage(role=v1.ROLE_TOOL, tool_call_id=call.id, content=f"Sunny in {city}."))
    request = v1.GenerateRequest(messages=turns, tools=[TOOL])
    print(client.generate(request, timeout=30).choices[0].message.content)
