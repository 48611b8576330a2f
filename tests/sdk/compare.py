#!/usr/bin/env python3
"""Compare the adapter with the official OpenAI SDK before the same vLLM.

Sends each request of `cases.py` four times: unary and streamed, to vLLM by the SDK and through the adapter by its
generated stubs.  Prints each difference, and how many of the requests agree; ends with 1 where one does not.
What is left out of the comparison stands in `answer.py`.

The environment's OPENAI_API_KEY is the key of the vLLM; without one, the request with a wrong key is left out.
"""

import argparse
import json
import os
import sys
import tempfile

import grpc
import openai

import answer
import error
import fold
from adapter import Adapter, stubs
from case import UNARY, grpc_request, sdk_arguments
from cases import CASES

CALL_SECONDS = 120
# What the requests' `extra_body_json` and `extension_keys` name.
FLAGS = ("--allow-extra-body=chat_template,image_embeds,vllm_xargs", "--allow-extensions=metrics")

# vLLM merges the tokens of a stream as its load goes, and what its parsers make of a cut answer may depend on that.  So
# both sides are asked again where they differ, which is printed.
ATTEMPTS = 5


# === the two sides ===


def ask_sdk(client, case, mode):
    """The answer or the error, in the form that is compared."""
    method, arguments = sdk_arguments(client, case, mode)
    try:
        response = method(**arguments)
        if mode == UNARY:
            return answer.from_sdk(case, as_json(response))
        return answer.steady(answer.from_sdk(case, fold.chunks(as_json(chunk) for chunk in response)))
    except openai.APIConnectionError as fault:
        sys.exit(f"the vLLM is not there: {fault}")
    except openai.APIError as fault:
        return {"error": error.from_sdk(fault)}


def as_json(model):
    # What was on the wire, without the members that the SDK adds.
    return model.model_dump(exclude_unset=True, warnings=False)


def ask_adapter(stub, pb, case, mode, expected):
    """The answer or the error, in the form that is compared; `expected` is the SDK's."""
    request = grpc_request(pb, case)
    events = fold.Events(pb)
    try:
        if mode == UNARY:
            return answer.from_grpc(pb, stub.Generate(request, timeout=CALL_SECONDS))
        for event in stub.StreamGenerate(request, timeout=CALL_SECONDS):
            events.add(event)
        return answer.steady(answer.from_grpc(pb, events.end(), events.running_usage))
    except grpc.RpcError as fault:
        return {"error": error.from_grpc(fault, expected.get("error", {}))}


# === the comparison ===


def differences(path, sdk, adapter):
    """Each place where the two differ, with both values."""
    if isinstance(sdk, dict) and isinstance(adapter, dict):
        for member in sdk.keys() | adapter.keys():
            yield from differences(f"{path}.{member}".lstrip("."), sdk.get(member), adapter.get(member))
    elif isinstance(sdk, list) and isinstance(adapter, list) and len(sdk) == len(adapter):
        for index, pair in enumerate(zip(sdk, adapter, strict=True)):
            yield from differences(f"{path}[{index}]", *pair)
    elif sdk != adapter:
        yield f"{path}: SDK {show(sdk)}, adapter {show(adapter)}"


def show(value):
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 600 else f"{text[:600]}…"


def compare(server, pb, case, mode):
    """The differences of one request in one mode."""
    # Fills the prefix cache, so that both sides find it alike.
    ask_sdk(server.client, case, mode)
    for attempt in range(ATTEMPTS):
        try:
            sdk = ask_sdk(server.client, case, mode)
            adapter = ask_adapter(server.stub, pb, case, mode, sdk)
        except (answer.NotCompared, fold.BrokenStream) as fault:
            return [f"{type(fault).__name__}: {fault}"]
        if sdk == adapter:
            if attempt:
                print(f"agrees when asked again: {case.name}, {mode}")
            break
    return sorted(differences("", sdk, adapter))


class Server:
    """A vLLM, by the SDK and through an adapter of its own."""

    def __init__(self, stub_class, binary, url, key):
        self.client = openai.OpenAI(base_url=url, api_key=key or "none", max_retries=0, timeout=CALL_SECONDS)
        self.adapter = Adapter(binary, url, key, *FLAGS)
        self.stub = stub_class(self.adapter.channel)


def servers(options, stub_class):
    """The servers that there are, by the names that `Case.servers` uses."""
    key = os.environ.get("OPENAI_API_KEY", "")
    urls = {"chat": (options.upstream, key), "reason": (options.reasoning_upstream, key)}
    if key:
        urls["wrong key"] = (options.upstream, f"not-{key}")
    return {name: Server(stub_class, options.adapter, *where) for name, where in urls.items() if where[0]}


def run(options, pb, found):
    """How many requests agree, and how many there were."""
    agreed = total = 0
    wanted = [(name, case) for case in CASES for name in case.servers if options.only in case.name]
    for name, case in wanted:
        if name not in found:
            continue
        for mode in case.modes:
            total += 1
            faults = compare(found[name], pb, case, mode)
            agreed += not faults
            if faults:
                print(f'DIFFERS  {case.name}, {mode}, before the server "{name}"')
                print("".join(f"         {fault}\n" for fault in faults), end="", flush=True)
    missing = {name for name, _ in wanted} - found.keys()
    left_out = sum(name in missing for name, _ in wanted)
    if left_out:
        print(f"left out: {left_out} requests to the servers {sorted(missing)}, which were not given")
    cases = len({case.name for name, case in wanted if name in found})
    print(f"{agreed} of {total} requests agree, made of {cases} cases")
    return agreed, total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", required=True, metavar="BINARY", help="the adapter's program")
    parser.add_argument("--upstream", required=True, metavar="URL", help="a vLLM of tests/vllm, kind chat, with /v1")
    parser.add_argument("--reasoning-upstream", metavar="URL", help="a vLLM of tests/vllm, kind reason")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose names hold this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        pb, services = stubs(directory)
        found = servers(options, services.GenerationServiceStub)
        try:
            agreed, total = run(options, pb, found)
        finally:
            for server in found.values():
                server.adapter.close()
    sys.exit(0 < total != agreed)


if __name__ == "__main__":
    main()
