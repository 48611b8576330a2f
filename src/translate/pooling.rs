//! Outputs of a pooler that are no embeddings: the inputs of embeddings are sent; vectors or matrices come back.

use super::{
    embedding::{self, Asked, Translated},
    invalid::{InvalidAnswer, InvalidRequest},
    names::{self, Names},
    sampling::text,
};
use crate::{config::Policy, openai::embedding::EmbeddingResponse, proto};

/// The fields that a request has as an embedding's has them, and its further ones.
macro_rules! as_embedding {
    ($request:expr, $message:ident { $($further:ident),* }) => {{
        let proto::$message {
            model,
            texts,
            token_inputs,
            conversations,
            use_activation,
            truncate_prompt_tokens,
            truncation_side,
            add_special_tokens,
            add_generation_prompt,
            continue_final_message,
            chat_template_kwargs_json,
            priority,
            cache_salt,
            user,
            extra_body_json,
            $($further,)*
        } = $request;
        let request = proto::EmbedRequest {
            model,
            texts,
            token_inputs,
            conversations,
            dimensions: None,
            use_activation,
            truncate_prompt_tokens,
            truncation_side,
            add_special_tokens,
            add_generation_prompt,
            continue_final_message,
            chat_template_kwargs_json,
            priority,
            cache_salt,
            user,
            extra_body_json,
        };
        (request, $($further),*)
    }};
}
pub(super) use as_embedding;

/// The body that vLLM takes, or the fields that the caller has to correct.
pub(crate) fn request(
    request: proto::PoolRequest,
    policy: &Policy,
) -> Result<Translated, InvalidRequest> {
    let (request, task) = as_embedding!(request, PoolRequest { task });
    let mut translated = one_chat(request, &names::POOL, policy)?;
    translated.request.task = text(task);
    Ok(translated)
}

/// A request to a route that takes a single chat.
pub(super) fn one_chat(
    request: proto::EmbedRequest,
    names: &'static Names,
    policy: &Policy,
) -> Result<Translated, InvalidRequest> {
    if request.conversations.len() > 1 {
        let description = "must have at most one entry, since vLLM takes one";
        return Err(InvalidRequest::new("conversations", description));
    }
    let mut translated = embedding::named(request, names, policy)?;
    translated.asked.is_even = false;
    Ok(translated)
}

/// The outputs, if each input has one, and every vector is whole.
pub(crate) fn response(
    response: EmbeddingResponse<'_>,
    asked: Asked,
) -> Result<proto::PoolResponse, InvalidAnswer> {
    let proto::EmbedResponse {
        id,
        model,
        create_time,
        embeddings: outputs,
        usage,
    } = embedding::response(response, asked)?;
    Ok(proto::PoolResponse {
        id,
        model,
        create_time,
        outputs,
        usage,
    })
}
