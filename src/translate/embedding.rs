//! Embeddings: texts, token ids or chats are sent; vectors come back.

mod response;

pub(crate) use response::{Asked, response};

use super::{
    chat::{self, template},
    extra_body,
    invalid::{InvalidRequest, Needs, set},
    names::{self, Fields, Names},
    sampling::{self, in_range, text},
};
use crate::{
    config::Policy,
    openai::{
        embedding::{EmbeddingRequest, EncodingFormat, Input},
        version::Version,
    },
    proto,
};

/// `endianness`, which earlier ones ignore.
const ENDIANNESS: Version = Version::new(0, 11, 2);

/// `use_activation`; it was `normalize` before.
const USE_ACTIVATION: Version = Version::new(0, 16, 0);

/// `normalize`, which earlier ones ignore.
const NORMALIZE: Version = Version::new(0, 10, 1);

/// A list of chats: the oldest release that is known to take one.
const CHATS: Version = Version::new(0, 32, 0);

/// A request that vLLM takes.
#[derive(Debug)]
pub(crate) struct Translated {
    /// The body of the upstream's request.
    pub(crate) request: EmbeddingRequest,
    /// The fields that the upstream's errors may be about.
    pub(crate) fields: Fields,
    /// What the answer must have.
    pub(crate) asked: Asked,
}

/// The body that vLLM takes, or the fields that the caller has to correct.
pub(crate) fn request(
    request: proto::EmbedRequest,
    policy: &Policy,
) -> Result<Translated, InvalidRequest> {
    let mut translated = named(request, &names::EMBED, policy)?;
    translated.request.encoding_format = Some(EncodingFormat::Base64);
    Ok(translated)
}

/// The same for a request that goes by other names, without a format of the vectors.
#[expect(
    clippy::too_many_lines,
    reason = "each field of the contract, once, so that a new one does not compile until it is decided on"
)]
pub(super) fn named(
    request: proto::EmbedRequest,
    names: &'static Names,
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
    InvalidRequest::only_one(set!(texts, token_inputs, conversations))?;
    if conversations.is_empty() {
        let set = set!(
            add_generation_prompt,
            continue_final_message,
            chat_template_kwargs_json,
        );
        InvalidRequest::refuse(set, "requires `conversations`")?;
    }
    let asked = Asked {
        n_inputs: texts.len() + token_inputs.len() + conversations.len(),
        n_dimensions: dimensions.and_then(|dimensions| usize::try_from(dimensions).ok()),
        is_even: true,
    };
    let (input_field, input) = if !texts.is_empty() {
        ("texts", Input::Texts(texts))
    } else if !token_inputs.is_empty() {
        (
            "token_inputs",
            Input::TokenIds(sampling::token_inputs(token_inputs)?),
        )
    } else {
        ("conversations", chats(conversations, policy)?)
    };
    let request = EmbeddingRequest {
        input,
        model: sampling::model_or_default(model, policy),
        encoding_format: None,
        endianness: None,
        dimensions: in_range("dimensions", dimensions, 1..)?,
        task: None,
        use_activation,
        normalize: None,
        truncate_prompt_tokens: in_range("truncate_prompt_tokens", truncate_prompt_tokens, -1..)?,
        truncation_side: sampling::truncation_side(truncation_side)?,
        add_special_tokens,
        add_generation_prompt: template::add_generation_prompt(
            add_generation_prompt,
            continue_final_message,
        )?,
        continue_final_message,
        chat_template_kwargs: template::kwargs(chat_template_kwargs_json)?,
        priority,
        cache_salt: sampling::cache_salt(cache_salt)?,
        user: text(user),
        extra_body: extra_body::members(extra_body_json, names, policy)?,
    };
    Ok(Translated {
        request,
        fields: Fields::new(names, input_field),
        asked,
    })
}

/// Adapts a request to the upstream's release, if that is known; fields that the release would ignore are refused.
pub(crate) fn fit(request: &mut EmbeddingRequest, version: Option<Version>) -> Result<(), Needs> {
    let is_before = |release: Version| version.is_some_and(|version| version < release);
    let is_embedding = request.encoding_format.is_some();
    // Unknown upstreams may refuse what they do not know.
    request.endianness = version
        .filter(|version| *version >= ENDIANNESS && is_embedding)
        .map(|_| "little");
    if is_before(CHATS) && matches!(request.input, Input::Chats(_)) {
        return Err(Needs {
            field: "conversations",
            version: CHATS,
        });
    }
    if is_before(USE_ACTIVATION) {
        let version = if is_embedding {
            NORMALIZE
        } else {
            USE_ACTIVATION
        };
        if is_before(version) && request.use_activation.is_some() {
            return Err(Needs {
                field: "use_activation",
                version,
            });
        }
        request.normalize = request.use_activation.take();
    }
    Ok(())
}

fn chats(
    conversations: Vec<proto::Conversation>,
    policy: &Policy,
) -> Result<Input, InvalidRequest> {
    let mut chats = chat::conversations(conversations, policy)?;
    match (chats.pop(), chats.is_empty()) {
        (Some(only), true) => Ok(Input::Chat(only)),
        (last, _) => {
            chats.extend(last);
            Ok(Input::Chats(chats))
        }
    }
}

#[cfg(test)]
mod tests;
