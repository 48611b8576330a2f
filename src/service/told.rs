//! What answers tell the record of their call: token counts, and how choices ended.

use crate::{
    proto::{self, FinishReason, Usage, stream_generate_response::Event},
    telemetry::Record,
};

/// A response to a caller.
pub(super) trait Told {
    /// The tokens of the whole answer, where the response counts them.
    fn usage(&self) -> Option<&Usage> {
        None
    }

    /// How choices ended, as far as the response says it.
    fn finishes(&self) -> Vec<FinishReason> {
        Vec::new()
    }

    fn tell(&self, record: &Record) {
        if let Some(usage) = self.usage() {
            record.used(usage.prompt_tokens, usage.completion_tokens);
        }
        for reason in self.finishes() {
            let name = reason.as_str_name().trim_start_matches("FINISH_REASON_");
            record.finished(name.to_ascii_lowercase());
        }
    }
}

macro_rules! counted {
    ($($type:ident)+) => {
        $(impl Told for proto::$type {
            fn usage(&self) -> Option<&Usage> {
                self.usage.as_ref()
            }
        })+
    };
}

macro_rules! uncounted {
    ($($type:ident)+) => {
        $(impl Told for proto::$type {})+
    };
}

counted!(ClassifyResponse EmbedResponse PoolResponse RerankResponse ScoreResponse);
uncounted!(DetokenizeResponse GetModelResponse ListModelsResponse TokenizeResponse);
uncounted!(StreamTranscribeResponse StreamTranslateResponse TranscribeResponse TranslateResponse);

impl Told for proto::GenerateResponse {
    fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    fn finishes(&self) -> Vec<FinishReason> {
        self.choices
            .iter()
            .map(proto::Choice::finish_reason)
            .collect()
    }
}

impl Told for proto::StreamGenerateResponse {
    fn usage(&self) -> Option<&Usage> {
        match &self.event {
            Some(Event::Usage(usage)) => Some(usage),
            _ => None,
        }
    }

    fn finishes(&self) -> Vec<FinishReason> {
        match &self.event {
            Some(Event::Finished(finished)) => vec![finished.finish_reason()],
            _ => Vec::new(),
        }
    }
}
