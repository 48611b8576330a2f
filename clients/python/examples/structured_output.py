"""Asks for JSON that fits a schema."""

import json
import sys

import vllm_adapter
from vllm_adapter import v1

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

with vllm_adapter.connect(sys.argv[1]) as client:
    form = v1.StructuredOutput(json_schema=json.dumps(SCHEMA))
    request = v1.GenerateRequest(prompt="A city, as JSON.", structured_output=form)
    choice = client.generate(request, timeout=30).choices[0]
    # Only a whole answer holds whole JSON.
    if choice.finish_reason != v1.FINISH_REASON_STOP:
        sys.exit(f"cut off: {choice.finish_reason_raw}")
    print("city:", json.loads(choice.message.content)["city"])
