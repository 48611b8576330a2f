//! Tool calls of an answer, whole and in pieces.

use crate::{
    openai::{chunk, response},
    proto::{self, FinishReason},
    translate::invalid::InvalidAnswer,
};

/// Most calls of one choice; models that make more are stuck in a loop.
const MAX_CALLS: usize = 128;

/// Most bytes of arguments that wait for the name of their call. vLLM sends the name first, or beside them.
const MAX_HELD_BYTES: usize = 64 * 1024;

/// The id of a call to which the upstream gave none: unique, since the answer's id is.
fn made_id(answer_id: &str, choice: i32, call: usize) -> String {
    format!("call_{answer_id}_{choice}_{call}")
}

/// The calls of a whole message.
pub(super) fn whole(
    calls: Vec<response::ToolCall>,
    answer_id: &str,
    choice: i32,
) -> Result<Vec<proto::ToolCall>, InvalidAnswer> {
    if calls.len() > MAX_CALLS {
        return Err(TOO_MANY);
    }
    let call = |(n, call): (usize, response::ToolCall)| {
        let function = call.function.unwrap_or_default();
        Ok(proto::ToolCall {
            id: call
                .id
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| made_id(answer_id, choice, n)),
            name: function
                .name
                .filter(|name| !name.is_empty())
                .ok_or(NAMELESS)?,
            arguments: function.arguments.unwrap_or_default(),
        })
    };
    calls.into_iter().enumerate().map(call).collect()
}

/// A choice that finished because of its calls has some.
pub(super) fn check_finish(reason: FinishReason, n_calls: usize) -> Result<(), InvalidAnswer> {
    if reason == FinishReason::ToolCalls && n_calls == 0 {
        return Err(InvalidAnswer::Malformed("an end by tool calls without any"));
    }
    Ok(())
}

const TOO_MANY: InvalidAnswer = InvalidAnswer::Malformed("more than 128 tool calls");
const NAMELESS: InvalidAnswer = InvalidAnswer::Malformed("a tool call without a name");
const RENAMED: InvalidAnswer = InvalidAnswer::Malformed("a tool call with another name");
const HELD_TOO_LONG: InvalidAnswer =
    InvalidAnswer::Malformed("64 KiB of arguments before the name of a tool call");

/// The calls of one streamed choice, in the order in which they appeared.
#[derive(Debug, Default)]
pub(super) struct ToolCalls(Vec<Call>);

/// A call that has appeared.
#[derive(Debug)]
struct Call {
    /// The upstream's index: unique in a choice as a rule, and any number.
    index: i64,
    /// The upstream's id, if it came before the call was sent.
    id: Option<String>,
    /// The name that was sent.
    name: String,
    /// Arguments held until the name is known; `None` once the call has been sent.
    held: Option<String>,
}

impl ToolCalls {
    /// Takes a piece, and returns the piece that the caller is sent, if there is one yet.
    ///
    /// `position` is the piece's place in its delta, and its index where the upstream gives none. The first piece that
    /// is sent has the call's id and name, whatever the order in which they came.
    pub(super) fn push(
        &mut self,
        position: usize,
        delta: chunk::ToolCallDelta<'_>,
        answer_id: &str,
        choice: i32,
    ) -> Result<Option<proto::ToolCallDelta>, InvalidAnswer> {
        let function = delta.function.unwrap_or_default();
        let name = function.name.filter(|name| !name.is_empty());
        let id = delta.id.filter(|id| !id.is_empty());
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        let index = delta.index.unwrap_or(position);
        let number = self.find(index, id.as_deref(), name.is_some())?;
        let Some(call) = self.0.get_mut(number) else {
            return Ok(None);
        };
        let arguments = function.arguments.unwrap_or_default();
        let mut piece = proto::ToolCallDelta {
            choice_index: choice,
            // At most 128 calls, so that the number always fits.
            tool_index: i32::try_from(number).unwrap_or(i32::MAX),
            ..Default::default()
        };
        let Some(held) = &mut call.held else {
            // Some servers repeat the name with each piece. Two calls of one name under one index, without ids, look the
            // same, and are taken for one.
            if name.is_some_and(|name| *name != *call.name) {
                return Err(RENAMED);
            }
            piece.arguments = arguments.into_owned();
            return Ok((!piece.arguments.is_empty()).then_some(piece));
        };
        held.push_str(&arguments);
        if let Some(id) = id {
            call.id.get_or_insert_with(|| id.into_owned());
        }
        let Some(name) = name else {
            let is_long = held.len() > MAX_HELD_BYTES;
            return if is_long {
                Err(HELD_TOO_LONG)
            } else {
                Ok(None)
            };
        };
        call.name = name.into_owned();
        piece.name.clone_from(&call.name);
        piece.id = call
            .id
            .clone()
            .unwrap_or_else(|| made_id(answer_id, choice, number));
        piece.arguments = call.held.take().unwrap_or_default();
        Ok(Some(piece))
    }

    /// Checks the calls of a choice that ends: none may be held back.
    pub(super) fn end(&self, reason: FinishReason) -> Result<(), InvalidAnswer> {
        if self.0.iter().any(|call| call.held.is_some()) {
            return Err(NAMELESS);
        }
        check_finish(reason, self.0.len())
    }

    /// The number of the call that a piece belongs to, which may be a new one.
    fn find(
        &mut self,
        index: i64,
        id: Option<&str>,
        is_named: bool,
    ) -> Result<usize, InvalidAnswer> {
        let known = self.0.iter().rposition(|call| call.index == index);
        let is_same = |number: &usize| {
            let known_id = self.0.get(*number).and_then(|call| call.id.as_deref());
            // Some servers count every call as 0: another id beside another name is another call.
            !(is_named && id.is_some() && known_id.is_some() && known_id != id)
        };
        if let Some(number) = known.filter(is_same) {
            return Ok(number);
        }
        if self.0.len() == MAX_CALLS {
            return Err(TOO_MANY);
        }
        self.0.push(Call {
            index,
            id: None,
            name: String::new(),
            held: Some(String::new()),
        });
        Ok(self.0.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a caller is sent for these deltas, as `tool_index id name arguments`.
    #[track_caller]
    fn check(deltas: &[&str], told: &[&str]) {
        assert_eq!(
            push_all(deltas),
            Ok(told.iter().map(|it| (*it).to_owned()).collect())
        );
    }

    fn push_all(deltas: &[&str]) -> Result<Vec<String>, InvalidAnswer> {
        let mut calls = ToolCalls::default();
        let mut told = Vec::new();
        for delta in deltas {
            let pieces: Vec<chunk::ToolCallDelta<'_>> = serde_json::from_str(delta).unwrap();
            for (position, piece) in pieces.into_iter().enumerate() {
                if let Some(it) = calls.push(position, piece, "a", 2)? {
                    assert_eq!(it.choice_index, 2);
                    told.push(format!(
                        "{} {} {} {}",
                        it.tool_index, it.id, it.name, it.arguments
                    ));
                }
            }
        }
        calls.end(FinishReason::Stop).map(|()| told)
    }

    #[test]
    fn a_call_is_told_with_id_and_name_once() {
        // vLLM 0.32, hermes parser.
        check(
            &[
                r#"[{"id":"x","type":"function","index":0,"function":{"name":"f","arguments":""}}]"#,
                r#"[{"index":0,"function":{"arguments":"{\"a\""}}]"#,
                r#"[{"index":0,"function":{"arguments":": 1}"}}]"#,
            ],
            &["0 x f ", r#"0   {"a""#, "0   : 1}"],
        );
        // The whole call in one delta, and two calls in one delta.
        check(
            &[
                r#"[{"index":0,"id":"x","function":{"name":"f","arguments":"{}"}},
                  {"index":1,"id":"y","function":{"name":"g","arguments":"[]"}}]"#,
            ],
            &["0 x f {}", "1 y g []"],
        );
    }

    #[test]
    fn a_call_without_an_id_gets_one() {
        // vLLM up to 0.8.5, named tool choice: no id at all, and the name in every delta.
        check(
            &[
                r#"[{"index":0,"function":{"name":"f","arguments":"{"}}]"#,
                r#"[{"index":0,"function":{"name":"f","arguments":"}"}}]"#,
            ],
            &["0 call_a_2_0 f {", "0   }"],
        );
        // vLLM up to 0.8.5, required: later deltas name null.
        check(
            &[
                r#"[{"index":0,"function":{"name":"f","arguments":"{"}}]"#,
                r#"[{"index":0,"id":"late","function":{"name":null,"arguments":"}"}}]"#,
            ],
            &["0 call_a_2_0 f {", "0   }"],
        );
    }

    #[test]
    fn a_call_is_held_until_its_name_is_known() {
        // vLLM 0.6.0: id, name and arguments one after the other.
        check(
            &[
                r#"[{"index":0,"id":"x","type":"function"}]"#,
                r#"[{"index":0,"function":{"name":"f"}}]"#,
                r#"[{"index":0,"function":{"arguments":"{}"}}]"#,
            ],
            &["0 x f ", "0   {}"],
        );
        check(
            &[
                r#"[{"index":0,"function":{"arguments":"{"}}]"#,
                r#"[{"index":0,"id":"x","function":{"name":"f","arguments":"}"}}]"#,
            ],
            &["0 x f {}"],
        );
        assert_eq!(
            push_all(&[r#"[{"index":0,"function":{"arguments":"{"}}]"#]),
            Err(NAMELESS)
        );
        let long = format!(
            r#"[{{"index":0,"function":{{"arguments":"{}"}}}}]"#,
            "x".repeat(MAX_HELD_BYTES)
        );
        assert_eq!(push_all(&[&long, &long]), Err(HELD_TOO_LONG));
    }

    #[test]
    fn calls_are_numbered_as_they_appear() {
        // Any number may be an index, or none.
        check(
            &[
                r#"[{"index":1000000000,"id":"x","function":{"name":"f"}}]"#,
                r#"[{"index":-7,"id":"y","function":{"name":"g"}}]"#,
                r#"[{"index":1000000000,"function":{"arguments":"1"}}]"#,
                r#"[{"index":-7,"function":{"arguments":"2"}}]"#,
            ],
            &["0 x f ", "1 y g ", "0   1", "1   2"],
        );
        check(
            &[
                r#"[{"id":"x","function":{"name":"f"}},{"id":"y","function":{"name":"g"}}]"#,
                r#"[{"function":{"arguments":"1"}},{"function":{"arguments":"2"}}]"#,
            ],
            &["0 x f ", "1 y g ", "0   1", "1   2"],
        );
        // Every call counted as 0.
        check(
            &[
                r#"[{"index":0,"id":"x","function":{"name":"f","arguments":"1"}}]"#,
                r#"[{"index":0,"id":"y","function":{"name":"f","arguments":"2"}}]"#,
                r#"[{"index":0,"function":{"arguments":"3"}}]"#,
            ],
            &["0 x f 1", "1 y f 2", "1   3"],
        );
    }

    #[test]
    fn two_calls_are_not_taken_for_one() {
        for second in ["g", "_g"] {
            let second =
                format!(r#"[{{"index":0,"function":{{"name":"{second}","arguments":"2"}}}}]"#);
            let first = r#"[{"index":0,"function":{"name":"f","arguments":"1"}}]"#;
            assert_eq!(push_all(&[first, &second]), Err(RENAMED));
        }
    }

    #[test]
    fn calls_have_a_limit() {
        let call = |n: usize| format!(r#"[{{"index":{n},"function":{{"name":"f"}}}}]"#);
        let calls: Vec<String> = (0..=MAX_CALLS).map(call).collect();
        let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
        assert_eq!(
            push_all(&calls[..MAX_CALLS]).map(|told| told.len()),
            Ok(MAX_CALLS)
        );
        assert_eq!(push_all(&calls), Err(TOO_MANY));
    }
}
