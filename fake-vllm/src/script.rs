//! What the simulated model answers.

use serde_json::{Value, json};

use crate::{
    answer::{Kind, Part},
    picture,
    request::{Request, text},
    schema,
};

const GREETING: &str = "Hello! How can I help you today?";

const OTHERWISE: &str = "I am a simulated vLLM: no model runs here, and I recite a script. All around the words is real: the stream, the tokens, the limits, the errors. Ask me to write a haiku, to think about 17 + 25, to count to 30, what gRPC is good for, or to fail with 503. Start the adapter with --upstream to ask a model.";

/// Answers to questions that have the word, in lower case.
const TOPICS: [(&str, &str); 3] = [
    (
        "haiku",
        "Tokens, one by one,\ncross the wire as they are made.\nThe last one says: done.",
    ),
    (
        "grpc",
        "gRPC gives a stream of tokens what it needs:\n\n- types that a compiler checks,\n- deadlines and cancellation that reach the engine,\n- flow control, so that a slow reader slows the stream and loses nothing,\n- an end that says whether all has come.",
    ),
    (
        "vllm",
        "vLLM serves large language models fast: it batches the requests that run, step by step, and keeps their attention in pages. The adapter stands before it, and gives its HTTP API as typed, streamed messages.",
    ),
];

/// The message that answers a request, in each of its choices.
pub(crate) fn message(request: &Request) -> Vec<Part> {
    let question = request.question();
    if let Some(turn) = request
        .messages
        .last()
        .filter(|turn| turn["role"] == "tool")
    {
        return content(format!("The tool says: {}", text(&turn["content"])));
    }
    let calls = calls(request, &question);
    if !calls.is_empty() {
        return calls;
    }
    let outputs = &request.structured_outputs;
    if let Some(choice) = outputs.pointer("/choice/0").and_then(Value::as_str) {
        return content(choice);
    }
    let schema = request.response_format.pointer("/json_schema/schema");
    if let Some(schema) = schema.or_else(|| outputs.get("json")) {
        return content(schema::example(schema, None).to_string());
    }
    if let Some(told) = request.newest_turn().and_then(picture::description) {
        return content(told);
    }
    let mut words = words(&question);
    match words.next().unwrap_or_default() {
        "Think" => thought(request, &question),
        "Count" => {
            let last = numbers(&question).next().unwrap_or(10).min(1000);
            let numbers: Vec<String> = (1..=last).map(|number| number.to_string()).collect();
            content(numbers.join(" "))
        }
        "Repeat" => content(format!(" {}", words.next().unwrap_or_default())),
        "Hello" | "Hi" | "Say" | "Fail" => content(GREETING),
        _ => content(on_topic(&question)),
    }
}

fn on_topic(question: &str) -> &'static str {
    let question = question.to_lowercase();
    let has = |topic: &str| words(&question).any(|word| word == topic);
    let found = TOPICS.iter().find(|(topic, _answer)| has(topic));
    found.map_or(OTHERWISE, |(_topic, answer)| answer)
}

fn content(text: impl Into<String>) -> Vec<Part> {
    vec![(Kind::Content, text.into())]
}

/// The sum of the numbers, thought over unless that is switched off.
fn thought(request: &Request, question: &str) -> Vec<Part> {
    let numbers: Vec<_> = numbers(question).collect();
    let mut sums: Vec<usize> = Vec::new();
    for number in &numbers {
        sums.push(sums.last().unwrap_or(&0).saturating_add(*number));
    }
    let sum = sums.last().unwrap_or(&0);
    let answer = content(format!("{} = {sum}", list(&numbers, " + ")));
    if request.chat_template_kwargs.get("enable_thinking") == Some(&json!(false)) {
        return answer;
    }
    let kind = match request.include_reasoning {
        Some(false) => Kind::Hidden,
        Some(true) | None => Kind::Reasoning,
    };
    let thought = format!(
        "The numbers are {}. Added one after the other, they make {}. No number is left, so {sum} is the sum.",
        list(&numbers, " and "),
        list(&sums, ", then "),
    );
    [(kind, thought)].into_iter().chain(answer).collect()
}

fn list(numbers: &[usize], separator: &str) -> String {
    let numbers: Vec<_> = numbers.iter().map(usize::to_string).collect();
    numbers.join(separator)
}

fn numbers(text: &str) -> impl Iterator<Item = usize> {
    words(text).filter_map(|word| word.parse().ok())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| !word.is_empty())
}

/// A call of a tool for each name in the question, such as a city; one where a call is required.
fn calls(request: &Request, question: &str) -> Vec<Part> {
    let choice = &request.tool_choice;
    let wanted = choice.pointer("/function/name");
    let mut tools = request.tools.iter().map(|tool| &tool["function"]);
    let tool = tools.find(|tool| wanted.is_none_or(|name| tool["name"] == *name));
    let Some(tool) = tool.filter(|_| choice != "none") else {
        return Vec::new();
    };
    let names = words(question).skip(1);
    let mut names: Vec<&str> = names
        .filter(|word| word.starts_with(char::is_uppercase))
        .collect();
    let is_required = wanted.is_some() || choice == "required";
    if is_required && names.is_empty() {
        names.push(schema::TEXT);
    }
    if is_required || request.parallel_tool_calls == Some(false) {
        names.truncate(1);
    }
    let call = |(index, name)| {
        let function = (Kind::Call(index), text(&tool["name"]));
        [function, (Kind::Arguments(index), arguments(tool, name))]
    };
    names.into_iter().enumerate().flat_map(call).collect()
}

/// Arguments that fit the tool's schema, with the name as each free text.
fn arguments(tool: &Value, name: &str) -> String {
    let arguments = schema::example(&tool["parameters"], Some(name));
    match arguments.is_object() {
        true => arguments.to_string(),
        false => "{}".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(question: &str, options: &Value) -> Vec<Part> {
        let mut body = json!({"messages": [{"role": "user", "content": question}]});
        let options = options.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(options);
        message(&serde_json::from_value(body).unwrap())
    }

    #[test]
    fn a_question_gets_its_answer() {
        let schema = json!({"json_schema": {"schema": {"properties": {"city": {}}}}});
        for (question, options, expected) in [
            ("Say hello.", json!({}), GREETING),
            ("Count to 3!", json!({}), "1 2 3"),
            ("Count to ten.", json!({}), "1 2 3 4 5 6 7 8 9 10"),
            ("Who are you?", json!({}), OTHERWISE),
            (
                "Think about 2+2.",
                json!({}),
                "The numbers are 2 and 2. Added one after the other, they make 2, then 4. No number is left, so 4 is the sum.2 + 2 = 4",
            ),
            (
                "Think about 2+2.",
                json!({"chat_template_kwargs": {"enable_thinking": false}}),
                "2 + 2 = 4",
            ),
            ("Write a haiku!", json!({}), TOPICS[0].1),
            (
                "Yes or no?",
                json!({"structured_outputs": {"choice": ["yes", "no"]}}),
                "yes",
            ),
            (
                "A city.",
                json!({"response_format": schema}),
                r#"{"city":"London"}"#,
            ),
            ("Repeat more.", json!({}), " more"),
        ] {
            let parts = asked(question, &options);
            let texts = parts.into_iter().map(|(_kind, text)| text);
            assert_eq!(texts.collect::<String>(), expected, "{question}");
        }
    }

    #[test]
    fn a_tool_is_called_for_each_name() {
        let weather = json!({"function": {"name": "get_weather", "parameters": {"properties": {"city": {}}}}});
        let named = json!({"function": {"name": "get_weather"}});
        for (question, choice, cities) in [
            ("Weather in Paris?", json!("auto"), &["Paris"][..]),
            (
                "Weather in Paris and Tokyo?",
                json!("auto"),
                &["Paris", "Tokyo"],
            ),
            ("Weather in Paris?", json!("none"), &[]),
            ("Say hello.", json!("auto"), &[]),
            ("Say hello.", json!("required"), &["Ada"]),
            ("Weather in Paris and Tokyo?", named, &["Paris"]),
        ] {
            let options = json!({"tools": [weather], "tool_choice": choice});
            let mut parts = asked(question, &options);
            parts.retain(|(kind, _text)| matches!(kind, Kind::Arguments(_)));
            let expected = cities.iter().map(|city| format!(r#"{{"city":"{city}"}}"#));
            let arguments = parts.into_iter().map(|(_kind, text)| text);
            assert!(arguments.eq(expected), "{question}");
        }
    }
}
