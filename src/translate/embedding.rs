//! Embeddings: texts, token ids or chats down, vectors up.

mod response;

pub(crate) use response::response;

use super::{
    InvalidRequest, Needs, chat, chat_options, extra_body, fields::Fields,
    request::truncation_side, sampling, text,
};
use crate::{
    config::Policy,
    openai::{
        embedding::{self, EmbeddingRequest, EncodingFormat},
        request::Message,
        version::Version,
    },
    proto,
};

pub(super) const FIELDS: Fields = Fields {
    inputs: &["input", "input_text", "input_tokens", "messages"],
    same: &[
        "add_generation_prompt",
        "add_special_tokens",
        "cache_salt",
        "continue_final_message",
        "dimensions",
        "model",
        "priority",
        "truncate_prompt_tokens",
        "truncation_side",
        "use_activation",
        "user",
    ],
    renamed: &[
        ("chat_template_kwargs", "chat_template_kwargs_json"),
        ("normalize", "use_activation"),
        // Media of a chat, which of them is not said.
        ("audio_url", "conversations"),
        ("image_url", "conversations"),
        ("video_url", "conversations"),
    ],
    own: &["embed_dtype", "encoding_format", "endianness", "request_id"],
    told: &[
        ("dimensions", "dimensions"),
        ("Priority scheduling", "priority"),
        ("At most 0 image", "conversations"),
        ("multimodal", "conversations"),
        ("out of vocabulary", "token_inputs"),
    ],
};

/// `endianness`, which earlier ones ignore.
const ENDIANNESS: Version = Version::new(0, 11, 2);

/// `use_activation`; it was `normalize` before.
const USE_ACTIVATION: Version = Version::new(0, 16, 0);

/// `normalize`, which earlier ones ignore.
const NORMALIZE: Version = Version::new(0, 10, 1);

/// A list of chats: the oldest release that is known to take one.
const CHATS: Version = Version::new(0, 32, 0);

/// Which of its three inputs a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Texts,
    TokenIds,
    Conversations,
}

/// A request that vLLM takes.
#[derive(Debug)]
pub(crate) struct Translated {
    /// The body of the upstream's request.
    pub(crate) request: EmbeddingRequest,
    /// What the request is made from.
    pub(crate) input: Input,
    /// The number of inputs, each of which gets one embedding.
    pub(crate) n_inputs: usize,
}

// === impl Input ===

impl Input {
    /// The field of the request that holds the input.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Texts => "texts",
            Self::TokenIds => "token_inputs",
            Self::Conversations => "conversations",
        }
    }
}

/// The body that vLLM takes, or what the caller has to mend.
#[expect(
    clippy::too_many_lines,
    reason = "each field of the contract, once, so that a new one does not compile until it is decided on"
)]
pub(crate) fn request(
    request: proto::EmbedRequest,
    policy: &Policy,
) -> Result<Translated, InvalidRequest> {
    let proto::EmbedRequest {
        model,
        texts,
        token_inputs,
        conversations,
        dimensions,
        use_activation,
        truncate_prompt_tokens,
        truncation_side,
        add_special_tokens,
        add_generation_prompt,
        continue_final_message,
        chat_template_kwargs_json,
        priority,
        cache_salt,
        extra_body_json,
        user,
    } = request;
    let n_inputs = texts.len() + token_inputs.len() + conversations.len();
    let (kind, input) = input(texts, token_inputs, conversations, policy)?;
    if kind != Input::Conversations {
        let set = [
            ("add_generation_prompt", add_generation_prompt.is_some()),
            ("continue_final_message", continue_final_message.is_some()),
            (
                "chat_template_kwargs_json",
                !chat_template_kwargs_json.is_empty(),
            ),
        ];
        InvalidRequest::refuse(&set, "goes with `conversations` only")?;
    }
    sampling::integer("dimensions", dimensions, 1..)?;
    sampling::integer("truncate_prompt_tokens", truncate_prompt_tokens, -1..)?;
    let cache_salt = text(cache_salt);
    sampling::check_salt(cache_salt.as_deref())?;
    chat_options::check_turn(add_generation_prompt, continue_final_message)?;
    let is_taken = |name: &str| FIELDS.has(name);
    let request = EmbeddingRequest {
        input,
        model: text(model).or_else(|| policy.default_model.clone()),
        encoding_format: EncodingFormat::Base64,
        endianness: None,
        dimensions,
        use_activation,
        normalize: None,
        truncate_prompt_tokens,
        truncation_side: self::truncation_side(truncation_side)?,
        add_special_tokens,
        add_generation_prompt,
        continue_final_message,
        chat_template_kwargs: chat_options::template_kwargs(chat_template_kwargs_json)?,
        priority,
        cache_salt,
        user: text(user),
        extra_body: extra_body::members(extra_body_json, is_taken, &policy.extra_body_keys)?,
    };
    Ok(Translated {
        request,
        input: kind,
        n_inputs,
    })
}

/// Fits a request to the upstream's release, as far as that is known; what the release would ignore is refused.
pub(crate) fn fit(request: &mut EmbeddingRequest, version: Option<Version>) -> Result<(), Needs> {
    let is_before = |release: Version| version.is_some_and(|version| version < release);
    // Unknown upstreams may refuse what they do not know.
    request.endianness = version
        .filter(|version| *version >= ENDIANNESS)
        .map(|_| "little");
    if is_before(CHATS) && matches!(request.input, embedding::Input::Chats(_)) {
        return Err(Needs {
            field: "conversations",
            version: CHATS,
        });
    }
    if is_before(USE_ACTIVATION) {
        if is_before(NORMALIZE) && request.use_activation.is_some() {
            return Err(Needs {
                field: "use_activation",
                version: NORMALIZE,
            });
        }
        request.normalize = request.use_activation.take();
    }
    Ok(())
}

/// The one input that is set.
fn input(
    texts: Vec<String>,
    token_inputs: Vec<proto::TokenIds>,
    conversations: Vec<proto::Conversation>,
    policy: &Policy,
) -> Result<(Input, embedding::Input), InvalidRequest> {
    let fields = [Input::Texts, Input::TokenIds, Input::Conversations].map(Input::field);
    match (
        texts.is_empty(),
        token_inputs.is_empty(),
        conversations.is_empty(),
    ) {
        (false, true, true) => {
            sampling::none_empty("texts", &texts)?;
            Ok((Input::Texts, embedding::Input::Texts(texts)))
        }
        (true, false, true) => {
            let token_ids = token_inputs.into_iter().enumerate().map(token_ids);
            let token_ids: Result<_, InvalidRequest> = token_ids.collect();
            Ok((Input::TokenIds, embedding::Input::TokenIds(token_ids?)))
        }
        (true, true, false) => Ok((Input::Conversations, chats(conversations, policy)?)),
        (true, true, true) => {
            let description = "set one of `texts`, `token_inputs` and `conversations`";
            Err(InvalidRequest::together(&fields, description))
        }
        (no_texts, no_token_ids, no_chats) => {
            let set = fields.into_iter().zip([no_texts, no_token_ids, no_chats]);
            let set: Vec<_> = set.filter(|(_, is_empty)| !is_empty).collect();
            let set: Vec<_> = set.into_iter().map(|(field, _)| field).collect();
            let description = "set only one of `texts`, `token_inputs` and `conversations`";
            Err(InvalidRequest::together(&set, description))
        }
    }
}

fn token_ids((n, input): (usize, proto::TokenIds)) -> Result<Vec<i32>, InvalidRequest> {
    let field = format!("token_inputs[{n}].ids");
    if input.ids.is_empty() {
        return Err(InvalidRequest::new(field, "must not be empty"));
    }
    sampling::token_ids(&field, &input.ids)?;
    Ok(input.ids)
}

fn chats(
    conversations: Vec<proto::Conversation>,
    policy: &Policy,
) -> Result<embedding::Input, InvalidRequest> {
    let chat = |(n, chat): (usize, proto::Conversation)| {
        let field = format!("conversations[{n}]");
        if chat.messages.is_empty() {
            let field = format!("{field}.messages");
            return Err(InvalidRequest::new(field, "must not be empty"));
        }
        chat::messages(chat.messages, policy).map_err(|invalid| invalid.within(&field))
    };
    let chats = conversations.into_iter().enumerate().map(chat);
    let mut chats = chats.collect::<Result<Vec<Vec<Message>>, InvalidRequest>>()?;
    match (chats.pop(), chats.is_empty()) {
        (Some(only), true) => Ok(embedding::Input::Chat(only)),
        (last, _) => {
            chats.extend(last);
            Ok(embedding::Input::Chats(chats))
        }
    }
}

#[cfg(test)]
mod tests;
