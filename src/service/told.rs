//! What answers tell the metrics and the log: token counts, and how choices ended.

use crate::{
    proto::{self, FinishReason, Usage, stream_generate_response::Event},
    telemetry::Record,
};

/// A response to a caller.
pub(super) trait Told {
    /// Writes down what the response tells.
    fn tell(&self, record: &Record);
}

macro_rules! told {
    ($($type:ident),+: $usage:expr) => {
        $(impl Told for proto::$type {
            fn tell(&self, record: &Record) {
                let usage: fn(&Self) -> Option<&Usage> = $usage;
                used(usage(self), record);
            }
        })+
    };
}

told!(ClassifyResponse, EmbedResponse, PoolResponse, RerankResponse, ScoreResponse: |it| it.usage.as_ref());
told!(
    DetokenizeResponse, GetModelResponse, ListModelsResponse, StreamTranscribeResponse, StreamTranslateResponse,
    TokenizeResponse, TranscribeResponse, TranslateResponse: |_| None
);

impl Told for proto::GenerateResponse {
    fn tell(&self, record: &Record) {
        used(self.usage.as_ref(), record);
        for choice in &self.choices {
            record.finished(name(choice.finish_reason()));
        }
    }
}

impl Told for proto::StreamGenerateResponse {
    fn tell(&self, record: &Record) {
        match &self.event {
            Some(Event::Usage(usage)) => used(Some(usage), record),
            Some(Event::Finished(finished)) => record.finished(name(finished.finish_reason())),
            _ => {}
        }
    }
}

fn used(usage: Option<&Usage>, record: &Record) {
    if let Some(usage) = usage {
        record.used(usage.prompt_tokens, usage.completion_tokens);
    }
}

/// As the contract names it; a word that it does not know is `unspecified`.
fn name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Unspecified => "unspecified",
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Repetition => "repetition",
    }
}
