//! A whole answer.

use crate::{
    openai::{response, text::StopReason},
    proto,
    translate::{
        answer::{create_time, finish_reason, in_order, usage},
        invalid::InvalidAnswer,
    },
};

use super::{asked::Asked, extensions, logprobs, tool_calls};

/// The answer, if every choice is there and ended well. `json` is the answer's text.
pub(crate) fn response(
    response: response::Response,
    json: &str,
    asked: &Asked,
) -> Result<proto::GenerateResponse, InvalidAnswer> {
    let extensions = extensions::pick(json, &asked.extension_keys)?;
    let mut of_choices = extensions.choices.iter().map(extensions::to_json);
    let mut prompt_token_ids = response.prompt_token_ids;
    let mut prompt_logprobs = response.prompt_logprobs;
    let choices = response
        .choices
        .ok_or(InvalidAnswer::Malformed("an answer without choices"))?;
    let entries = choices.into_iter().map(|mut choice| {
        // Completions have the prompt's in each choice, all alike where it is one prompt.
        if asked.choices_each.is_none() {
            prompt_token_ids = choice.prompt_token_ids.take().or(prompt_token_ids.take());
            prompt_logprobs = choice.prompt_logprobs.take().or(prompt_logprobs.take());
        }
        let extensions_json = of_choices.next().unwrap_or_default();
        (choice.index, (choice, extensions_json))
    });
    let n_choices = usize::try_from(asked.choices).unwrap_or(usize::MAX);
    let entries = in_order(entries, n_choices)?;
    let id = response.id.unwrap_or_default();
    let choices = (0..)
        .zip(entries)
        .map(|(index, (choice, extensions_json))| {
            let choice = self::choice(index, choice, &id, asked)?;
            Ok(proto::Choice {
                extensions_json,
                ..choice
            })
        });
    let choices = choices.collect::<Result<_, _>>()?;
    Ok(proto::GenerateResponse {
        id,
        model: response.model.unwrap_or_default(),
        create_time: response.created.as_ref().and_then(create_time),
        choices,
        usage: response.usage.map(usage),
        system_fingerprint: response.system_fingerprint.unwrap_or_default(),
        prompt_token_ids: kept(prompt_token_ids, asked.token_ids),
        prompt_text: kept(response.prompt_text, asked.prompt_text),
        prompt_logprobs: logprobs::prompt_logprobs(kept(prompt_logprobs, asked.prompt_logprobs)),
        extensions_json: extensions::to_json(&extensions.beside),
    })
}

fn choice(
    index: i32,
    choice: response::Choice,
    answer_id: &str,
    asked: &Asked,
) -> Result<proto::Choice, InvalidAnswer> {
    if choice.message.is_none() && choice.text.is_none() {
        return Err(InvalidAnswer::Malformed("a choice without content"));
    }
    let raw = choice.finish_reason.unwrap_or_default();
    if raw.is_empty() {
        return Err(InvalidAnswer::Unfinished);
    }
    let message = choice.message.unwrap_or_default();
    if message.function_call.is_some() {
        return Err(InvalidAnswer::FUNCTION_CALL);
    }
    let refusal = message.refusal.unwrap_or_default();
    let calls = message.tool_calls.unwrap_or_default();
    let message = proto::ChatMessage {
        role: proto::Role::Assistant.into(),
        content: message.content.or(choice.text).unwrap_or_default(),
        // By today's name or the older one; where both come, they are the same text (vLLM 0.11 to 0.14).
        reasoning: message
            .reasoning
            .or(message.reasoning_content)
            .unwrap_or_default(),
        tool_calls: tool_calls::whole(calls, answer_id, index)?,
        ..Default::default()
    };
    let finish_reason = finish_reason(&raw)?;
    tool_calls::check_finish(finish_reason, message.tool_calls.len())?;
    let logprobs = choice.logprobs.filter(|_| asked.logprobs);
    let logprobs = logprobs.map(|logprobs| logprobs::token_logprobs(logprobs, asked));
    Ok(proto::Choice {
        index: Some(index),
        message: Some(message),
        finish_reason: finish_reason.into(),
        finish_reason_raw: raw,
        stop_reason: choice.stop_reason.map(|reason| match reason {
            StopReason::Text(text) => proto::choice::StopReason::StopString(text),
            StopReason::TokenId(id) => proto::choice::StopReason::StopTokenId(id),
        }),
        logprobs: logprobs.transpose()?.unwrap_or_default(),
        token_ids: kept(choice.token_ids, asked.token_ids),
        refusal,
        prompt_index: asked.prompt_index(index),
        prompt_token_ids: kept(choice.prompt_token_ids, asked.token_ids),
        prompt_logprobs: logprobs::prompt_logprobs(kept(
            choice.prompt_logprobs,
            asked.prompt_logprobs,
        )),
        extensions_json: String::new(),
    })
}

/// The value, if it was asked for.
fn kept<T: Default>(value: Option<T>, is_asked: bool) -> T {
    value.filter(|_| is_asked).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_not_complete_is_none() {
        let message = r#""message":{"content":"a"},"finish_reason":"stop""#;
        let call = r#""message":{"tool_calls":[{"function":{"name":"f"}}]}"#;
        let answer = |choice: &str| {
            let json = format!(r#"{{"id":"i","choices":[{{{choice}}}]}}"#);
            let asked = Asked {
                choices: 1,
                ..Asked::default()
            };
            response(serde_json::from_str(&json).unwrap(), &json, &asked)
        };
        let malformed = |choice: &str| matches!(answer(choice), Err(InvalidAnswer::Malformed(_)));
        assert!(answer(message).is_ok());
        assert!(answer(r#""text":"","finish_reason":"length""#).is_ok());
        assert!(answer(&format!(r#"{call},"finish_reason":"tool_calls""#)).is_ok());
        assert!(malformed(r#""finish_reason":"stop""#));
        let function_call = message.replace("content", r#"function_call":{"name":"f"},"content"#);
        assert!(malformed(&function_call));
        assert!(malformed(&message.replace("stop", "function_call")));
        let null = message.replace("content", r#"function_call":null,"content"#);
        assert!(answer(&null).is_ok());
        let refusal = answer(&message.replace("content", "refusal")).unwrap();
        assert_eq!(refusal.choices[0].refusal, "a");
        assert!(malformed(&message.replace("stop", "tool_calls")));
        assert!(malformed(&format!(r#"{message},"index":1"#)));
        assert_eq!(
            answer(&message.replace("stop", "")),
            Err(InvalidAnswer::Unfinished)
        );
        assert_eq!(
            answer(&message.replace("stop", "abort")),
            Err(InvalidAnswer::Aborted)
        );
        assert_eq!(
            answer(&message.replace("stop", "error")),
            Err(InvalidAnswer::Failed)
        );
    }
}
