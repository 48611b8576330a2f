use std::collections::BTreeMap;

use crate::v1::stream_generate_response::Event;
use crate::v1::{self, ChatMessage, Choice, GenerateResponse, StreamGenerateResponse, choice, choice_finished};

/// The answer of these events. Unless they are all, up to an end without an error, it is incomplete.
pub fn fold(events: impl IntoIterator<Item = StreamGenerateResponse>) -> GenerateResponse {
    let mut response = GenerateResponse::default();
    let mut choices = BTreeMap::<i32, (Choice, ChatMessage)>::new();
    for next in events {
        if !next.system_fingerprint.is_empty() {
            response.system_fingerprint = next.system_fingerprint;
        }
        if !next.extensions_json.is_empty() {
            response.extensions_json = next.extensions_json;
        }
        match next.event {
            Some(Event::Started(started)) => {
                response.id = started.id;
                response.model = started.model;
                response.create_time = started.create_time;
                response.prompt_text = started.prompt_text;
                response.prompt_token_ids = started.prompt_token_ids;
            }
            Some(Event::Usage(usage)) => response.usage = Some(usage),
            Some(Event::Content(delta)) => choices.entry(delta.choice_index).or_default().1.content += &delta.text,
            Some(Event::Reasoning(delta)) => choices.entry(delta.choice_index).or_default().1.reasoning += &delta.text,
            Some(Event::Refusal(delta)) => choices.entry(delta.choice_index).or_default().0.refusal += &delta.text,
            Some(Event::ToolCall(delta)) => tool_call(&mut choices.entry(delta.choice_index).or_default().1, delta),
            Some(Event::Tokens(delta)) => {
                let (choice, _) = choices.entry(delta.choice_index).or_default();
                choice.logprobs.extend(delta.logprobs);
                choice.token_ids.extend(delta.token_ids);
                choice.prompt_token_ids.extend(delta.prompt_token_ids);
            }
            Some(Event::Finished(finished)) => {
                finish(&mut choices.entry(finished.choice_index).or_default().0, finished)
            }
            None => {}
        }
    }
    for (index, (mut choice, mut message)) in choices {
        message.set_role(v1::Role::Assistant);
        choice.index = Some(index);
        choice.message = Some(message);
        response.choices.push(choice);
    }
    response
}

/// Calls appear in the order of their index, so that a new one is the next.
fn tool_call(message: &mut ChatMessage, delta: v1::ToolCallDelta) {
    let v1::ToolCallDelta { id, name, arguments, .. } = delta;
    match message.tool_calls.get_mut(delta.tool_index as usize) {
        Some(call) => call.arguments += &arguments,
        None => message.tool_calls.push(v1::ToolCall { id, name, arguments }),
    }
}

fn finish(choice: &mut Choice, finished: v1::ChoiceFinished) {
    choice.finish_reason = finished.finish_reason;
    choice.finish_reason_raw = finished.finish_reason_raw;
    choice.extensions_json = finished.extensions_json;
    choice.prompt_index = finished.prompt_index;
    choice.stop_reason = finished.stop_reason.map(|reason| match reason {
        choice_finished::StopReason::StopString(text) => choice::StopReason::StopString(text),
        choice_finished::StopReason::StopTokenId(id) => choice::StopReason::StopTokenId(id),
    });
}
