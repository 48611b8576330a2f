//! What answers tell the record of their call: token counts, and how choices ended.

use crate::{
    proto::{self, stream_generate_response::Event},
    telemetry::Record,
};

/// A response to a caller.
pub(super) trait Told {
    /// Writes down what the response tells.
    fn tell(&self, _record: &Record) {}
}

macro_rules! uncounted {
    ($($type:ident)+) => { $(impl Told for proto::$type {})+ };
}

macro_rules! counted {
    ($($type:ident)+) => {
        $(impl Told for proto::$type {
            fn tell(&self, record: &Record) {
                record.used(self.usage.as_ref());
            }
        })+
    };
}

uncounted!(DetokenizeResponse GetModelResponse ListModelsResponse TokenizeResponse);
uncounted!(StreamTranscribeResponse StreamTranslateResponse TranscribeResponse TranslateResponse);
counted!(ClassifyResponse EmbedResponse PoolResponse RerankResponse ScoreResponse);

impl Told for proto::GenerateResponse {
    fn tell(&self, record: &Record) {
        record.used(self.usage.as_ref());
        for choice in &self.choices {
            record.finished(choice.finish_reason());
        }
    }
}

impl Told for proto::StreamGenerateResponse {
    fn tell(&self, record: &Record) {
        match &self.event {
            Some(Event::Usage(usage)) => record.used(Some(usage)),
            Some(Event::Finished(finished)) => record.finished(finished.finish_reason()),
            _ => {}
        }
    }
}
