"""Folds a stream into what a unary call would have given: the SDK's chunks, and the adapter's events."""

import json


class BrokenStream(Exception):
    """An event that the contract does not allow where it came."""


def require(holds, rule):
    if not holds:
        raise BrokenStream(rule)


# === the SDK's chunks ===


def chunks(stream):
    """Chunks, as JSON, to one answer as JSON, with the last running usage in each choice."""
    whole, choices = {}, {}
    for chunk in stream:
        for piece in chunk.pop("choices"):
            choice = choices.setdefault(piece["index"], {})
            _add_piece(choice, piece)
            if usage := chunk.get("usage"):
                choice["running_usage"] = usage
        whole |= {member: value for member, value in chunk.items() if value is not None}
    for choice in choices.values():
        if calls := choice.get("message", {}).pop("tool_calls", None):
            choice["message"]["tool_calls"] = [calls[index] for index in sorted(calls)]
    return whole | {"choices": [choices[index] for index in sorted(choices)]}


def _add_piece(choice, piece):
    if (delta := piece.pop("delta", None)) is not None:
        _add_delta(choice.setdefault("message", {}), delta)
    if text := piece.pop("text", None):
        choice["text"] = choice.get("text", "") + text
    if logprobs := piece.pop("logprobs", None):
        for member, tokens in logprobs.items():
            choice.setdefault("logprobs", {}).setdefault(member, []).extend(tokens or [])
    choice.setdefault("token_ids", []).extend(piece.pop("token_ids", None) or [])
    choice |= {member: value for member, value in piece.items() if value is not None}


def _add_delta(message, delta):
    for call in delta.pop("tool_calls", None) or []:
        function = call["function"]
        whole = message.setdefault("tool_calls", {}).setdefault(call["index"], {"function": {"arguments": ""}})
        whole["id"] = whole.get("id") or call.get("id")
        whole["function"]["name"] = whole["function"].get("name") or function.get("name")
        whole["function"]["arguments"] += function.get("arguments") or ""
    for member in ("content", "reasoning", "refusal"):
        if text := delta.pop(member, None):
            message[member] = message.get(member, "") + text
    message |= {member: value for member, value in delta.items() if value is not None}


# === the adapter's events ===


class Events:
    """The events of one call, folded into a `GenerateResponse` by the rule of the contract."""

    def __init__(self, pb):
        self._pb = pb
        self.answer = pb.GenerateResponse()
        # By choice index: the last usage of its `tokens` events.
        self.running_usage = {}
        self._choices = {}
        self._finished = set()
        self._started = False

    def add(self, event):
        kind = event.WhichOneof("event")
        require(self._started == (kind != "started"), "`started` comes first, and once")
        if kind == "started":
            self._start(event.started)
        elif kind == "usage":
            require(not self.answer.HasField("usage"), "`usage` comes at most once")
            require(self._finished == self._choices.keys(), "`usage` comes after every `finished`")
            self.answer.usage.CopyFrom(event.usage)
        elif kind is not None:
            piece = getattr(event, kind)
            require(piece.choice_index not in self._finished, "nothing of a choice comes after its `finished`")
            getattr(self, f"_add_{kind}")(self._choice(piece.choice_index), piece)
        self.answer.system_fingerprint = event.system_fingerprint or self.answer.system_fingerprint
        if event.extensions_json:
            extensions = json.loads(self.answer.extensions_json or "{}") | json.loads(event.extensions_json)
            self.answer.extensions_json = json.dumps(extensions)

    def end(self):
        """Call it when the stream has ended with OK."""
        require(self._started, "an answer has a `started`")
        require(self._finished == self._choices.keys(), "every choice has its `finished`")
        self.answer.choices.extend(self._choices[index] for index in sorted(self._choices))
        return self.answer

    def _start(self, started):
        self._started = True
        for field, value in started.ListFields():
            if field.name == "prompt_token_ids":
                self.answer.prompt_token_ids.extend(value)
            elif field.name == "create_time":
                self.answer.create_time.CopyFrom(value)
            elif field.name != "request_id":
                setattr(self.answer, field.name, value)

    def _choice(self, index):
        if index not in self._choices:
            self._choices[index] = self._pb.Choice(index=index, message=self._pb.ChatMessage(role="ROLE_ASSISTANT"))
        return self._choices[index]

    def _add_content(self, choice, delta):
        require(delta.text, "a `content` has text")
        choice.message.content += delta.text

    def _add_reasoning(self, choice, delta):
        require(delta.text, "a `reasoning` has text")
        choice.message.reasoning += delta.text

    def _add_refusal(self, choice, delta):
        require(delta.text, "a `refusal` has text")
        choice.refusal += delta.text

    def _add_tool_call(self, choice, delta):
        calls = choice.message.tool_calls
        is_new = delta.tool_index == len(calls)
        require(delta.tool_index <= len(calls), "tool calls are numbered by their first appearance")
        require(bool(delta.id and delta.name) == is_new, "a call has its id and name with its first piece alone")
        if is_new:
            calls.add(id=delta.id, name=delta.name)
        calls[delta.tool_index].arguments += delta.arguments

    def _add_tokens(self, choice, delta):
        choice.logprobs.extend(delta.logprobs)
        choice.token_ids.extend(delta.token_ids)
        choice.prompt_token_ids.extend(delta.prompt_token_ids)
        if delta.HasField("usage"):
            self.running_usage[choice.index] = delta.usage

    def _add_finished(self, choice, finished):
        self._finished.add(choice.index)
        choice.finish_reason = finished.finish_reason
        choice.finish_reason_raw = finished.finish_reason_raw
        choice.extensions_json = finished.extensions_json
        if finished.HasField("prompt_index"):
            choice.prompt_index = finished.prompt_index
        if stop := finished.WhichOneof("stop_reason"):
            setattr(choice, stop, getattr(finished, stop))
