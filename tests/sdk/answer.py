"""Answers of both sides in one form, so that they can be compared member by member.

What is left out of the comparison:

- Ids of answers and of tool calls, and times, `metrics` among them: they differ from call to call.  That a tool call
  has an id, and that metrics come where they are asked for, is compared.
- `role`: the adapter's choices are the assistant's, as the contract has it; vLLM gives the last role of the prompt
  where no generation prompt was asked for.
- `object`: it names the type of the JSON object, which in gRPC is the message's.
- `reasoning_tokens` of a stream: vLLM counts them by its deltas, which it merges as its load goes.  That there is a
  number is compared.
- Absent, null, empty text and empty list: they mean the same.
- What was not asked for, as in `ASKED_BY`: vLLM sends some of it all the same, and the adapter must not.

A member of vLLM's answer that is neither compared nor left out here is an error.
"""

import json
import struct

from case import COMPLETION

LEFT_OUT = frozenset({"id", "created", "object", "role", "metrics"})

# Members of an answer that are given only to who asked, and the member of the request that asks.
ASKED_BY = {
    "logprobs": "logprobs",
    "prompt_logprobs": "prompt_logprobs",
    "prompt_text": "return_prompt_text",
    "prompt_token_ids": "return_token_ids",
    "token_ids": "return_token_ids",
}

TOKEN_ID_PREFIX = "token_id:"


class NotCompared(Exception):
    """vLLM sent a member that this comparison does not know."""


class Members:
    """The members of a JSON object that are not null; each must be taken, or be known to be left out."""

    def __init__(self, members):
        self._members = {member: value for member, value in members.items() if value is not None}

    def take(self, member, default=None):
        return self._members.pop(member, default)

    def finish(self):
        unknown = {member: value for member, value in self._members.items() if member not in LEFT_OUT}
        if unknown:
            raise NotCompared(str(unknown))


def compared(case, members):
    """The members that are compared: asked for, and neither absent nor empty."""
    return {
        member: value
        for member, value in members.items()
        if value is not None
        and value not in ("", [], {})
        and (member not in ASKED_BY or case.asks_for(ASKED_BY[member]))
    }


def float32(number):
    """What a `float` of the proto holds of a JSON number."""
    return None if number is None else struct.unpack("f", struct.pack("f", number))[0]


def steady(whole):
    """A streamed answer without the number of `reasoning_tokens`."""
    for usage in (whole.get("usage"), *(choice.get("running_usage") for choice in whole["choices"])):
        if usage and "reasoning_tokens" in usage:
            usage["reasoning_tokens"] = shape(usage["reasoning_tokens"])
    return whole


def shape(value):
    """JSON with every number replaced."""
    if isinstance(value, dict):
        return {member: shape(inner) for member, inner in value.items()}
    return "a number" if isinstance(value, (int, float)) else value


# === from the SDK ===


def from_sdk(case, answer):
    """The answer of a unary call, or what `fold.chunks` makes of a stream, as JSON."""
    members = Members(answer)
    extensions = {key: shape(answer[key]) for key in case.extensions if answer.get(key) is not None}
    choices = [Members(choice) for choice in members.take("choices")]
    # An answer to chats holds them once, a completion's in each choice, all alike where it has one prompt.
    holder = choices[0] if case.route == COMPLETION and not case.choices_each() else members
    whole = {
        "model": members.take("model"),
        "system_fingerprint": members.take("system_fingerprint"),
        "usage": _usage_from_sdk(members.take("usage")),
        "prompt_text": members.take("prompt_text"),
        "prompt_token_ids": holder.take("prompt_token_ids"),
        "prompt_logprobs": _prompt_logprobs_from_sdk(case, holder.take("prompt_logprobs", [])),
        "choices": [_choice_from_sdk(case, choice) for choice in choices],
        "extensions": extensions,
    }
    members.finish()
    return compared(case, whole)


def _choice_from_sdk(case, choice):
    reason, stop = choice.take("finish_reason"), choice.take("stop_reason")
    logprobs = choice.take("logprobs")
    whole = {
        "index": choice.take("index"),
        "finish_reason": reason,
        "finish_reason_raw": reason,
        "stop_reason": stop,
        "token_ids": choice.take("token_ids"),
        "running_usage": _usage_from_sdk(choice.take("running_usage")),
    }
    if each := case.choices_each():
        whole["prompt_index"] = whole["index"] // each
        whole["prompt_token_ids"] = choice.take("prompt_token_ids")
        whole["prompt_logprobs"] = _prompt_logprobs_from_sdk(case, choice.take("prompt_logprobs", []))
    if case.route != COMPLETION:
        message = Members(choice.take("message"))
        whole["content"] = message.take("content")
        whole["reasoning"] = message.take("reasoning")
        whole["refusal"] = message.take("refusal")
        whole["tool_calls"] = [_tool_call_from_sdk(call) for call in message.take("tool_calls", [])]
        whole["logprobs"] = [_chat_logprob_from_sdk(case, token) for token in (logprobs or {}).get("content") or []]
        message.finish()
    else:
        whole["content"] = choice.take("text")
        whole["logprobs"] = _completion_logprobs_from_sdk(case, logprobs) if logprobs else []
        # In the first choice they are the answer's; the others' are the same.
        choice.take("prompt_token_ids")
        choice.take("prompt_logprobs")
    choice.finish()
    return compared(case, whole)


def _tool_call_from_sdk(call):
    return {"has_id": bool(call["id"]), **call["function"]}


def _token_from_sdk(case, token):
    if case.asks_for("return_tokens_as_token_ids") and token.startswith(TOKEN_ID_PREFIX):
        return {"token_id": int(token.removeprefix(TOKEN_ID_PREFIX))}
    return {"token": token}


def _chat_logprob_from_sdk(case, token):
    whole = {
        **_token_from_sdk(case, token["token"]),
        "logprob": float32(token["logprob"]),
        "bytes": token.get("bytes"),
        "top": [_chat_logprob_from_sdk(case, top) for top in token.get("top_logprobs") or []],
    }
    return compared(case, whole)


def _completion_logprobs_from_sdk(case, logprobs):
    # vLLM lists the token itself even where no others are asked for; in a chat it lists none then.
    asks_for_top = case.body.get("logprobs") or case.body.get("logprob_token_ids")

    def whole(token, logprob, offset=None, top=None):
        members = {
            **_token_from_sdk(case, token),
            "logprob": float32(logprob),
            "text_offset": offset,
            "top": [whole(*candidate) for candidate in (top or {}).items()] if asks_for_top else [],
        }
        return compared(case, members)

    columns = (logprobs["tokens"], logprobs["token_logprobs"], logprobs["text_offset"], logprobs["top_logprobs"])
    return [whole(*row) for row in zip(*columns, strict=True)]


def _prompt_logprobs_from_sdk(case, tokens):
    def whole(token_id, candidate):
        return {
            "token_id": int(token_id),
            "token": candidate["decoded_token"],
            "logprob": float32(candidate["logprob"]),
            "rank": candidate["rank"],
        }

    return [[compared(case, whole(*candidate)) for candidate in (token or {}).items()] for token in tokens]


def _usage_from_sdk(usage):
    if usage is None:
        return None
    members = Members(usage)
    prompt = Members(members.take("prompt_tokens_details", {}))
    completion = Members(members.take("completion_tokens_details", {}))
    whole = {
        "prompt_tokens": members.take("prompt_tokens"),
        "completion_tokens": members.take("completion_tokens"),
        "total_tokens": members.take("total_tokens"),
        "cached_tokens": prompt.take("cached_tokens"),
        "cache_creation_tokens": prompt.take("created_cache_tokens"),
        "multimodal_tokens": prompt.take("multimodal_tokens"),
        "reasoning_tokens": completion.take("reasoning_tokens"),
    }
    for each in (members, prompt, completion):
        each.finish()
    return {member: value for member, value in whole.items() if value is not None}


# === from the adapter ===


def from_grpc(pb, answer, running_usage=None):
    """A `GenerateResponse`, or what `fold.Events` makes of a stream."""
    whole = {
        "model": answer.model,
        "system_fingerprint": answer.system_fingerprint,
        "usage": _usage_from_grpc(answer.usage) if answer.HasField("usage") else None,
        "prompt_text": answer.prompt_text,
        "prompt_token_ids": list(answer.prompt_token_ids),
        "prompt_logprobs": _prompt_logprobs_from_grpc(answer.prompt_logprobs),
        "choices": [
            _choice_from_grpc(pb, choice, (running_usage or {}).get(choice.index)) for choice in answer.choices
        ],
        "extensions": shape(json.loads(answer.extensions_json or "{}")),
    }
    return {member: value for member, value in whole.items() if value not in (None, "", [], {})}


def _choice_from_grpc(pb, choice, running_usage):
    stop = choice.WhichOneof("stop_reason")
    whole = {
        "index": choice.index if choice.HasField("index") else "unset",
        "finish_reason": pb.FinishReason.Name(choice.finish_reason).removeprefix("FINISH_REASON_").lower(),
        "finish_reason_raw": choice.finish_reason_raw,
        "stop_reason": getattr(choice, stop) if stop else None,
        "content": choice.message.content,
        "reasoning": choice.message.reasoning,
        "refusal": choice.refusal,
        "tool_calls": [_tool_call_from_grpc(call) for call in choice.message.tool_calls],
        "logprobs": [_logprob_from_grpc(token) for token in choice.logprobs],
        "token_ids": list(choice.token_ids),
        "running_usage": _usage_from_grpc(running_usage) if running_usage else None,
        "prompt_index": choice.prompt_index if choice.HasField("prompt_index") else None,
        "prompt_token_ids": list(choice.prompt_token_ids),
        "prompt_logprobs": _prompt_logprobs_from_grpc(choice.prompt_logprobs),
    }
    return {member: value for member, value in whole.items() if value not in (None, "", [])}


def _tool_call_from_grpc(call):
    return {"has_id": bool(call.id), "name": call.name, "arguments": call.arguments}


def _logprob_from_grpc(token):
    whole = _set_fields(token)
    whole["bytes"] = list(whole.pop("raw_bytes", b""))
    whole["top"] = [_logprob_from_grpc(top) for top in whole.pop("top_logprobs", [])]
    return {member: value for member, value in whole.items() if value != []}


def _prompt_logprobs_from_grpc(tokens):
    return [[_set_fields(candidate) for candidate in token.candidates] for token in tokens]


def _usage_from_grpc(usage):
    whole = _set_fields(usage)
    if "multimodal_tokens" in whole:
        whole["multimodal_tokens"] = dict(whole["multimodal_tokens"])
    return whole


def _set_fields(message):
    return {field.name: value for field, value in message.ListFields()}
