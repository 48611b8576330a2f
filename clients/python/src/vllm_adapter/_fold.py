"""The events of a stream, folded into a whole answer."""

from collections.abc import Iterable

from google.protobuf.message import Message

from . import v1


def fold(events: Iterable[v1.StreamGenerateResponse]) -> v1.GenerateResponse:
    """Makes of a stream's events the response that Generate gives for the same answer.

    Unless they are all, up to an end without an error, it is incomplete.
    """
    response = v1.GenerateResponse()
    choices: dict[int, list[v1.StreamGenerateResponse]] = {}
    for event in events:
        _copy(event, response)
        _copy(event.started, response)
        kind = event.WhichOneof("event")
        # None is an event that is not known.
        if kind not in ("started", "usage", None):
            choices.setdefault(getattr(event, kind).choice_index, []).append(event)
    response.choices.extend(_choice(index, choices[index]) for index in sorted(choices))
    return response


def _choice(index: int, events: list[v1.StreamGenerateResponse]) -> v1.Choice:
    choice = v1.Choice(index=index, refusal="".join(event.refusal.text for event in events))
    choice.message.role = v1.ROLE_ASSISTANT
    # At once, since to append each piece to a text takes the square of its length.
    choice.message.content = "".join(event.content.text for event in events)
    choice.message.reasoning = "".join(event.reasoning.text for event in events)
    calls: dict[int, list[v1.ToolCallDelta]] = {}
    for event in events:
        _copy(event.tokens, choice)
        _copy(event.finished, choice)
        if event.HasField("tool_call"):
            calls.setdefault(event.tool_call.tool_index, []).append(event.tool_call)
    for deltas in calls.values():
        arguments = "".join(delta.arguments for delta in deltas)
        choice.message.tool_calls.add(id=deltas[0].id, name=deltas[0].name, arguments=arguments)
    return choice


def _copy(source: Message, target: Message) -> None:
    """The fields that have the same name in both; lists are appended to."""
    for field, value in source.ListFields():
        if field.name not in target.DESCRIPTOR.fields_by_name:
            continue
        if isinstance(value, Message):
            getattr(target, field.name).CopyFrom(value)
        elif isinstance(value, (bool, bytes, float, int, str)):
            setattr(target, field.name, value)
        else:
            getattr(target, field.name).extend(value)
