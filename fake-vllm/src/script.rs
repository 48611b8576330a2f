//! What the simulated model answers.

use serde_json::{Value, json};

use crate::{
    answer::{Kind, Part},
    request::{Request, text},
    schema,
};

const GREETING: &str = "Hello! How can I help you today?";

const OTHERWISE: &str = "I am a simulated vLLM and recite a script. Start the adapter with --upstream to ask a real model.";

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
        return content(schema::example(schema).to_string());
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
        _ => content(OTHERWISE),
    }
}

fn content(text: impl Into<String>) -> Vec<Part> {
    vec![(Kind::Content, text.into())]
}

/// The sum of the numbers, thought over unless that is switched off.
fn thought(request: &Request, question: &str) -> Vec<Part> {
    let sum = numbers(question).fold(0, usize::saturating_add);
    let answer = content(format!("The answer is {sum}."));
    if request.chat_template_kwargs.get("enable_thinking") == Some(&json!(false)) {
        return answer;
    }
    let kind = match request.include_reasoning {
        Some(false) => Kind::Hidden,
        Some(true) | None => Kind::Reasoning,
    };
    let thought = (kind, format!("Together they make {sum}."));
    [thought].into_iter().chain(answer).collect()
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
    let mut arguments = schema::example(&tool["parameters"]);
    let Some(members) = arguments.as_object_mut() else {
        return "{}".to_owned();
    };
    let free = members.values_mut().filter(|value| **value == schema::TEXT);
    free.for_each(|value| *value = json!(name));
    arguments.to_string()
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
                "Together they make 4.The answer is 4.",
            ),
            (
                "Think about 2+2.",
                json!({"chat_template_kwargs": {"enable_thinking": false}}),
                "The answer is 4.",
            ),
            (
                "Yes or no?",
                json!({"structured_outputs": {"choice": ["yes", "no"]}}),
                "yes",
            ),
            (
                "A city.",
                json!({"response_format": schema}),
                r#"{"city":"Ada"}"#,
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
