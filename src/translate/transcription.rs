//! Speech to text: a form down; a whole answer, or chunks that are folded into events, up.

mod form;
mod stream;

pub(super) use form::FIELDS;
pub(crate) use form::form;
pub(crate) use stream::Translator;

use crate::{
    openai::transcription::{Segment, TranscriptionResponse, Word},
    proto,
};

use super::usage;

/// The answer.
pub(crate) fn response(response: TranscriptionResponse) -> proto::TranscribeResponse {
    let usage = response.usage;
    let billed = usage.as_ref().and_then(|usage| usage.seconds);
    let duration = response.duration.map(|duration| duration.0);
    let segments = response.segments.unwrap_or_default();
    let words = response.words.unwrap_or_default();
    let usage = usage.map(|usage| usage::usage(usage.tokens));
    proto::TranscribeResponse {
        text: response.text,
        language: response.language.unwrap_or_default(),
        duration_seconds: duration.or(billed),
        segments: segments.into_iter().zip(0..).map(segment).collect(),
        words: words.into_iter().map(word).collect(),
        // vLLM 0.33 counts seconds alone.
        usage: usage.filter(|usage| *usage != proto::Usage::default()),
    }
}

fn segment((segment, index): (Segment, i32)) -> proto::TranscriptionSegment {
    proto::TranscriptionSegment {
        index: Some(index),
        start_seconds: Some(segment.start),
        end_seconds: Some(segment.end),
        text: segment.text,
        speaker: segment.speaker.unwrap_or_default(),
        avg_logprob: segment.avg_logprob,
        no_speech_prob: segment.no_speech_prob,
        compression_ratio: segment.compression_ratio,
    }
}

fn word(word: Word) -> proto::TranscriptionWord {
    proto::TranscriptionWord {
        word: word.word,
        start_seconds: Some(word.start),
        end_seconds: Some(word.end),
    }
}

#[cfg(test)]
mod tests;
