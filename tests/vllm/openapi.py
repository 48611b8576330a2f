#!/usr/bin/env python3
"""Print what every route of the installed vLLM takes, whatever the model, as one short JSON document.

vLLM's own OpenAPI document has only the routes of the model that is served, and descriptions by the page. This builds
vLLM's application without a model, with the routers of all tasks, and keeps the names: the routes, the body of each,
and the properties of each schema that a body reaches.

    DIR/venv/bin/python tests/vllm/openapi.py >tests/vllm/openapi-VERSION.json
"""

import contextlib
import json
import sys

TASKS = ("generate", "embed", "classify", "token_classify", "token_embed", "transcription")
METHODS = ("delete", "get", "post", "put")
# Its schemas are hundreds of OpenAI's, for a route that the adapter does not serve.
NOT_FOLLOWED = ("ResponsesRequest",)


def document():
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.entrypoints.pooling.classify.api_router import router as classify
    from vllm.entrypoints.pooling.embed.api_router import router as embed
    from vllm.entrypoints.pooling.pooling.api_router import router as pooling
    from vllm.entrypoints.pooling.scoring.api_router import router as scoring
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    arguments = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    application = build_app(arguments, TASKS)
    for router in (classify, embed, pooling, scoring):
        application.include_router(router)
    return application.openapi()


def references(node):
    """The schemas that a part of the document names."""
    if isinstance(node, dict):
        if isinstance(name := node.get("$ref"), str):
            yield name.rsplit("/", 1)[-1]
        for member in node.values():
            yield from references(member)
    elif isinstance(node, list):
        for member in node:
            yield from references(member)


def main():
    # vLLM prints as it is imported.
    with contextlib.redirect_stdout(sys.stderr):
        whole = document()
        import vllm

    schemas = whole["components"]["schemas"]
    routes, reached, left = {}, {}, []
    for path, methods in whole["paths"].items():
        for method in METHODS:
            if method in methods:
                bodies = sorted(set(references(methods[method].get("requestBody", {}))))
                routes[f"{method.upper()} {path}"] = bodies
                left += bodies
    while left:
        name = left.pop()
        if name not in reached:
            reached[name] = sorted(schemas[name].get("properties", {}))
            left += [] if name in NOT_FOLLOWED else references(schemas[name])
    parts = [f' "vllm": {json.dumps(vllm.__version__)}']
    for title, lists in (("routes", routes), ("schemas", reached)):
        # A list a line, so that a new version is a short difference.
        lines = [f"  {json.dumps(name)}: {json.dumps(lists[name])}" for name in sorted(lists)]
        parts.append(f' "{title}": {{\n' + ",\n".join(lines) + "\n }")
    print("{\n" + ",\n".join(parts) + "\n}")


if __name__ == "__main__":
    main()
