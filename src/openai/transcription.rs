//! `/v1/audio/transcriptions` (vLLM 0.33): a form goes out, and JSON or a stream of chunks comes back.

use bytes::Bytes;
use serde::Deserialize;

use super::response::Usage;

/// `TranscriptionRequest`, as form fields by vLLM's names.
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

/// `TranscriptionResponse`, `TranscriptionResponseVerbose` or `TranscriptionResponseDiarized`; read only.
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
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub(crate) struct Seconds(pub(crate) f64);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(f64),
    Text(String),
}

impl TryFrom<NumberOrText> for Seconds {
    type Error = std::num::ParseFloatError;

    fn try_from(value: NumberOrText) -> Result<Self, Self::Error> {
        match value {
            NumberOrText::Number(seconds) => Ok(Self(seconds)),
            NumberOrText::Text(seconds) => seconds.parse().map(Self),
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
    pub(crate) avg_logprob: Option<f32>,
    pub(crate) no_speech_prob: Option<f32>,
    pub(crate) compression_ratio: Option<f32>,
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
            let read: Option<Seconds> = serde_json::from_str(json).ok();
            assert_eq!(read, expected.map(Seconds), "{json}");
        }
    }
}
