//! A recorded request body as a request of the contract.

use serde_json::{Map, Value, json};
use vllm_grpc_adapter::proto::{
    AnyJsonObject, ChatMessage, CompletionInput, ContentPart, Conversation, GenerateRequest, Media,
    Role, StructuredOutput, TextChoices, TokenIds, Tool, ToolChoice, ToolMode, content_part, media,
    structured_output::Constraint, tool_choice::Choice,
};

/// The request that asks vLLM for this body, or what the contract has no word for.
pub(super) fn read(body: &Value) -> Result<GenerateRequest, String> {
    let body = body.as_object().ok_or("not an object")?;
    let mut request = GenerateRequest::default();
    for (name, value) in body {
        set(&mut request, name, value, body).ok_or_else(|| format!("{name}: {value}"))?;
    }
    Ok(request)
}

/// `None` where the value has no place in the contract.
fn set(
    request: &mut GenerateRequest,
    name: &str,
    value: &Value,
    body: &Map<String, Value>,
) -> Option<()> {
    let is_chat = body.contains_key("messages");
    match name {
        "model" => request.model = text(value)?,
        "messages" if value.get(0).is_some_and(Value::is_array) => {
            request.conversations = all(value, |messages| {
                let messages = all(messages, message)?;
                Some(Conversation { messages })
            })?;
        }
        "messages" => request.messages = all(value, message)?,
        "prompt" => request.completion = Some(completion(value)?),
        "max_tokens" | "max_completion_tokens" => request.max_tokens = Some(integer(value)?),
        "n" => request.n = Some(integer(value)?),
        "seed" => request.seed = Some(value.as_i64()?),
        "stop" => request.stop = all(value, text)?,
        "tools" => request.tools = all(value, tool)?,
        "tool_choice" => request.tool_choice = Some(tool_choice(value)?),
        "structured_outputs" => request.structured_output = Some(structured_outputs(value)?),
        "response_format" => request.structured_output = Some(response_format(value)?),
        "logprobs" if is_chat => request.logprobs = Some(value.as_bool()?),
        "logprobs" => {
            request.logprobs = Some(true);
            request.top_logprobs = Some(integer(value)?);
        }
        "top_logprobs" => request.top_logprobs = Some(integer(value)?),
        "prompt_logprobs" => request.prompt_logprobs = Some(integer(value)?),
        "return_prompt_text" => request.return_prompt_text = Some(value.as_bool()?),
        "echo" => request.echo = Some(value.as_bool()?),
        "include_reasoning" => request.include_reasoning = Some(value.as_bool()?),
        "return_token_ids" => request.return_token_ids = Some(value.as_bool()?),
        // The method says whether to stream, and the adapter always asks for the usage.
        "stream" => {}
        "stream_options" => {
            body.get("stream")?;
        }
        name => set_sampling(request, name, value)?,
    }
    Some(())
}

fn set_sampling(request: &mut GenerateRequest, name: &str, value: &Value) -> Option<()> {
    match name {
        "temperature" => request.temperature = Some(value.as_f64()?),
        "top_p" => request.top_p = Some(value.as_f64()?),
        "top_k" => request.top_k = Some(integer(value)?),
        "min_p" => request.min_p = Some(value.as_f64()?),
        "frequency_penalty" => request.frequency_penalty = Some(value.as_f64()?),
        "presence_penalty" => request.presence_penalty = Some(value.as_f64()?),
        "repetition_penalty" => request.repetition_penalty = Some(value.as_f64()?),
        "min_tokens" => request.min_tokens = Some(integer(value)?),
        "stop_token_ids" => request.stop_token_ids = all(value, integer)?,
        "ignore_eos" => request.ignore_eos = Some(value.as_bool()?),
        "skip_special_tokens" => request.skip_special_tokens = Some(value.as_bool()?),
        "spaces_between_special_tokens" => {
            request.spaces_between_special_tokens = Some(value.as_bool()?);
        }
        "truncate_prompt_tokens" => request.truncate_prompt_tokens = Some(integer(value)?),
        "logit_bias" => {
            let biases = value.as_object()?.iter();
            let biases = biases.map(|(id, bias)| Some((id.parse().ok()?, bias.as_f64()?)));
            request.logit_bias = biases.collect::<Option<_>>()?;
        }
        "priority" => request.priority = Some(integer(value)?.into()),
        "cache_salt" => request.cache_salt = text(value)?,
        "user" => request.user = text(value)?,
        _ => return None,
    }
    Some(())
}

fn message(message: &Value) -> Option<ChatMessage> {
    let word = message.get("role")?.as_str()?;
    let role = Role::from_str_name(&format!("ROLE_{}", word.to_uppercase()));
    let mut turn = ChatMessage {
        role: role.unwrap_or_default().into(),
        role_name: role.map_or(word, |_| "").to_owned(),
        ..ChatMessage::default()
    };
    match message.get("content")? {
        Value::String(content) => turn.content.clone_from(content),
        parts => turn.parts = all(parts, part)?,
    }
    Some(turn)
}

fn part(part: &Value) -> Option<ContentPart> {
    let control = part.get("cache_control");
    let extra_json = control.map(|control| json!({"cache_control": control}).to_string());
    let part = match part.get("type")?.as_str()? {
        "text" => content_part::Part::Text(text(part.get("text")?)?),
        "thinking" => content_part::Part::Thinking(text(part.get("thinking")?)?),
        "refusal" => content_part::Part::Refusal(text(part.get("refusal")?)?),
        "tool_reference" => content_part::Part::ToolReference(text(part.get("name")?)?),
        "image_url" => content_part::Part::Image(Media {
            source: Some(media::Source::Url(text(part.pointer("/image_url/url")?)?)),
            ..Media::default()
        }),
        _ => return None,
    };
    Some(ContentPart {
        part: Some(part),
        extra_json: extra_json.unwrap_or_default(),
    })
}

/// A prompt, as text or as token ids, or a list of these.
fn completion(prompt: &Value) -> Option<CompletionInput> {
    Some(match prompt {
        Value::String(text) => CompletionInput {
            text: text.clone(),
            ..CompletionInput::default()
        },
        list if list.get(0)?.is_string() => CompletionInput {
            texts: all(list, text)?,
            ..CompletionInput::default()
        },
        list if list.get(0)?.is_array() => CompletionInput {
            token_inputs: all(list, |ids| {
                let ids = all(ids, integer)?;
                Some(TokenIds { ids })
            })?,
            ..CompletionInput::default()
        },
        ids => CompletionInput {
            token_ids: all(ids, integer)?,
            ..CompletionInput::default()
        },
    })
}

fn tool(tool: &Value) -> Option<Tool> {
    let function = tool.get("function")?;
    Some(Tool {
        name: text(function.get("name")?)?,
        description: Some(text(function.get("description")?)?),
        parameters_json: function.get("parameters")?.to_string(),
        defer_loading: function.get("defer_loading").and_then(Value::as_bool),
        ..Tool::default()
    })
}

fn tool_choice(choice: &Value) -> Option<ToolChoice> {
    let choice = match choice {
        Value::String(mode) => {
            let mode = ToolMode::from_str_name(&format!("TOOL_MODE_{}", mode.to_uppercase()))?;
            Choice::Mode(mode.into())
        }
        named => Choice::FunctionName(text(named.pointer("/function/name")?)?),
    };
    Some(ToolChoice {
        choice: Some(choice),
    })
}

fn structured_outputs(outputs: &Value) -> Option<StructuredOutput> {
    let mut outputs = outputs.as_object()?.iter();
    let (name, value) = outputs.next()?;
    let constraint = match name.as_str() {
        "json" => Constraint::JsonSchema(value.to_string()),
        "regex" => Constraint::Regex(text(value)?),
        "grammar" => Constraint::Grammar(text(value)?),
        "choice" => Constraint::Choice(TextChoices {
            values: all(value, text)?,
        }),
        _ => return None,
    };
    // The contract has one form a request.
    outputs.next().is_none().then(|| form(constraint))
}

fn response_format(format: &Value) -> Option<StructuredOutput> {
    match format.get("type")?.as_str()? {
        "json_object" => Some(form(Constraint::JsonObject(AnyJsonObject {}))),
        "json_schema" => {
            let schema = format.pointer("/json_schema/schema")?;
            Some(form(Constraint::JsonSchema(schema.to_string())))
        }
        _ => None,
    }
}

fn form(constraint: Constraint) -> StructuredOutput {
    StructuredOutput {
        constraint: Some(constraint),
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn integer(value: &Value) -> Option<i32> {
    value.as_i64()?.try_into().ok()
}

fn all<T>(list: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    list.as_array()?.iter().map(read).collect()
}
