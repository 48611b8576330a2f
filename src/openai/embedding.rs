//! `/v1/embeddings` and `/pooling`, and what is sent to `/classify` (vLLM 0.33).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::value::RawValue;
use serde_with_macros::skip_serializing_none;

use super::{
    request::{Json, Message},
    response::Usage,
    text::Text,
};

/// `EmbeddingRequest`, `PoolingRequest` or `ClassificationRequest`.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub(crate) struct EmbeddingRequest {
    #[serde(flatten)]
    pub(crate) input: Input,
    pub(crate) model: Option<String>,
    /// Of embeddings. `/pooling` gives JSON numbers without it, since its base64 does not tell the shape of a matrix.
    pub(crate) encoding_format: Option<EncodingFormat>,
    /// Since 0.11.2; without it the vectors are of the upstream's own byte order.
    pub(crate) endianness: Option<&'static str>,
    /// Of embeddings.
    pub(crate) dimensions: Option<i32>,
    /// Of `/pooling`.
    pub(crate) task: Option<String>,
    pub(crate) use_activation: Option<bool>,
    /// The older name of `use_activation` for embeddings, which newer releases refuse.
    pub(crate) normalize: Option<bool>,
    pub(crate) truncate_prompt_tokens: Option<i32>,
    pub(crate) truncation_side: Option<&'static str>,
    pub(crate) add_special_tokens: Option<bool>,
    pub(crate) add_generation_prompt: Option<bool>,
    pub(crate) continue_final_message: Option<bool>,
    pub(crate) chat_template_kwargs: Option<Json>,
    pub(crate) priority: Option<i64>,
    pub(crate) cache_salt: Option<String>,
    pub(crate) user: Option<String>,
    /// Members of `extra_body_json`; none has the name of a field above.
    #[serde(flatten)]
    pub(crate) extra_body: BTreeMap<String, Json>,
}

/// What is embedded. One chat is sent as such, since older releases take no list of them.
#[derive(Debug, Serialize)]
pub(crate) enum Input {
    #[serde(rename = "input")]
    Texts(Vec<String>),
    #[serde(rename = "input")]
    TokenIds(Vec<Vec<i32>>),
    #[serde(rename = "messages")]
    Chat(Vec<Message>),
    #[serde(rename = "messages")]
    Chats(Vec<Vec<Message>>),
}

/// How the vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EncodingFormat {
    /// 32-bit floats, in base64.
    Base64,
    /// JSON numbers.
    Float,
}

/// `EmbeddingResponse` or `PoolingResponse`; read only, and the vectors are not copied where they are in base64.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(crate) struct EmbeddingResponse<'a> {
    pub(crate) id: Option<Text<'a>>,
    pub(crate) created: Option<serde_json::Number>,
    pub(crate) model: Option<Text<'a>>,
    pub(crate) data: Vec<EmbeddingData<'a>>,
    pub(crate) usage: Option<Usage>,
}

/// `EmbeddingResponseData`, or `PoolingResponseData`, which has the vectors in `data`.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(crate) struct EmbeddingData<'a> {
    /// Missing counts as its place in the list.
    pub(crate) index: Option<i64>,
    #[serde(alias = "data")]
    pub(crate) embedding: Vectors<'a>,
}

/// The embedding of one input.
#[derive(Debug)]
pub(crate) enum Vectors<'a> {
    /// 32-bit floats in base64.
    Base64(Text<'a>),
    /// One vector.
    Vector(Vec<f32>),
    /// One vector a token.
    Matrix(Vec<Vec<f32>>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Vectors<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An untagged enum would copy each number into a value of its own first.
        let json = <&RawValue>::deserialize(deserializer)?.get();
        let mut start = json.bytes().filter(|byte| !byte.is_ascii_whitespace());
        let vectors = match (start.next(), start.next()) {
            (Some(b'"'), _) => serde_json::from_str(json).map(Self::Base64),
            (_, Some(b'[')) => serde_json::from_str(json).map(Self::Matrix),
            _ => serde_json::from_str(json).map(Self::Vector),
        };
        vectors.map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let read: Result<Vectors<'_>, _> = serde_json::from_str(json);
        let read = read.map_or_else(|_error| "error".to_owned(), |read| format!("{read:?}"));
        assert_eq!(read, expected, "{json}");
    }

    #[test]
    fn vectors_are_read_in_every_form() {
        check("[]", "Vector([])");
        check("[1,-2,0.5]", "Vector([1.0, -2.0, 0.5])");
        check("[[1,2],[0.5]]", "Matrix([[1.0, 2.0], [0.5]])");
        check("[[]]", "Matrix([[]])");
        check(r#""AAA=""#, r#"Base64(Text("AAA="))"#);
        check(r#""A\/A=""#, r#"Base64(Text("A/A="))"#);
        for json in [
            "null",
            "{}",
            "[1,[2]]",
            "[[1],2]",
            r#"[1,"x"]"#,
            "[[[1]]]",
            "[1,1e39]",
            "[[1e39]]",
        ] {
            check(json, "error");
        }
    }

    #[test]
    fn a_number_is_the_float_that_was_written() {
        // As vLLM 0.32 writes a 32-bit float, by all digits of the double.
        let json = "[0.017563045024871826,-0.08672012388706207,1e-45]";
        let Vectors::Vector(values) = serde_json::from_str(json).unwrap() else {
            panic!("no vector");
        };
        let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits, [0x3c8f_e060, 0xbdb1_9a52, 1]);
    }
}
