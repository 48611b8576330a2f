use super::*;
use crate::{
    Fold,
    proto::{
        ChoiceFinished, ContentDelta, ReasoningDelta, StreamGenerateResponse, ToolCallDelta, Usage,
    },
};

fn reasoning(text: &str) -> Event {
    Event::Reasoning(ReasoningDelta {
        text: text.to_owned(),
        ..ReasoningDelta::default()
    })
}

fn content(text: &str) -> Event {
    Event::Content(ContentDelta {
        text: text.to_owned(),
        ..ContentDelta::default()
    })
}

fn call(arguments: &str) -> Event {
    Event::ToolCall(ToolCallDelta {
        id: "1".to_owned(),
        name: "f".to_owned(),
        arguments: arguments.to_owned(),
        ..ToolCallDelta::default()
    })
}

fn finished(reason: FinishReason) -> Event {
    Event::Finished(ChoiceFinished {
        finish_reason: reason.into(),
        ..ChoiceFinished::default()
    })
}

/// What an answer of these events prints on both outputs.
fn printed(is_terminal: bool, is_json: bool, events: &[Event]) -> (String, String) {
    let mut printer = Printer::new(Vec::new(), Vec::new(), is_terminal);
    printer.is_json = is_json;
    let mut fold = Fold::new();
    let usage = Event::Usage(Usage {
        completion_tokens: Some(5),
        ..Usage::default()
    });
    for event in events.iter().cloned().chain([usage]) {
        printer.event(&event).unwrap();
        fold.push(StreamGenerateResponse {
            event: Some(event),
            ..StreamGenerateResponse::default()
        });
    }
    let took = Figures {
        first: Some(Duration::from_millis(30)),
        rest: Duration::from_secs(2),
    };
    printer.end(&fold.finish_response(), &took).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    // Styles as marks that can be read.
    let err = text(printer.err)
        .replace("\u{1b}[2m", "<")
        .replace("\u{1b}[0m", ">");
    (text(printer.out), err)
}

#[test]
fn text_goes_out_and_all_else_beside_it() {
    const FIGURES: &str = "<: 5 tokens, first after 30 ms, 2.0 tokens/s>\n";
    for (is_terminal, events, out, err) in [
        (
            false,
            &[content("a"), content("b\n\u{1b}[1m")][..],
            "ab\n\u{1b}[1m\n",
            "",
        ),
        (
            true,
            &[content("a"), content("b\n\u{1b}[1m")],
            "ab\n[1m\n",
            "",
        ),
        (true, &[content("a\n")], "a\n", ""),
        (
            true,
            &[reasoning("\nr"), content("\n\na")],
            "a\n",
            "<r>\n\n",
        ),
        (
            false,
            &[reasoning("r\n"), content("\n\na")],
            "\n\na\n",
            "<r\n>\n",
        ),
        (
            true,
            &[content("a"), call("{\"x\":"), call("1}")],
            "a\nf({\"x\":1})\n",
            "",
        ),
        (true, &[reasoning("r")], "", "<r>\n"),
        (true, &[content("")], "", ""),
    ] {
        let mut events = events.to_vec();
        events.push(finished(FinishReason::Stop));
        let expected = (out.to_owned(), format!("{err}{FIGURES}"));
        assert_eq!(printed(is_terminal, false, &events), expected, "{events:?}");
    }
}

#[test]
fn an_answer_that_is_cut_says_so() {
    let (out, err) = printed(true, false, &[content("a"), finished(FinishReason::Length)]);
    assert_eq!(out, "a\n");
    assert!(err.contains("cut off: see --max-tokens"), "{err}");
}

#[test]
fn json_holds_the_same() {
    let events = [
        reasoning("r"),
        content("a"),
        call("{}"),
        finished(FinishReason::ToolCalls),
    ];
    let (out, err) = printed(true, true, &events);
    let answer: Value = serde_json::from_str(&out).unwrap();
    let expected = json!({
        "model": "",
        "content": "a",
        "reasoning": "r",
        "refusal": "",
        "tool_calls": [{"id": "1", "name": "f", "arguments": "{}"}],
        "finish_reason": "TOOL_CALLS",
        "completion_tokens": 5,
        "first_token_ms": 30.0,
        "tokens_per_second": 2.0,
    });
    assert_eq!((answer, err.as_str()), (expected, ""));
}
