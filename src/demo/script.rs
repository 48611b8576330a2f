//! What the simulated model says to what it is asked.

use serde_json::{Map, Value};

use super::{
    chat::{Chat, Form, Tool, ToolChoice},
    schema,
};

/// One choice's whole message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) reasoning: String,
    pub(super) content: String,
    /// Name and arguments of each call.
    pub(super) calls: Vec<(String, String)>,
}

const GREETINGS: [&str; 3] = [
    "Hello! How can I help you today?",
    "Hi there! What can I do for you?",
    "Good day! Ask me anything.",
];

const OTHERWISE: &str = "I am the simulated vLLM of this adapter and recite a script. \
    Start the adapter with --upstream to ask a real model.";

/// Characters of several languages, some of them made of several code points.
const CHARACTERS: &str = "naïve café 日本語 🎉👩\u{200d}🚀 Привет end";

/// The answer to a chat; `choice` tells the choices of one request apart.
pub(super) fn chat_message(chat: &Chat, choice: usize) -> Message {
    let question = chat.newest("user").unwrap_or_default();
    if let Some((role, result)) = chat.turns.last()
        && role == "tool"
    {
        return content(format!("The tool says: {result}"));
    }
    let calls = calls(chat, question);
    if !calls.is_empty() {
        return Message {
            calls,
            ..Message::default()
        };
    }
    let (reasoning, answer) = match &chat.form {
        Form::Free => answer(question, choice),
        Form::Json(schema) => (None, schema::example(schema).to_string()),
        Form::OneOf(choices) => (None, choices.first().cloned().unwrap_or_default()),
    };
    match reasoning {
        Some(reasoning) if chat.thinks => Message {
            reasoning,
            content: format!("\n\n{answer}"),
            calls,
        },
        Some(_) | None => content(answer),
    }
}

/// What follows a raw prompt, and whether it would go on for ever.
pub(super) fn continuation(prompt: &str, max_tokens: usize) -> (String, bool) {
    let last_word = prompt.split_whitespace().next_back().unwrap_or_default();
    let Ok(last) = last_word.parse::<u32>() else {
        return (", said the simulated vLLM, and ended.".to_owned(), false);
    };
    let numbers = (1..).map_while(|step| last.checked_add(step));
    let numbers: Vec<String> = numbers
        .take(max_tokens)
        .map(|number| format!(" {number}"))
        .collect();
    (numbers.concat(), true)
}

fn content(content: String) -> Message {
    Message {
        content,
        ..Message::default()
    }
}

/// The reasoning, where the question asks for some, and the answer.
fn answer(question: &str, choice: usize) -> (Option<String>, String) {
    let question = question.to_lowercase();
    let asks_for = |word: &str| words(&question).any(|it| it == word);
    if asks_for("think") {
        return thought(&question);
    }
    let answer = if asks_for("count") {
        count(&question)
    } else if question.contains("utf-8") {
        CHARACTERS.to_owned()
    } else if asks_for("hello") || asks_for("hi") {
        GREETINGS[choice % GREETINGS.len()].to_owned()
    } else {
        OTHERWISE.to_owned()
    };
    (None, answer)
}

fn thought(question: &str) -> (Option<String>, String) {
    let sum = question.split_once('+').and_then(|(before, after)| {
        let left = before.split(|c: char| !c.is_ascii_digit()).next_back()?;
        let right = after.split(|c: char| !c.is_ascii_digit()).next()?;
        let (left, right): (u64, u64) = (left.parse().ok()?, right.parse().ok()?);
        Some((left, right, left.checked_add(right)?))
    });
    match sum {
        Some((left, right, sum)) => (
            Some(format!("\n{left} and {right} make {sum}.\n")),
            format!("The answer is {sum}."),
        ),
        None => (
            Some("\nThere is nothing to add up.\n".to_owned()),
            OTHERWISE.to_owned(),
        ),
    }
}

/// The numbers from 1 to the one that is asked for, ten otherwise.
fn count(question: &str) -> String {
    let last = words(question).find_map(|word| match word {
        "hundred" => Some(100),
        "twenty" => Some(20),
        word => word.parse::<u16>().ok(),
    });
    let numbers: Vec<String> = (1..=last.unwrap_or(10).min(1000))
        .map(|number| number.to_string())
        .collect();
    numbers.join(" ")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
}

/// The calls of the tool that the question is about: one for each name that the question holds.
fn calls(chat: &Chat, question: &str) -> Vec<(String, String)> {
    let tool = match &chat.tool_choice {
        ToolChoice::Named(name) => chat.tools.iter().find(|tool| tool.name == *name),
        ToolChoice::Required => asked_about(chat, question).or(chat.tools.first()),
        ToolChoice::Auto => asked_about(chat, question),
    };
    let Some(tool) = tool else {
        return Vec::new();
    };
    let names: Vec<&str> = words(question)
        .skip(1)
        .filter(|word| word.starts_with(char::is_uppercase))
        .collect();
    let at_once = if chat.parallel_calls && matches!(chat.tool_choice, ToolChoice::Auto) {
        names.len().max(1)
    } else {
        1
    };
    (0..at_once)
        .map(|n| {
            (
                tool.name.clone(),
                arguments(tool, names.get(n).copied()).to_string(),
            )
        })
        .collect()
}

/// The first tool that shares a word of some length with the question.
fn asked_about<'a>(chat: &'a Chat, question: &str) -> Option<&'a Tool> {
    let question = question.to_lowercase();
    chat.tools.iter().find(|tool| {
        let of_tool = format!("{} {}", tool.name, tool.description).to_lowercase();
        let of_tool = of_tool.replace('_', " ");
        words(&question).any(|word| word.len() > 3 && words(&of_tool).any(|it| it == word))
    })
}

/// Arguments that fit the tool's schema, with the name in its text members.
fn arguments(tool: &Tool, name: Option<&str>) -> Value {
    let Value::Object(mut arguments) = schema::example(&tool.parameters) else {
        return Value::Object(Map::new());
    };
    for (member, value) in &mut arguments {
        let is_free = tool.parameters["properties"][member].get("enum").is_none();
        if let (Some(name), Value::String(text), true) = (name, value, is_free) {
            name.clone_into(text);
        }
    }
    Value::Object(arguments)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(question: &str) -> Chat {
        Chat {
            turns: vec![("user".to_owned(), question.to_owned())],
            parallel_calls: true,
            thinks: true,
            ..Chat::default()
        }
    }

    #[test]
    fn a_question_gets_its_answer() {
        for (question, expected) in [
            ("Say hello.", content(GREETINGS[0].to_owned())),
            ("Count to 3!", content("1 2 3".to_owned())),
            ("Write UTF-8.", content(CHARACTERS.to_owned())),
            ("Who are you?", content(OTHERWISE.to_owned())),
            (
                "Think about 2+2.",
                Message {
                    reasoning: "\n2 and 2 make 4.\n".to_owned(),
                    content: "\n\nThe answer is 4.".to_owned(),
                    calls: Vec::new(),
                },
            ),
        ] {
            assert_eq!(chat_message(&asked(question), 0), expected, "{question}");
        }
    }

    #[test]
    fn thinking_can_be_turned_off() {
        let chat = Chat {
            thinks: false,
            ..asked("Think about 2+2.")
        };
        assert_eq!(
            chat_message(&chat, 0),
            content("The answer is 4.".to_owned())
        );
    }

    #[test]
    fn a_tool_is_called_when_it_is_asked_about() {
        let weather = || Tool {
            name: "get_weather".to_owned(),
            description: String::new(),
            parameters: json!({"properties": {"city": {"type": "string"}}}),
        };
        let call = |city: &str| ("get_weather".to_owned(), format!(r#"{{"city":"{city}"}}"#));
        for (question, choice, expected) in [
            ("Weather in Paris?", ToolChoice::Auto, vec![call("Paris")]),
            (
                "Weather in Paris and Tokyo?",
                ToolChoice::Auto,
                vec![call("Paris"), call("Tokyo")],
            ),
            ("Say hello.", ToolChoice::Auto, vec![]),
            ("Say hello.", ToolChoice::Required, vec![call("Ada")]),
            (
                "Weather in Paris and Tokyo?",
                ToolChoice::Named("get_weather".to_owned()),
                vec![call("Paris")],
            ),
        ] {
            let chat = Chat {
                tools: vec![weather()],
                tool_choice: choice,
                ..asked(question)
            };
            assert_eq!(chat_message(&chat, 0).calls, expected, "{question}");
        }
    }

    #[test]
    fn a_tool_result_is_told() {
        let mut chat = asked("Weather in Paris?");
        chat.turns.push(("tool".to_owned(), "sunny".to_owned()));
        assert_eq!(chat_message(&chat, 0).content, "The tool says: sunny");
    }

    #[test]
    fn a_row_of_numbers_goes_on() {
        assert_eq!(continuation("1 2 3", 2), (" 4 5".to_owned(), true));
        assert!(!continuation("Once upon a time", 9).1);
    }
}
