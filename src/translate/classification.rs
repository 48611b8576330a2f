//! Classes: the inputs of embeddings are sent; a label and probabilities come back.

use super::{
    answer::{create_time, in_order, usage},
    embedding::{Asked, Translated},
    invalid::{InvalidAnswer, InvalidRequest},
    names,
    pooling::{as_embedding, one_chat},
};
use crate::{
    config::Policy,
    openai::classification::{Classification, ClassificationResponse},
    proto,
};

/// The body that vLLM takes, or the fields that the caller has to correct.
pub(crate) fn request(
    request: proto::ClassifyRequest,
    policy: &Policy,
) -> Result<Translated, InvalidRequest> {
    let (request,) = as_embedding!(request, ClassifyRequest {});
    one_chat(request, &names::CLASSIFY, policy)
}

/// The classes, if each input has one of a number of classes that is the same for all.
pub(crate) fn response(
    response: ClassificationResponse,
    asked: Asked,
) -> Result<proto::ClassifyResponse, InvalidAnswer> {
    let data = response.data.into_iter().map(|it| (it.index, it));
    let data = in_order(data, asked.n_inputs)?;
    let n_classes = data.first().map_or(0, |first| first.probs.len());
    if n_classes == 0 || data.iter().any(|it| it.probs.len() != n_classes) {
        return Err(InvalidAnswer::Malformed("no classes, or another number"));
    }
    Ok(proto::ClassifyResponse {
        classifications: (0..).zip(data).map(classification).collect(),
        id: response.id.unwrap_or_default(),
        model: response.model.unwrap_or_default(),
        create_time: response.created.as_ref().and_then(create_time),
        usage: response.usage.map(usage),
    })
}

fn classification((index, class): (i32, Classification)) -> proto::Classification {
    proto::Classification {
        index: Some(index),
        label: class.label.unwrap_or_default(),
        num_classes: i32::try_from(class.probs.len()).ok(),
        probabilities: class.probs,
    }
}
