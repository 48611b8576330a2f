"""The events of a stream, folded into a whole answer."""

from . import v1


class _Parts:
    """A choice, with its texts in pieces: to join them at each event would take the square of their length."""

    def __init__(self, index: int) -> None:
        self.choice = v1.Choice(index=index)
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.calls: list[tuple[str, str, list[str]]] = []

    def whole(self) -> v1.Choice:
        calls = [v1.ToolCall(id=id, name=name, arguments="".join(pieces)) for id, name, pieces in self.calls]
        content, reasoning = "".join(self.content), "".join(self.reasoning)
        message = v1.ChatMessage(role=v1.ROLE_ASSISTANT, content=content, reasoning=reasoning, tool_calls=calls)
        choice = v1.Choice(message=message, refusal="".join(self.refusal))
        choice.MergeFrom(self.choice)
        return choice


class Fold:
    """Makes of a stream's events the response that Generate gives for the same answer.

    Until the stream has ended, and without an error, the answer is incomplete.
    """

    def __init__(self) -> None:
        self._response = v1.GenerateResponse()
        self._choices: dict[int, _Parts] = {}

    def push(self, event: v1.StreamGenerateResponse) -> None:
        """Takes the next event. One that is not known is left out."""
        response = self._response
        response.system_fingerprint = event.system_fingerprint or response.system_fingerprint
        response.extensions_json = event.extensions_json or response.extensions_json
        match event.WhichOneof("event"):
            case "started":
                response.id = event.started.id
                response.model = event.started.model
                response.create_time.CopyFrom(event.started.create_time)
                response.prompt_text = event.started.prompt_text
                response.prompt_token_ids.extend(event.started.prompt_token_ids)
            case "content":
                self._parts(event.content.choice_index).content.append(event.content.text)
            case "reasoning":
                self._parts(event.reasoning.choice_index).reasoning.append(event.reasoning.text)
            case "refusal":
                self._parts(event.refusal.choice_index).refusal.append(event.refusal.text)
            case "tool_call":
                self._tool_call(event.tool_call)
            case "tokens":
                choice = self._parts(event.tokens.choice_index).choice
                choice.logprobs.extend(event.tokens.logprobs)
                choice.token_ids.extend(event.tokens.token_ids)
                choice.prompt_token_ids.extend(event.tokens.prompt_token_ids)
            case "finished":
                self._finish(event.finished)
            case "usage":
                response.usage.CopyFrom(event.usage)
            case _:
                pass

    def response(self) -> v1.GenerateResponse:
        """The answer so far."""
        response = v1.GenerateResponse(choices=[self._choices[index].whole() for index in sorted(self._choices)])
        response.MergeFrom(self._response)
        return response

    def _parts(self, index: int) -> _Parts:
        return self._choices.setdefault(index, _Parts(index))

    def _tool_call(self, delta: v1.ToolCallDelta) -> None:
        calls = self._parts(delta.choice_index).calls
        # Calls appear in the order of their index, so that a new one is the next.
        if delta.tool_index >= len(calls):
            calls.append((delta.id, delta.name, []))
        calls[delta.tool_index][2].append(delta.arguments)

    def _finish(self, finished: v1.ChoiceFinished) -> None:
        choice = self._parts(finished.choice_index).choice
        choice.finish_reason = finished.finish_reason
        choice.finish_reason_raw = finished.finish_reason_raw
        choice.extensions_json = finished.extensions_json
        if finished.HasField("prompt_index"):
            choice.prompt_index = finished.prompt_index
        if finished.HasField("stop_string"):
            choice.stop_string = finished.stop_string
        if finished.HasField("stop_token_id"):
            choice.stop_token_id = finished.stop_token_id
