//! `/v1/embeddings` (vLLM 0.33).

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess, Visitor},
};

use super::{
    request::{Json, Message},
    response::Usage,
    text::Text,
};

/// `EmbeddingRequest`.
#[derive(Debug, Serialize)]
pub(crate) struct EmbeddingRequest {
    #[serde(flatten)]
    pub(crate) input: Input,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    pub(crate) encoding_format: EncodingFormat,
    /// Since 0.11.2; without it the vectors are of the upstream's own byte order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endianness: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dimensions: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) use_activation: Option<bool>,
    /// The older name of `use_activation`, which newer releases refuse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) normalize: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) truncate_prompt_tokens: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) truncation_side: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) add_special_tokens: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) add_generation_prompt: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) continue_final_message: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chat_template_kwargs: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_salt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
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

/// `EmbeddingResponse`; read only, and the vectors are not copied where they are in base64.
#[derive(Debug, Deserialize)]
pub(crate) struct EmbeddingResponse<'a> {
    #[serde(borrow)]
    pub(crate) id: Option<Text<'a>>,
    pub(crate) created: Option<i64>,
    #[serde(borrow)]
    pub(crate) model: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) data: Vec<EmbeddingData<'a>>,
    pub(crate) usage: Option<Usage>,
}

/// `EmbeddingResponseData`.
#[derive(Debug, Deserialize)]
pub(crate) struct EmbeddingData<'a> {
    /// Missing counts as its place in the list.
    pub(crate) index: Option<i64>,
    #[serde(borrow)]
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
        deserializer.deserialize_any(VectorsVisitor)
    }
}

struct VectorsVisitor;

impl<'de> Visitor<'de> for VectorsVisitor {
    type Value = Vectors<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64, numbers or lists of numbers")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Vectors::Base64(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Vectors::Base64(text.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut values = match entries.next_element()? {
            None => return Ok(Vectors::Vector(Vec::new())),
            Some(Entry::Vector(first)) => {
                let mut vectors = vec![first];
                while let Some(vector) = entries.next_element()? {
                    vectors.push(vector);
                }
                return Ok(Vectors::Matrix(vectors));
            }
            Some(Entry::Number(first)) => vec![first],
        };
        while let Some(value) = entries.next_element()? {
            values.push(value);
        }
        Ok(Vectors::Vector(values))
    }
}

/// The first entry of an embedding, which tells a vector from a matrix.
enum Entry {
    Number(f32),
    Vector(Vec<f32>),
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the numbers are 32-bit floats, written as JSON"
)]
impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a list of numbers")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Entry, E> {
        Ok(Entry::Number(value as f32))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Entry, E> {
        Ok(Entry::Number(value as f32))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Entry, E> {
        Ok(Entry::Number(value as f32))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Entry, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = entries.next_element()? {
            values.push(value);
        }
        Ok(Entry::Vector(values))
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
