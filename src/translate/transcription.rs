//! Speech to text, in its own language or another: a form is sent; a whole answer, or chunks that are folded into events, come back.

mod form;
mod stream;
mod subtitles;

pub(crate) use form::{Task, form};
pub(crate) use stream::{TranslationTranslator, Translator};

use crate::{
    openai::transcription::{Segment, TranscriptionResponse, Word},
    proto::{self, SubtitleFormat, TimestampGranularity},
};

use super::{answer::usage, invalid::InvalidAnswer};

/// The parts of an answer that a caller asked for; the others are left out, even where the upstream sends them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    segments: bool,
    words: bool,
    speakers: bool,
    subtitles: SubtitleFormat,
}

impl Asked {
    /// The parts that a request asks for; speakers come with their segments.
    pub(crate) fn of(request: &proto::TranscribeRequest) -> Self {
        let wants = |kind: TimestampGranularity| request.timestamps.contains(&i32::from(kind));
        let speakers = request.diarize == Some(true);
        Self {
            segments: speakers || wants(TimestampGranularity::Segment),
            words: wants(TimestampGranularity::Word),
            speakers,
            subtitles: request.subtitles(),
        }
    }
}

/// The answer.
pub(crate) fn response(
    response: TranscriptionResponse,
    asked: Asked,
) -> Result<proto::TranscribeResponse, InvalidAnswer> {
    let subtitles = subtitles::file(asked.subtitles, response.segments.as_deref())?;
    let usage = response.usage;
    let billed = usage.as_ref().and_then(|usage| usage.seconds);
    let duration = response.duration.and_then(|duration| duration.value());
    let segments = response.segments.filter(|_| asked.segments);
    let segments = segments.into_iter().flatten().zip(0..);
    let words = response.words.filter(|_| asked.words);
    let usage = usage.map(|usage| self::usage(usage.tokens));
    Ok(proto::TranscribeResponse {
        text: response.text,
        language: response.language.unwrap_or_default(),
        duration_seconds: duration.or(billed),
        segments: segments
            .map(|(it, index)| segment(it, index, asked))
            .collect(),
        words: words.into_iter().flatten().map(word).collect(),
        // vLLM 0.33 counts seconds alone.
        usage: usage.filter(|usage| *usage != proto::Usage::default()),
        subtitles,
    })
}

/// The answer of a translation.
pub(crate) fn translation(
    response: TranscriptionResponse,
    asked: Asked,
) -> Result<proto::TranslateResponse, InvalidAnswer> {
    let proto::TranscribeResponse {
        text,
        language,
        duration_seconds,
        segments,
        words: _,
        usage,
        subtitles,
    } = self::response(response, asked)?;
    Ok(proto::TranslateResponse {
        text,
        language,
        duration_seconds,
        segments,
        usage,
        subtitles,
    })
}

fn segment(segment: Segment, index: i32, asked: Asked) -> proto::TranscriptionSegment {
    let speaker = segment.speaker.filter(|_| asked.speakers);
    proto::TranscriptionSegment {
        index: Some(index),
        start_seconds: Some(segment.start),
        end_seconds: Some(segment.end),
        text: segment.text,
        speaker: speaker.unwrap_or_default(),
        avg_logprob: segment.avg_logprob,
        no_speech_prob: segment.no_speech_prob,
        compression_ratio: segment.compression_ratio,
        token_ids: segment.tokens.unwrap_or_default(),
        temperature: segment.temperature,
        seek: segment.seek,
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
