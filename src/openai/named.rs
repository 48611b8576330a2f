//! Requests by the model that they name.

use super::{
    embedding::EmbeddingRequest,
    ranking::{RerankRequest, ScoreRequest},
    request::Request,
    tokenization::{DetokenizeRequest, TokenizeRequest},
    transcription::TranscriptionForm,
};

/// A request that may name a model.
pub(crate) trait Named {
    /// The name; `None` leaves it to the upstream.
    fn model(&self) -> Option<&str>;
    fn set_model(&mut self, model: &str);
}

macro_rules! named {
    ($type:ty, $($field:ident).+) => {
        impl Named for $type {
            fn model(&self) -> Option<&str> {
                self.$($field).+.as_deref()
            }

            fn set_model(&mut self, model: &str) {
                self.$($field).+ = Some(model.to_owned());
            }
        }
    };
}

named!(DetokenizeRequest, model);
named!(EmbeddingRequest, model);
named!(RerankRequest, shared.model);
named!(ScoreRequest, shared.model);
named!(TokenizeRequest, model);

impl Named for Request {
    fn model(&self) -> Option<&str> {
        match self {
            Self::Chat(request) => request.shared.model.as_deref(),
            Self::Completion(request) => request.shared.model.as_deref(),
        }
    }

    fn set_model(&mut self, model: &str) {
        let shared = match self {
            Self::Chat(request) => &mut request.shared,
            Self::Completion(request) => &mut request.shared,
        };
        shared.model = Some(model.to_owned());
    }
}

impl Named for TranscriptionForm {
    fn model(&self) -> Option<&str> {
        let mut fields = self.fields.iter();
        let (_name, model) = fields.find(|(name, _model)| name == "model")?;
        Some(model)
    }

    fn set_model(&mut self, model: &str) {
        self.fields.retain(|(name, _model)| name != "model");
        self.fields.push(("model".to_owned(), model.to_owned()));
    }
}

impl<T: Named> Named for &mut T {
    fn model(&self) -> Option<&str> {
        T::model(self)
    }

    fn set_model(&mut self, model: &str) {
        T::set_model(self, model);
    }
}
