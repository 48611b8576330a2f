//! `/v1/audio/transcriptions` and `/v1/audio/translations` (vLLM 0.33): a form goes out, and JSON or a stream of chunks comes back.

use bytes::Bytes;
use serde::Deserialize;

use super::response::Usage;

/// `TranscriptionRequest` or `TranslationRequest`, as form fields by vLLM's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TranscriptionForm {
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) file: File,
}

/// `file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// Without control characters and quotes.
    pub(crate) name: String,
    pub(crate) media_type: String,
    pub(crate) data: Bytes,
}

/// `TranscriptionResponse`, `TranscriptionResponseVerbose` or `TranscriptionResponseDiarized`, or the same of a
/// translation; read only.
#[derive(Debug, Deserialize)]
pub(crate) struct TranscriptionResponse {
    pub(crate) text: String,
    pub(crate) language: Option<String>,
    pub(crate) duration: Option<Seconds>,
    pub(crate) segments: Option<Vec<Segment>>,
    pub(crate) words: Option<Vec<Word>>,
    pub(crate) usage: Option<TranscriptionUsage>,
}

/// A time; some releases write it as a string.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    /// The number; `None` for a string that holds none.
    pub(crate) fn value(&self) -> Option<f64> {
        match self {
            Self::Number(seconds) => Some(*seconds),
            Self::Text(seconds) => seconds.parse().ok(),
        }
    }
}

/// `TranscriptionSegment` or `TranscriptionDiarizedSegment`, whose `id` is a number or a text.
#[derive(Debug, Deserialize)]
pub(crate) struct Segment {
    pub(crate) start: f64,
    pub(crate) end: f64,
    pub(crate) text: String,
    pub(crate) speaker: Option<String>,
    pub(crate) avg_logprob: Option<f64>,
    pub(crate) no_speech_prob: Option<f64>,
    pub(crate) compression_ratio: Option<f64>,
    pub(crate) tokens: Option<Vec<i32>>,
    pub(crate) temperature: Option<f64>,
    pub(crate) seek: Option<i64>,
}

/// `TranscriptionWord`.
#[derive(Debug, Deserialize)]
pub(crate) struct Word {
    pub(crate) word: String,
    pub(crate) start: f64,
    pub(crate) end: f64,
}

/// `TranscriptionUsageAudio` has `seconds`; other servers count tokens.
#[derive(Debug, Deserialize)]
pub(crate) struct TranscriptionUsage {
    pub(crate) seconds: Option<f64>,
    #[serde(flatten)]
    pub(crate) tokens: Usage,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_or_its_text() {
        for (json, expected) in [
            ("1.5", Some(1.5)),
            (r#""2.0""#, Some(2.0)),
            (r#""x""#, None),
        ] {
            let read: Seconds = serde_json::from_str(json).unwrap();
            assert_eq!(read.value(), expected, "{json}");
        }
    }
}
