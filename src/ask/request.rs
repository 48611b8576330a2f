//! The request that the options describe.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
    transport::{Certificate, ClientTlsConfig, Identity},
};

use super::failure::Failure;
use crate::{
    config::Ask,
    proto::{
        ChatMessage, ContentPart, GenerateRequest, Media, Role, StructuredOutput, Tool,
        content_part::Part, media::Source, structured_output::Constraint,
    },
};

/// Most that is read of a file or of standard input, in bytes: more than an adapter takes by default.
const MAX_BYTES: u64 = 64 << 20;

/// A tool, as the OpenAI SDK takes it.
#[derive(Deserialize)]
struct ToolEntry {
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    description: Option<String>,
    parameters: Option<Box<RawValue>>,
    strict: Option<bool>,
}

/// Sends the caller's key with each call, where there is one.
#[derive(Clone, Debug)]
pub(super) struct Authorized(Option<MetadataValue<Ascii>>);

impl Authorized {
    pub(super) fn new(options: &Ask) -> Result<Self, Failure> {
        let key = options.caller_key();
        let key = key.map_err(|fault| Failure::usage("--key-file", fault))?;
        let mut bearer = key.and_then(|key| {
            let bearer = format!("Bearer {}", key.expose_secret());
            bearer.parse::<MetadataValue<Ascii>>().ok()
        });
        bearer.iter_mut().for_each(|it| it.set_sensitive(true));
        Ok(Self(bearer))
    }
}

impl Interceptor for Authorized {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.0 {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

/// What all requests of a conversation have in common.
pub(super) fn template(options: &Ask) -> Result<GenerateRequest, Failure> {
    let mut request = GenerateRequest {
        model: options.model.clone(),
        temperature: options.temperature,
        max_tokens: options.max_tokens,
        ..GenerateRequest::default()
    };
    if let Some(text) = &options.system {
        request.messages.push(message(Role::System, text.clone()));
    }
    if let Some(path) = &options.json_schema {
        let schema = text("--json-schema", file("--json-schema", path)?)?;
        request.structured_output = Some(StructuredOutput {
            constraint: Some(Constraint::JsonSchema(schema)),
        });
    }
    if let Some(path) = &options.tools {
        let entries: Vec<ToolEntry> = serde_json::from_slice(&file("--tools", path)?)
            .map_err(|error| Failure::usage("--tools", error))?;
        request.tools = entries.into_iter().map(tool).collect();
    }
    Ok(request)
}

/// How the adapter is known, and this client; `None` for plaintext.
pub(super) fn tls(options: &Ask) -> Result<Option<ClientTlsConfig>, Failure> {
    let Some(ca) = &options.ca else {
        return Ok(None);
    };
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(file("--ca", ca)?));
    let (Some(cert), Some(key)) = (&options.cert, &options.key) else {
        return Ok(Some(tls));
    };
    let identity = Identity::from_pem(file("--cert", cert)?, file("--key", key)?);
    Ok(Some(tls.identity(identity)))
}

/// The prompt, or all of standard input.
pub(super) fn question(options: &Ask) -> Result<String, Failure> {
    if options.prompt.is_empty() {
        return text("standard input", read("standard input", io::stdin())?);
    }
    Ok(options.prompt.join(" "))
}

/// Adds a turn of the user; the first one has the pictures.
pub(super) fn turn(
    options: &Ask,
    request: &mut GenerateRequest,
    question: String,
) -> Result<(), Failure> {
    let user = i32::from(Role::User);
    let is_first = request.messages.iter().all(|turn| turn.role != user);
    let mut turn = message(Role::User, question);
    if is_first && !options.image.is_empty() {
        let mut parts = vec![Part::Text(std::mem::take(&mut turn.content))];
        for path in &options.image {
            parts.push(Part::Image(Media {
                source: Some(Source::Data(file("--image", path)?.into())),
                ..Media::default()
            }));
        }
        let part = |part| ContentPart {
            part: Some(part),
            ..ContentPart::default()
        };
        turn.parts = parts.into_iter().map(part).collect();
    }
    request.messages.push(turn);
    Ok(())
}

fn message(role: Role, content: String) -> ChatMessage {
    ChatMessage {
        role: role.into(),
        content,
        ..ChatMessage::default()
    }
}

fn tool(ToolEntry { function }: ToolEntry) -> Tool {
    let schema = function.parameters.map(|schema| schema.get().to_owned());
    Tool {
        name: function.name,
        description: function.description,
        parameters_json: schema.unwrap_or_default(),
        strict: function.strict,
        ..Tool::default()
    }
}

fn file(flag: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let fault = |error| Failure::usage(flag, format!("{}: {error}", path.display()));
    read(flag, File::open(path).map_err(fault)?)
}

fn read(name: &str, source: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = source.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    match read.map_err(|error| Failure::usage(name, error))? as u64 {
        0 => Err(Failure::usage(name, "is empty")),
        1..=MAX_BYTES => Ok(bytes),
        _ => Err(Failure::usage(name, "is larger than 64 MiB")),
    }
}

fn text(name: &str, bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_fault| Failure::usage(name, "is not text in UTF-8"))
}
