//! Requests to the tiny model, which recites at temperature 0.

use vllm_grpc_adapter::proto::{
    CompletionInput, GenerateRequest, StructuredOutput, Tool, structured_output::Constraint,
};

/// The weather tool that the model has learned to call.
pub(crate) fn weather_tool() -> Tool {
    let parameters =
        r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#;
    Tool {
        name: "get_weather".into(),
        description: Some("Get the weather in a city.".into()),
        parameters_json: parameters.into(),
        ..Tool::default()
    }
}

/// One user turn.
pub(crate) fn prompt(text: &str) -> GenerateRequest {
    GenerateRequest {
        model: "tiny".into(),
        prompt: text.into(),
        temperature: Some(0.0),
        ..GenerateRequest::default()
    }
}

/// Raw text to go on with.
pub(crate) fn completion(text: &str) -> GenerateRequest {
    GenerateRequest {
        prompt: String::new(),
        completion: Some(CompletionInput {
            text: text.into(),
            ..CompletionInput::default()
        }),
        ..prompt("")
    }
}

/// One user turn, answered in a form.
pub(crate) fn constrained(text: &str, constraint: Constraint) -> GenerateRequest {
    GenerateRequest {
        structured_output: Some(StructuredOutput {
            constraint: Some(constraint),
        }),
        max_tokens: Some(60),
        ..prompt(text)
    }
}

/// A generation that nobody waits the end of: 1,900 tokens, about ten seconds.
pub(crate) fn endless() -> GenerateRequest {
    GenerateRequest {
        ignore_eos: Some(true),
        max_tokens: Some(1900),
        ..prompt("Count to one hundred.")
    }
}
