use super::*;
use crate::{
    openai,
    translate::generation::{self, Fold},
};

fn asked(choices: u32) -> Asked {
    Asked {
        choices,
        ..Default::default()
    }
}

fn everything(choices: u32) -> Asked {
    Asked {
        choices,
        logprobs: true,
        token_ids: true,
        prompt_text: true,
        prompt_logprobs: true,
        continuous_usage: true,
        ..Default::default()
    }
}

fn push(translator: &mut StreamTranslator, json: &str) -> Result<(), InvalidAnswer> {
    translator.push(serde_json::from_str(json).unwrap(), json)
}

/// The events of a stream, taken as they come, one a line.
fn translate(asked: Asked, chunks: &[&str]) -> Result<Vec<String>, InvalidAnswer> {
    let mut translator = StreamTranslator::new(asked, "r".to_owned());
    let mut lines = Vec::new();
    for json in chunks {
        push(&mut translator, json)?;
        while let Some(response) = translator.pop() {
            lines.push(line(&response));
        }
    }
    translator.end()?;
    while let Some(response) = translator.pop() {
        lines.push(line(&response));
    }
    Ok(lines)
}

fn line(response: &StreamGenerateResponse) -> String {
    let event = match &response.event {
        None => panic!("a response without an event"),
        Some(Event::Started(it)) => format!("started {} {} {}", it.id, it.model, it.request_id),
        Some(Event::Content(it)) => format!("{} content {}", it.choice_index, it.text),
        Some(Event::Reasoning(it)) => format!("{} reasoning {}", it.choice_index, it.text),
        Some(Event::Refusal(it)) => format!("{} refusal {}", it.choice_index, it.text),
        Some(Event::ToolCall(it)) => {
            format!(
                "{} call {} {} {} {}",
                it.choice_index, it.tool_index, it.id, it.name, it.arguments
            )
        }
        Some(Event::Tokens(it)) => {
            let tokens: Vec<_> = it
                .logprobs
                .iter()
                .map(|token| token.token.as_str())
                .collect();
            let total = it.usage.as_ref().and_then(|usage| usage.total_tokens);
            format!(
                "{} tokens {tokens:?} {:?} {total:?}",
                it.choice_index, it.token_ids
            )
        }
        Some(Event::Finished(it)) => {
            let reason = it.finish_reason();
            format!(
                "{} finished {reason:?} {:?} {}",
                it.choice_index, it.stop_reason, it.extensions_json
            )
        }
        Some(Event::Usage(it)) => format!("usage {:?}", it.total_tokens),
    };
    [
        event,
        response.system_fingerprint.clone(),
        response.extensions_json.clone(),
    ]
    .map(|text| text.trim_end().to_owned())
    .join(" ")
    .trim_end()
    .to_owned()
}

#[track_caller]
fn check(asked: Asked, chunks: &[&str], lines: &[&str]) {
    assert_eq!(
        translate(asked, chunks),
        Ok(lines.iter().map(|it| (*it).to_owned()).collect())
    );
}

#[track_caller]
fn check_error(asked: Asked, chunks: &[&str], error: InvalidAnswer) {
    assert_eq!(translate(asked, chunks), Err(error));
}

const ROLE: &str = r#"{"id":"i","model":"m","created":7,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const STOP: &str =
    r#"{"id":"i","choices":[{"index":0,"delta":{},"finish_reason":"stop","stop_reason":null}]}"#;

#[test]
fn text_in_the_finishing_chunk_and_usage_after_it_are_kept() {
    check(
        asked(1),
        &[
            ROLE,
            r#"{"id":"i","choices":[{"index":0,"delta":{"content":"a"},"logprobs":null,"finish_reason":null}]}"#,
            r#"{"id":"i","choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop","stop_reason":"\n"}]}"#,
            r#"{"id":"i","choices":[],"usage":{"total_tokens":3},"system_fingerprint":"f"}"#,
        ],
        &[
            "started i m r",
            "0 content a",
            "0 content b",
            r#"0 finished Stop Some(StopString("\n"))"#,
            "usage Some(3) f",
        ],
    );
}

#[test]
fn a_stream_of_the_rust_front_end_reads_the_same() {
    // No content in the role chunk, no nulls, the end in a chunk of its own.
    check(
        asked(1),
        &[
            r#"{"id":"i","model":"m","choices":[{"index":0,"delta":{"role":"assistant"}}]}"#,
            r#"{"id":"i","choices":[{"index":0,"delta":{"content":"a"}}]}"#,
            r#"{"id":"i","choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#,
        ],
        &["started i m r", "0 content a", "0 finished Length None"],
    );
}

#[test]
fn one_delta_may_hold_everything() {
    check(
        asked(1),
        &[
            r#"{"id":"i","model":"m","choices":[{"index":0,"delta":{"reasoning":"r","content":"c","tool_calls":[
            {"index":0,"id":"x","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#,
        ],
        &[
            "started i m r",
            "0 reasoning r",
            "0 content c",
            "0 call 0 x f {}",
            "0 finished ToolCalls None",
        ],
    );
}

#[test]
fn reasoning_has_two_names_and_counts_once() {
    for (delta, reasoning) in [
        (r#"{"reasoning":"a"}"#, "0 reasoning a"),
        // vLLM 0.7.3 to 0.11.0.
        (r#"{"reasoning_content":"a"}"#, "0 reasoning a"),
        // vLLM 0.11.1 to 0.14.1.
        (
            r#"{"reasoning":"a","reasoning_content":"a"}"#,
            "0 reasoning a",
        ),
        (r#"{"content":"a","reasoning_content":null}"#, "0 content a"),
    ] {
        let chunk = format!(r#"{{"id":"i","choices":[{{"index":0,"delta":{delta}}}]}}"#);
        check(
            asked(1),
            &[ROLE, &chunk, STOP],
            &["started i m r", reasoning, "0 finished Stop None"],
        );
    }
}

#[test]
fn choices_may_be_mixed() {
    check(
        asked(2),
        &[
            r#"{"id":"i","model":"m","choices":[{"index":1,"delta":{"content":"b"}}]}"#,
            r#"{"id":"i","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop","stop_reason":7}]}"#,
            r#"{"id":"i","choices":[{"index":1,"delta":{},"finish_reason":"length"}]}"#,
        ],
        &[
            "started i m r",
            "1 content b",
            "0 content a",
            "0 finished Stop Some(StopTokenId(7))",
            "1 finished Length None",
        ],
    );
}

#[test]
fn completions_have_text() {
    check(
        everything(1),
        &[
            r#"{"id":"i","model":"m","choices":[{"index":0,"text":"a","logprobs":{"text_offset":[0],"token_logprobs":[-0.5],
                "tokens":["a"],"top_logprobs":[{"a":-0.5}]},"prompt_token_ids":[1,2],"token_ids":[3],"finish_reason":null}]}"#,
            r#"{"id":"i","choices":[{"index":0,"text":"","finish_reason":"length"}]}"#,
        ],
        &[
            "started i m r",
            "0 content a",
            r#"0 tokens ["a"] [3] None"#,
            "0 finished Length None",
        ],
    );
}

#[test]
fn tokens_without_text_are_told_and_what_was_not_asked_for_is_not() {
    let chunk = r#"{"id":"i","choices":[{"index":0,"delta":{},"logprobs":{"content":[{"token":"<e>","logprob":-1,
        "bytes":[60],"top_logprobs":[]}]},"token_ids":[9],"finish_reason":"stop"}],
        "usage":{"total_tokens":4},"prompt_text":"p","system_fingerprint":"f"}"#;
    check(
        everything(1),
        &[ROLE, chunk],
        &[
            "started i m r",
            r#"0 tokens ["<e>"] [9] Some(4)"#,
            "0 finished Stop None",
            "usage Some(4) f",
        ],
    );
    check(
        asked(1),
        &[ROLE, chunk],
        &["started i m r", "0 finished Stop None", "usage Some(4) f"],
    );
}

#[test]
fn the_last_usage_counts() {
    let usage = |total| format!(r#"{{"id":"i","choices":[],"usage":{{"total_tokens":{total}}}}}"#);
    check(
        asked(1),
        &[ROLE, STOP, &usage(1), &usage(2)],
        &["started i m r", "0 finished Stop None", "usage Some(2)"],
    );
}

#[test]
fn what_waits_is_merged() {
    let mut translator = StreamTranslator::new(asked(2), String::new());
    for delta in [
        r#"{"index":0,"delta":{"content":"a"}}"#,
        r#"{"index":0,"delta":{"content":"b"}}"#,
        r#"{"index":1,"delta":{"content":"c"}}"#,
        r#"{"index":0,"delta":{"content":"d"}}"#,
        r#"{"index":0,"delta":{"reasoning":"e"}}"#,
        r#"{"index":0,"delta":{"reasoning":"f"}}"#,
        r#"{"index":0,"delta":{"tool_calls":[{"index":0,"id":"x","function":{"name":"f"}}]}}"#,
        r#"{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1"}}]}}"#,
        r#"{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"2"}}]}}"#,
        r#"{"index":0,"delta":{"tool_calls":[{"index":1,"id":"y","function":{"name":"g"}}]}}"#,
    ] {
        let json = format!(r#"{{"id":"i","choices":[{delta}]}}"#);
        push(&mut translator, &json).unwrap();
    }
    let lines: Vec<_> = std::iter::from_fn(|| translator.pop())
        .map(|it| line(&it))
        .collect();
    assert_eq!(
        lines,
        [
            "started i",
            "0 content ab",
            "1 content c",
            "0 content d",
            "0 reasoning ef",
            "0 call 0 x f 12",
            "0 call 1 y g",
        ]
    );
}

#[test]
fn extensions_come_where_they_belong() {
    let asked = Asked {
        extension_keys: vec!["kv".to_owned(), "w".to_owned()],
        ..asked(1)
    };
    check(
        asked,
        &[
            r#"{"id":"i","model":"m","kv":{"b":1,"a":2},"choices":[{"index":0,"delta":{"content":"a"},"w":1}]}"#,
            r#"{"id":"i","kv":null,"choices":[{"index":0,"delta":{},"finish_reason":"stop","w":2}]}"#,
        ],
        &[
            "started i m r",
            "0 content a",
            // There is no usage that could have them.
            r#"0 finished Stop None {"w":2}  {"kv":{"b":1,"a":2}}"#,
        ],
    );
}

#[test]
fn the_last_event_has_the_fingerprint() {
    let with_fingerprint = |json: &str| json.replacen("{", r#"{"system_fingerprint":"f","#, 1);
    let usage = r#"{"id":"i","choices":[],"usage":{"total_tokens":3}}"#;
    check(
        asked(1),
        &[&with_fingerprint(ROLE), STOP],
        &["started i m r", "0 finished Stop None f"],
    );
    check(
        asked(1),
        &[&with_fingerprint(ROLE), STOP, usage],
        &["started i m r", "0 finished Stop None", "usage Some(3) f"],
    );
    let second = STOP.replace(r#""index":0"#, r#""index":1"#);
    check(
        asked(2),
        &[ROLE, &second, STOP, &with_fingerprint(r#"{"choices":[]}"#)],
        &[
            "started i m r",
            "1 finished Stop None",
            "0 finished Stop None f",
        ],
    );
}

#[test]
fn no_incomplete_answer_passes() {
    let end = |word: &str| {
        format!(r#"{{"id":"i","choices":[{{"index":0,"delta":{{}},"finish_reason":"{word}"}}]}}"#)
    };
    check_error(asked(1), &[ROLE], InvalidAnswer::Unfinished);
    check_error(asked(1), &[ROLE, &end("")], InvalidAnswer::Unfinished);
    check_error(asked(2), &[ROLE, STOP], InvalidAnswer::Unfinished);
    check_error(asked(1), &[ROLE, &end("abort")], InvalidAnswer::Aborted);
    check_error(asked(1), &[ROLE, &end("error")], InvalidAnswer::Failed);
    check(
        asked(1),
        &[ROLE, &end("novel")],
        &["started i m r", "0 finished Unspecified None"],
    );
}

#[test]
fn a_call_without_an_id_gets_one_of_the_first_id_of_the_answer() {
    let call = |id: &str| {
        format!(
            r#"{{{id}"choices":[{{"index":0,"delta":{{"tool_calls":[{{"function":{{"name":"f"}}}}]}}}}]}}"#
        )
    };
    let end = STOP.replace("stop", "tool_calls");
    for (chunks, id) in [
        ([ROLE, &call(r#""id":"j","#), &end], "i"),
        (
            [
                &ROLE.replace(r#""id":"i","#, ""),
                &call(r#""id":"j","#),
                &end,
            ],
            "j",
        ),
    ] {
        let lines = translate(asked(1), &chunks).unwrap();
        assert_eq!(lines[1], format!("0 call 0 call_{id}_0_0 f"));
    }
}

#[test]
fn an_answer_that_contradicts_itself_fails() {
    let malformed = |chunks: &[&str]| {
        assert!(
            matches!(
                translate(asked(1), chunks),
                Err(InvalidAnswer::Malformed(_))
            ),
            "{chunks:?}"
        );
    };
    malformed(&[r#"{"id":"i","choices":[{"index":1,"delta":{"content":"a"}}]}"#]);
    malformed(&[r#"{"id":"i","choices":[{"index":-1,"delta":{"content":"a"}}]}"#]);
    malformed(&[r#"{"id":"i","choices":[{"index":1000000000,"delta":{"content":"a"}}]}"#]);
    malformed(&[ROLE, STOP, STOP]);
    malformed(&[ROLE, &STOP.replace("stop", "tool_calls")]);
    malformed(&[ROLE, &STOP.replace("stop", "function_call")]);
    malformed(&[
        ROLE,
        r#"{"id":"i","choices":[{"index":0,"delta":{"function_call":{"name":"f"}}}]}"#,
    ]);
    malformed(&[ROLE, r#"{"id":"i","choices":[{"index":0}]}"#]);
    malformed(&[
        ROLE,
        r#"{"id":"i","choices":[{"index":0,"finish_reason":"stop"}]}"#,
    ]);
    malformed(&[
        ROLE,
        r#"{"id":"i","choices":[{"index":0,"finish_reason":null}]}"#,
    ]);
    malformed(&[
        ROLE,
        STOP,
        r#"{"id":"i","choices":[{"index":0,"delta":{"content":"a"}}]}"#,
    ]);
    malformed(&[
        ROLE,
        r#"{"id":"i","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"x"}]},"finish_reason":"stop"}]}"#,
    ]);
}

/// A whole answer, and chunks that say the same.
mod folding {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Clone, Debug)]
    enum Piece {
        Content(String),
        Reasoning(String),
        Refusal(String),
        NewCall(String),
        Arguments(usize, String),
        Token(i32),
    }

    fn piece() -> impl Strategy<Value = Piece> {
        let text = "[ -~é😀]{0,4}";
        prop_oneof![
            text.prop_map(Piece::Content),
            text.prop_map(Piece::Reasoning),
            text.prop_map(Piece::Refusal),
            "[a-z]{1,3}".prop_map(Piece::NewCall),
            (0..4_usize, text).prop_map(|(call, text)| Piece::Arguments(call, text)),
            (0..100).prop_map(Piece::Token),
        ]
    }

    /// A choice as `Generate` gets it, and the chunks of its stream.
    fn choice(index: usize, pieces: &[Piece], word: &str) -> (Value, Vec<Value>) {
        let (mut content, mut reasoning) = (String::new(), String::new());
        let mut refusal = String::new();
        let mut calls: Vec<(String, String)> = Vec::new();
        let mut tokens = Vec::new();
        let mut chunks = Vec::new();
        for piece in pieces {
            let (mut delta, mut token_ids) = (json!({}), Value::Null);
            match piece {
                Piece::Content(text) => {
                    content.push_str(text);
                    delta = json!({"content": text});
                }
                Piece::Reasoning(text) => {
                    reasoning.push_str(text);
                    delta = json!({"reasoning": text, "reasoning_content": text});
                }
                Piece::Refusal(text) => {
                    refusal.push_str(text);
                    delta = json!({"refusal": text, "function_call": null});
                }
                Piece::NewCall(name) => {
                    let number = calls.len();
                    calls.push((name.clone(), String::new()));
                    delta = json!({"tool_calls": [{"index": number, "id": format!("c{number}"), "function": {"name": name}}]});
                }
                Piece::Arguments(call, text) => {
                    if let Some((_, arguments)) = calls.get_mut(*call) {
                        arguments.push_str(text);
                        delta = json!({"tool_calls": [{"index": call, "function": {"arguments": text}}]});
                    }
                }
                Piece::Token(id) => {
                    tokens.push(*id);
                    token_ids = json!([id]);
                }
            }
            chunks.push(json!({"index": index, "delta": delta, "token_ids": token_ids, "finish_reason": null}));
        }
        chunks.push(json!({"index": index, "delta": {}, "finish_reason": word, "stop_reason": 5}));
        let calls: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(n, (name, arguments))| json!({"id": format!("c{n}"), "function": {"name": name, "arguments": arguments}}))
            .collect();
        let whole = json!({
            "index": index, "finish_reason": word, "stop_reason": 5, "token_ids": tokens,
            "message": {"content": content, "reasoning": reasoning, "refusal": refusal, "tool_calls": calls},
        });
        (whole, chunks)
    }

    /// Takes from the choices' chunks in turn, as the seed says.
    fn interleave(mut choices: Vec<Vec<Value>>, mut seed: usize) -> Vec<Value> {
        let mut mixed = Vec::new();
        choices.iter_mut().for_each(|chunks| chunks.reverse());
        while !choices.is_empty() {
            let n = seed % choices.len();
            seed = seed.wrapping_mul(31).wrapping_add(7);
            match choices[n].pop() {
                Some(chunk) => mixed.push(chunk),
                None => drop(choices.remove(n)),
            }
        }
        mixed
    }

    #[test]
    fn choices_of_several_prompts_name_theirs() {
        let of = |prompt: i32| (Some(prompt), vec![prompt, 7]);
        check_prompts(Some(2), &[of(0), of(0), of(1), of(1)]);
        check_prompts(None, &vec![(None, vec![]); 4]);
    }

    /// Unary and streamed.
    #[track_caller]
    fn check_prompts(choices_each: Option<u32>, prompts: &[(Option<i32>, Vec<i32>)]) {
        let asked = Asked {
            choices_each,
            ..everything(4)
        };
        let prompt = |index: i32| choices_each.map_or(0, |_| index / 2);
        let choice = |index: i32| json!({"index": index, "text": "a", "token_ids": [index], "prompt_token_ids": [prompt(index), 7], "finish_reason": "stop"});
        let order = [2, 0, 3, 1];
        let whole = json!({"id": "i", "choices": order.map(choice)}).to_string();
        let expected = generation::response(
            serde_json::from_str::<openai::response::Response>(&whole).unwrap(),
            &whole,
            &asked,
        )
        .unwrap();
        let seen =
            |choice: &crate::proto::Choice| (choice.prompt_index, choice.prompt_token_ids.clone());
        let seen: Vec<_> = expected.choices.iter().map(seen).collect();
        assert_eq!(seen, prompts);
        assert_eq!(expected.prompt_token_ids.is_empty(), choices_each.is_some());

        let mut fold = Fold::new();
        let mut translator = StreamTranslator::new(asked, String::new());
        for index in order {
            let chunk = json!({"id": "i", "choices": [choice(index)]}).to_string();
            push(&mut translator, &chunk).unwrap();
        }
        translator.end().unwrap();
        std::iter::from_fn(|| translator.pop()).for_each(|it| fold.push(it));
        assert_eq!(fold.finish_response(), expected);
    }

    proptest! {
        #[test]
        fn a_folded_stream_is_the_whole_answer(
            pieces in prop::collection::vec(prop::collection::vec(piece(), 0..12), 1..4),
            seed in any::<usize>(),
            reads in 1..5_usize,
        ) {
            let head = json!({"id": "i", "model": "m", "created": 7});
            let with = |key: &str, value: Value| {
                let mut object = head.clone();
                object[key] = value;
                object
            };
            let choices: Vec<_> = pieces.iter().enumerate().map(|(n, it)| choice(n, it, "stop")).collect();
            let (wholes, chunks): (Vec<Value>, Vec<Vec<Value>>) = choices.into_iter().unzip();
            let asked = everything(u32::try_from(wholes.len()).unwrap());

            let mut whole = with("choices", wholes.into());
            whole["usage"] = json!({"total_tokens": 9, "prompt_tokens": 0});
            let json = whole.to_string();
            let expected = generation::response(serde_json::from_str::<openai::response::Response>(&json).unwrap(), &json, &asked).unwrap();

            let mut fold = Fold::new();
            let mut translator = StreamTranslator::new(asked, String::new());
            let mut chunks: Vec<Value> = interleave(chunks, seed).into_iter().map(|it| with("choices", json!([it]))).collect();
            let mut last = with("choices", json!([]));
            last["usage"] = whole["usage"].clone();
            chunks.push(last);
            for (n, chunk) in chunks.iter().enumerate() {
                let json = chunk.to_string();
                push(&mut translator, &json).unwrap();
                if n % reads == 0 {
                    std::iter::from_fn(|| translator.pop()).for_each(|it| fold.push(it));
                }
            }
            translator.end().unwrap();
            std::iter::from_fn(|| translator.pop()).for_each(|it| fold.push(it));
            prop_assert_eq!(fold.finish_response(), expected);
        }
    }
}
