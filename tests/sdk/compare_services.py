#!/usr/bin/env python3
"""Compare the services beside generation with what the same vLLM gives without the adapter.

Embeddings and models are asked for by the official OpenAI SDK; classes, tokens, scores and ranks by plain HTTP, since
the SDK has no calls for them.  Every number must be the same to its last bit.  Prints each difference, and how many of
the requests agree; ends with 1 where one does not.

What is left out: ids and times of answers, which differ from call to call.
"""

import argparse
import base64
import json
import os
import struct
import sys
import tempfile
import urllib.error
import urllib.request

import grpc
import openai

import error
from adapter import Adapter, stubs

CALL_SECONDS = 120
TEXTS = ["Hello world", "Paris", "A longer text, with ümlauts and 数字: 1 2 3."]
TOKENS = [[19, 275, 276], [19]]
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


class Server:
    """A vLLM, by the SDK, by plain HTTP, and through an adapter of its own."""

    def __init__(self, services, binary, url, key):
        self.url = url
        self.key = key
        self.client = openai.OpenAI(base_url=url, api_key=key or "none", max_retries=0, timeout=CALL_SECONDS)
        self.adapter = Adapter(binary, url, key)
        channel = self.adapter.channel
        self.classification = services.ClassificationServiceStub(channel)
        self.embedding = services.EmbeddingServiceStub(channel)
        self.models = services.ModelServiceStub(channel)
        self.ranking = services.RankingServiceStub(channel)
        self.tokenization = services.TokenizationServiceStub(channel)

    def post(self, route, body):
        """The JSON that a route beside `/v1` answers, or the status and the parameter of its error."""
        request = urllib.request.Request(
            f"{self.url.removesuffix('/v1')}/{route}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=CALL_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as fault:
            return {"error": error.STATUSES[fault.code][0]}


def bits(values):
    """32-bit floats, as the bytes that they are."""
    return struct.pack(f"<{len(values)}f", *values).hex()


def asked(call, request):
    """What a call of the adapter answers, or the code of its error."""
    try:
        return call(request, timeout=CALL_SECONDS)
    except grpc.RpcError as fault:
        return {"error": fault.code().name}


# === embeddings ===


def embedding_cases(pb):
    """Each input form, with the options that a model may take: a name, the SDK's arguments, and the request."""
    chat = pb.Conversation(
        messages=[
            pb.ChatMessage(role=pb.ROLE_SYSTEM, content="Be brief."),
            pb.ChatMessage(role=pb.ROLE_USER, content="Hello"),
        ]
    )
    ids = [pb.TokenIds(ids=ids) for ids in TOKENS]
    inputs = [
        ("one text", {"input": TEXTS[0]}, {"texts": TEXTS[:1]}),
        ("several texts", {"input": TEXTS}, {"texts": TEXTS}),
        ("token ids", {"input": TOKENS[0]}, {"token_inputs": ids[:1]}),
        ("several token ids", {"input": TOKENS}, {"token_inputs": ids}),
        ("a chat", {"input": [], "extra_body": {"input": None, "messages": CHAT}}, {"conversations": [chat]}),
    ]
    options = [
        ("", {}, {}),
        (", dimensions", {"dimensions": 16}, {"dimensions": 16}),
        (", not scaled", {"use_activation": False}, {"use_activation": False}),
        (", cut", {"truncate_prompt_tokens": 2}, {"truncate_prompt_tokens": 2}),
        (", wrong dimensions", {"dimensions": 9999}, {"dimensions": 9999}),
    ]
    for name, arguments, fields in inputs:
        for suffix, body, more in options:
            # A chat goes by the body alone, since the SDK wants an `input`.
            extra = {**arguments.get("extra_body", {}), **body}
            yield name + suffix, {**arguments, "extra_body": extra}, pb.EmbedRequest(**fields, **more)
    yield "an unknown model", {"input": "x", "model": "nobody"}, pb.EmbedRequest(texts=["x"], model="nobody")


def embed_by_sdk(server, arguments, encoding):
    try:
        answer = server.client.embeddings.create(**{"model": "tiny-embed", **arguments}, encoding_format=encoding)
    except openai.APIStatusError as fault:
        return {"error": error.STATUSES[fault.status_code][0]}
    return {
        "model": answer.model,
        "vectors": [bits(vector(data.embedding)) for data in answer.data],
        "usage": [answer.usage.prompt_tokens, answer.usage.total_tokens],
    }


def vector(embedding):
    """The floats of a vector; the SDK leaves base64 as it is where it was asked for."""
    if isinstance(embedding, str):
        data = base64.b64decode(embedding)
        return struct.unpack(f"<{len(data) // 4}f", data)
    return embedding


def embed_by_adapter(server, request):
    answer = asked(server.embedding.Embed, request)
    if isinstance(answer, dict):
        return answer
    return {
        "model": answer.model,
        "vectors": [bits(embedding.values) for embedding in answer.embeddings],
        "usage": [answer.usage.prompt_tokens, answer.usage.total_tokens],
    }


def embeddings(server, pb):
    for name, arguments, request in embedding_cases(pb):
        adapter = embed_by_adapter(server, request)
        for encoding in ("base64", "float"):
            yield f"embed {name}, {encoding}", embed_by_sdk(server, arguments, encoding), adapter


# === classes ===


def pooled_cases(pb):
    """The inputs of a classifier with its options: a name, the body of the request by HTTP, and the fields of ours."""
    chat = pb.Conversation(
        messages=[
            pb.ChatMessage(role=pb.ROLE_SYSTEM, content="Be brief."),
            pb.ChatMessage(role=pb.ROLE_USER, content="Hello"),
        ]
    )
    ids = [pb.TokenIds(ids=ids) for ids in TOKENS]
    options = [{}, {"use_activation": False}, {"truncate_prompt_tokens": 1, "truncation_side": "left"}, {"user": "u"}]
    for name, body, fields in [
        ("texts", {"input": TEXTS}, {"texts": TEXTS}),
        ("token ids", {"input": TOKENS}, {"token_inputs": ids}),
        ("a chat", {"messages": CHAT}, {"conversations": [chat]}),
        ("an unknown model", {"input": "x", "model": "nobody"}, {"texts": ["x"], "model": "nobody"}),
    ]:
        for option in options:
            side = {"truncation_side": pb.TRUNCATION_SIDE_LEFT} if "truncation_side" in option else {}
            yield f"{name} {option}", body | option, fields | option | side


def classes(server, pb):
    for name, body, fields in pooled_cases(pb):
        expected = server.post("classify", body)
        if "data" in expected:
            expected = {"data": expected["data"], "tokens": expected["usage"]["total_tokens"]}
        answer = asked(server.classification.Classify, pb.ClassifyRequest(**fields))
        if not isinstance(answer, dict):
            data = [
                {
                    "index": it.index,
                    "label": it.label,
                    "probs": list(it.probabilities),
                    "num_classes": it.num_classes,
                }
                for it in answer.classifications
            ]
            answer = {"data": data, "tokens": answer.usage.total_tokens}
        yield f"classify {name}", expected, answer


def pools(server, pb):
    for name, body, fields in pooled_cases(pb):
        for task in (None, "classify", "token_classify"):
            expected = server.post("pooling", body | ({"task": task} if task else {}))
            if "data" in expected:
                data = [it["data"] for it in expected["data"]]
                expected = {"data": data, "tokens": expected["usage"]["total_tokens"]}
            answer = asked(server.embedding.Pool, pb.PoolRequest(**fields, task=task))
            if not isinstance(answer, dict):
                data = [
                    list(it.values) or [list(vector.values) for vector in it.token_vectors] for it in answer.outputs
                ]
                answer = {"data": data, "tokens": answer.usage.total_tokens}
            yield f"pool {name}, task {task}", expected, answer


# === models ===


def models(server, pb):
    by_sdk = [
        {"id": model.id, "owner": model.owned_by, "parent": model.parent or "", "length": model.max_model_len}
        for model in server.client.models.list()
    ]
    by_adapter = [
        {"id": model.id, "owner": model.owned_by, "parent": model.parent, "length": model.max_model_len}
        for model in server.models.ListModels(pb.ListModelsRequest()).models
    ]
    yield "models", sorted(by_sdk, key=lambda model: model["id"]), by_adapter
    one = asked(server.models.GetModel, pb.GetModelRequest(model=by_sdk[0]["id"]))
    yield "a model", by_sdk[0]["id"], one.model.id
    yield "an unknown model", {"error": "NOT_FOUND"}, asked(server.models.GetModel, pb.GetModelRequest(model="nobody"))


# === tokens ===


def tokens(server, pb):
    tool = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    messages = [
        pb.ChatMessage(role=pb.ROLE_SYSTEM, content="Be brief."),
        pb.ChatMessage(role=pb.ROLE_USER, content="Hello"),
    ]
    pb_tool = pb.Tool(name="f", parameters_json=json.dumps(tool["parameters"]))
    for name, body, fields in [
        ("a text", {"prompt": TEXTS[2]}, {"text": TEXTS[2]}),
        (
            "a text, with strings",
            {"prompt": TEXTS[2], "return_token_strs": True, "add_special_tokens": False},
            {"text": TEXTS[2], "return_token_strings": True, "add_special_tokens": False},
        ),
        ("a chat", {"messages": CHAT}, {"messages": messages}),
        (
            "a chat without a start",
            {"messages": CHAT, "add_generation_prompt": False},
            {"messages": messages, "add_generation_prompt": False},
        ),
        (
            "a chat that goes on",
            {"messages": CHAT, "add_generation_prompt": False, "continue_final_message": True},
            {"messages": messages, "continue_final_message": True},
        ),
        (
            "a chat with tools",
            {"messages": CHAT, "tools": [{"type": "function", "function": tool}]},
            {"messages": messages, "tools": [pb_tool]},
        ),
        ("an unknown model", {"prompt": "x", "model": "nobody"}, {"text": "x", "model": "nobody"}),
    ]:
        expected = server.post("tokenize", body)
        answer = asked(server.tokenization.Tokenize, pb.TokenizeRequest(**fields))
        if not isinstance(answer, dict):
            strings = list(answer.token_strings) or None
            answer = {
                "count": answer.count,
                "max_model_len": answer.max_model_len,
                "tokens": list(answer.token_ids),
                "token_strs": strings,
            }
        yield f"tokenize {name}", expected, answer
    for ids in TOKENS:
        answer = server.tokenization.Detokenize(pb.DetokenizeRequest(token_ids=ids), timeout=CALL_SECONDS)
        yield f"detokenize {ids}", server.post("detokenize", {"tokens": ids}), {"prompt": answer.text}


# === ranks ===


def ranks(server, pb):
    for name, body, fields in [
        ("one with many", {"text_1": "hello", "text_2": TEXTS}, {"queries": ["hello"], "documents": TEXTS}),
        ("pairs", {"text_1": TEXTS[::-1], "text_2": TEXTS}, {"queries": TEXTS[::-1], "documents": TEXTS}),
        (
            "raw",
            {"text_1": "hello", "text_2": TEXTS, "use_activation": False},
            {"queries": ["hello"], "documents": TEXTS, "use_activation": False},
        ),
        (
            "too many tokens",
            {"text_1": "hello", "text_2": TEXTS, "max_tokens_per_query": 9999},
            {"queries": ["hello"], "documents": TEXTS, "max_tokens_per_query": 9999},
        ),
    ]:
        expected = server.post("score", body)
        if "data" in expected:
            expected = {
                "scores": [score["score"] for score in expected["data"]],
                "tokens": expected["usage"]["total_tokens"],
            }
        answer = asked(server.ranking.Score, pb.ScoreRequest(**fields))
        if not isinstance(answer, dict):
            answer = {"scores": list(answer.scores), "tokens": answer.usage.total_tokens}
        yield f"score {name}", expected, answer
    for top_n in (None, 0, 1, 9):
        body = {"query": "hello", "documents": TEXTS} | ({} if top_n is None else {"top_n": top_n})
        results = server.post("rerank", body)["results"]
        expected = [(it["index"], it["relevance_score"], it["document"]["text"]) for it in results]
        request = pb.RerankRequest(query="hello", documents=TEXTS, top_n=top_n, return_documents=True)
        answer = server.ranking.Rerank(request, timeout=CALL_SECONDS)
        yield f"rerank, top_n {top_n}", expected, [(it.index, it.relevance_score, it.document) for it in answer.results]


# === the comparison ===

# What is compared before each kind of server.
COMPARED = {
    "embed": (embeddings, models, tokens, ranks),
    "rerank": (models, ranks),
    "classify": (classes, pools, models),
    "classify-tokens": (pools,),
}


def run(comparisons):
    """How many requests agree, and how many there were."""
    agreed = total = 0
    for name, expected, adapter in comparisons:
        total += 1
        agreed += expected == adapter
        if expected != adapter:
            print(
                f"DIFFERS  {name}\n         vLLM {str(expected)[:600]}\n         adapter {str(adapter)[:600]}",
                flush=True,
            )
    return agreed, total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", required=True, metavar="BINARY", help="the adapter's program")
    for kind in COMPARED:
        parser.add_argument(
            f"--{kind}-upstream", metavar="URL", help=f"a vLLM of tests/vllm, kind {kind}, with /v1; left out without"
        )
    options = parser.parse_args()
    key = os.environ.get("OPENAI_API_KEY", "")
    agreed = total = 0
    with tempfile.TemporaryDirectory() as directory:
        pb, services = stubs(directory)
        for kind, comparisons in COMPARED.items():
            url = vars(options)[f"{kind.replace('-', '_')}_upstream"]
            if url is None:
                continue
            server = Server(services, options.adapter, url, key)
            try:
                for comparison in comparisons:
                    one, all_of_it = run(comparison(server, pb))
                    agreed, total = agreed + one, total + all_of_it
            finally:
                server.adapter.close()
    print(f"{agreed} of {total} requests agree")
    sys.exit(not 0 < total == agreed)


if __name__ == "__main__":
    main()
