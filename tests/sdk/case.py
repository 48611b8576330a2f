"""One request of the comparison, in the OpenAI form, and what becomes of it on either side.

A case is written once, as the body that an OpenAI client sends to vLLM.  The SDK gets it as it is; the adapter gets
what `grpc_request` makes of it, field by field.  A member that neither side knows is an error, so nothing drifts.
"""

import base64
import dataclasses
import inspect
import json

from openai.types.chat import ChatCompletion

# A batch is several chats, of which the SDK does not know.
CHAT, BATCH, COMPLETION = "chat", "batch", "completion"
UNARY, STREAMED = "unary", "streamed"


@dataclasses.dataclass(frozen=True)
class Case:
    """A request, and where and how it is sent."""

    name: str
    route: str
    # The request's body in the OpenAI form, without `stream`.
    body: dict
    # Members of the body that have no typed field, and travel as `extra_body_json`.
    extra: dict = dataclasses.field(default_factory=dict)
    # Members of the answer that are asked for by `extension_keys`.
    extensions: tuple = ()
    # Sends the one user turn of a chat in the `prompt` field.
    as_prompt: bool = False
    # The servers that it is sent to.
    servers: tuple = ("chat",)
    # Only one of them where the contract gives the other its own meaning.
    modes: tuple = (UNARY, STREAMED)

    def asks_for(self, member):
        # A chat's echo brings them.
        if member == "prompt_logprobs" and self.route == CHAT and self.asks_for("echo") and self.asks_for("logprobs"):
            return True
        value = self.body.get(member)
        return value is not None and value is not False

    def choices_each(self):
        """How many choices answer each input, where these are a list."""
        prompt = self.body.get("prompt", "")
        is_list = self.route == BATCH or not isinstance(prompt, str) and not isinstance(prompt[0], int)
        return self.body.get("n", 1) if is_list else None


# === to the SDK ===


def sdk_arguments(client, case, mode):
    """The SDK's method, and its keyword arguments; what it has no argument for goes into `extra_body`."""
    if case.route == BATCH:
        return client.post, {
            "path": "/chat/completions/batch",
            "body": case.body | case.extra,
            "cast_to": ChatCompletion,
        }
    method = client.chat.completions.create if case.route == CHAT else client.completions.create
    known = inspect.signature(method).parameters
    body = dict(case.body)
    if mode == STREAMED:
        # The adapter always asks for the usage.
        body["stream_options"] = {"include_usage": True, **body.get("stream_options", {})}
    else:
        body.pop("stream_options", None)
    arguments = {name: value for name, value in body.items() if name in known}
    extra = {name: value for name, value in body.items() if name not in known} | case.extra
    return method, arguments | {"extra_body": extra, "stream": mode == STREAMED}


# === to the adapter ===

# Members with the same name and meaning in the proto.
SAME = frozenset(
    """
    model seed n max_tokens temperature top_p top_k min_p frequency_penalty presence_penalty repetition_penalty
    allowed_token_ids bad_words use_beam_search length_penalty watermarking min_tokens stop_token_ids ignore_eos
    include_stop_str_in_output truncate_prompt_tokens add_special_tokens skip_special_tokens
    spaces_between_special_tokens echo reasoning_effort include_reasoning thinking_token_budget parallel_tool_calls
    add_generation_prompt continue_final_message logprob_token_ids prompt_logprobs return_token_ids
    return_tokens_as_token_ids return_prompt_text cache_salt session_id user stream_interval
    """.split()
)


def grpc_request(pb, case):
    """The case as a `GenerateRequest`."""
    fields = {"extension_keys": list(case.extensions)}
    if case.extra:
        fields["extra_body_json"] = json.dumps(case.extra)
    for member, value in case.body.items():
        if member in SAME:
            fields[member] = value
        elif member in MEMBERS:
            fields |= MEMBERS[member](pb, case, value)
        else:
            raise KeyError(f"{case.name}: the adapter has no field for {member!r}")
    return pb.GenerateRequest(**fields)


def _messages(pb, case, messages):
    if case.as_prompt:
        (message,) = messages
        return {"prompt": message["content"]}
    if case.route == BATCH:
        return {"conversations": [pb.Conversation(messages=[_message(pb, turn) for turn in chat]) for chat in messages]}
    return {"messages": [_message(pb, message) for message in messages]}


def _message(pb, message):
    role = f"ROLE_{message['role'].upper()}"
    fields = {"role": role} if role in dict(pb.Role.items()) else {"role_name": message["role"]}
    for member, value in message.items():
        if member == "role" or value is None:
            continue
        if member == "content" and not isinstance(value, str):
            fields["parts"] = [_part(pb, part) for part in value]
        elif member == "tool_calls":
            fields["tool_calls"] = [pb.ToolCall(id=call["id"], **call["function"]) for call in value]
        elif member == "tools":
            fields |= _tools(pb, None, value)
        else:
            fields[member] = value
    return pb.ChatMessage(**fields)


def _part(pb, part):
    kind = part["type"]
    if kind.endswith("_url"):
        return pb.ContentPart(**{kind.removesuffix("_url"): _media(pb, part[kind])})
    if kind.endswith("_embeds"):
        return pb.ContentPart(embeds_json=json.dumps(part))
    members = {"tool_reference": "name"}
    content = members.get(kind, kind)
    extra = {member: value for member, value in part.items() if member not in ("type", content)}
    return pb.ContentPart(**{kind: part[content]}, extra_json=json.dumps(extra) if extra else "")


def _media(pb, media):
    header, _, data = media["url"].partition(";base64,")
    if not data:
        return pb.Media(**media)
    # A data URI is what the adapter makes of inline bytes.
    inline = {"data": base64.b64decode(data), "media_type": header.removeprefix("data:")}
    return pb.Media(**inline, detail=media.get("detail", ""))


def _prompt(pb, case, prompt):
    if isinstance(prompt, str):
        source = {"text": prompt}
    elif isinstance(prompt[0], str):
        source = {"texts": prompt}
    elif isinstance(prompt[0], list):
        source = {"token_inputs": [pb.TokenIds(ids=ids) for ids in prompt]}
    else:
        source = {"token_ids": prompt}
    return {"completion": pb.CompletionInput(suffix=case.body.get("suffix", ""), **source)}


def _tools(pb, _case, tools):
    return {"tools": [_tool(pb, tool["function"]) for tool in tools]}


def _tool(pb, function):
    fields = dict(function)
    if "parameters" in fields:
        fields["parameters_json"] = json.dumps(fields.pop("parameters"))
    return pb.Tool(**fields)


def _document(pb, members):
    return pb.TemplateDocument(fields=[pb.TemplateField(name=name, value=value) for name, value in members.items()])


def _tool_choice(pb, _case, choice):
    if isinstance(choice, str):
        return {"tool_choice": pb.ToolChoice(mode=f"TOOL_MODE_{choice.upper()}")}
    return {"tool_choice": pb.ToolChoice(function_name=choice["function"]["name"])}


def _response_format(pb, _case, form):
    if form["type"] == "json_object":
        constraint = {"json_object": pb.AnyJsonObject()}
    elif form["type"] == "json_schema":
        constraint = {"json_schema": json.dumps(form["json_schema"]["schema"])}
    else:
        tag = {member: value for member, value in form.items() if member != "type"}
        constraint = {"structural_tag_json": json.dumps(tag)}
    return {"structured_output": pb.StructuredOutput(**constraint)}


def _structured_outputs(pb, _case, options):
    fields = dict(options)
    if "json" in fields:
        fields["json_schema"] = json.dumps(fields.pop("json"))
    if fields.pop("json_object", False):
        fields["json_object"] = pb.AnyJsonObject()
    if "choice" in fields:
        fields["choice"] = pb.TextChoices(values=fields["choice"])
    return {"structured_output": pb.StructuredOutput(**fields)}


def _logprobs(_pb, case, logprobs):
    # A completion's is the number of the likeliest tokens, a chat's a switch.
    return {"logprobs": True, "top_logprobs": logprobs} if case.route == COMPLETION else {"logprobs": logprobs}


# How each other member of a body is written in the proto.
MEMBERS = {
    "messages": _messages,
    "prompt": _prompt,
    "suffix": lambda _pb, _case, _suffix: {},
    "tools": _tools,
    "tool_choice": _tool_choice,
    "response_format": _response_format,
    "structured_outputs": _structured_outputs,
    "logprobs": _logprobs,
    "top_logprobs": lambda _pb, _case, count: {"top_logprobs": count},
    "max_completion_tokens": lambda _pb, _case, count: {"max_tokens": count},
    "stop": lambda _pb, _case, stop: {"stop": [stop] if isinstance(stop, str) else stop},
    "logit_bias": lambda _pb, _case, bias: {"logit_bias": {int(token): value for token, value in bias.items()}},
    "truncation_side": lambda _pb, _case, side: {"truncation_side": f"TRUNCATION_SIDE_{side.upper()}"},
    "documents": lambda pb, _case, texts: {"documents": [_document(pb, text) for text in texts]},
    "chat_template_kwargs": lambda _pb, _case, kwargs: {"chat_template_kwargs_json": json.dumps(kwargs)},
    "repetition_detection": lambda pb, _case, limits: {"repetition_detection": pb.RepetitionDetection(**limits)},
    "stream_options": lambda _pb, _case, options: {"continuous_usage": options["continuous_usage_stats"]},
}
