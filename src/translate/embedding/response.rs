//! Vectors of an answer.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::{
    openai::{
        embedding::{EmbeddingResponse, Vectors},
        text::Text,
    },
    proto,
    translate::{
        answer::{create_time, in_order, usage},
        invalid::InvalidAnswer,
    },
};

/// Base64 with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What an answer must have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// The number of inputs, each of which gets one embedding.
    pub(in crate::translate) n_inputs: usize,
    /// The length of each vector, where the caller set it.
    pub(super) n_dimensions: Option<usize>,
    /// Whether all vectors are of one length, as embeddings are.
    pub(in crate::translate) is_even: bool,
}

/// Reads the vectors of one answer.
#[derive(Debug)]
struct Reader {
    /// Reused for the bytes of each vector in base64.
    scratch: Vec<u8>,
    /// The length of every vector: the requested one, or that of the first, since one model made them all.
    n_dimensions: Option<usize>,
    is_even: bool,
}

/// The answer, if each input has its embedding, and every vector is whole.
pub(crate) fn response(
    response: EmbeddingResponse<'_>,
    asked: Asked,
) -> Result<proto::EmbedResponse, InvalidAnswer> {
    let owned = |text: Option<Text<'_>>| text.map(Text::into_owned).unwrap_or_default();
    let mut reader = Reader {
        scratch: Vec::new(),
        n_dimensions: asked.n_dimensions,
        is_even: asked.is_even,
    };
    let data = response.data.into_iter();
    let data = data.map(|it| Ok((it.index, reader.embedding(it.embedding)?)));
    let data = data.collect::<Result<Vec<_>, _>>()?;
    let mut embeddings = in_order(data.into_iter(), asked.n_inputs)?;
    for (index, embedding) in (0..).zip(&mut embeddings) {
        embedding.index = Some(index);
    }
    Ok(proto::EmbedResponse {
        embeddings,
        id: owned(response.id),
        model: owned(response.model),
        create_time: response.created.as_ref().and_then(create_time),
        usage: response.usage.map(usage),
    })
}

impl Reader {
    fn embedding(&mut self, vectors: Vectors<'_>) -> Result<proto::Embedding, InvalidAnswer> {
        let mut embedding = proto::Embedding::default();
        match vectors {
            Vectors::Base64(text) => {
                let values = floats(&text, &mut self.scratch)?;
                embedding.values = self.checked(values)?;
            }
            Vectors::Vector(values) => embedding.values = self.checked(values)?,
            Vectors::Matrix(vectors) => {
                let vectors = vectors.into_iter().map(|values| {
                    let values = self.checked(values)?;
                    Ok(proto::TokenVector { values })
                });
                embedding.token_vectors = vectors.collect::<Result<_, _>>()?;
            }
        }
        Ok(embedding)
    }

    /// The vector, if it is one that can be compared with the others.
    ///
    /// A model in half precision may overflow, which base64 can express and JSON cannot.
    fn checked(&mut self, values: Vec<f32>) -> Result<Vec<f32>, InvalidAnswer> {
        if values.is_empty() {
            return Err(InvalidAnswer::Malformed("an empty vector"));
        }
        if self.is_even && *self.n_dimensions.get_or_insert(values.len()) != values.len() {
            return Err(InvalidAnswer::Malformed("a vector of another length"));
        }
        // Without an early exit, so that the compiler can check several numbers at once.
        let is_finite = |all: bool, value: &f32| all & value.is_finite();
        if !values.iter().fold(true, is_finite) {
            return Err(InvalidAnswer::Malformed("a vector that is not finite"));
        }
        Ok(values)
    }
}

/// 32-bit floats, little end first, in base64. `scratch` is overwritten.
fn floats(text: &str, scratch: &mut Vec<u8>) -> Result<Vec<f32>, InvalidAnswer> {
    let malformed = || InvalidAnswer::Malformed("an embedding that is no base64 of floats");
    scratch.clear();
    BASE64
        .decode_vec(text, scratch)
        .map_err(|_not_base64| malformed())?;
    let (floats, rest) = scratch.as_chunks();
    if !rest.is_empty() {
        return Err(malformed());
    }
    Ok(floats.iter().copied().map(f32::from_le_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer that a JSON text gives.
    fn answer(json: &str, n_inputs: usize) -> Result<proto::EmbedResponse, InvalidAnswer> {
        let asked = Asked {
            n_inputs,
            n_dimensions: None,
            is_even: true,
        };
        response(serde_json::from_str(json).unwrap(), asked)
    }

    #[test]
    fn vectors_come_in_the_order_of_the_inputs() {
        let json = r#"{"id":"embd-1","object":"list","created":7,"model":"m","data":[
            {"index":1,"object":"embedding","embedding":"AAAAPwAAgL8="},
            {"index":0,"object":"embedding","embedding":[0.25,2]},
            {"index":2,"object":"embedding","embedding":[[1,0],[2,0]]}],
            "usage":{"prompt_tokens":3,"total_tokens":3,"completion_tokens":0}}"#;
        let answer = answer(json, 3).unwrap();
        let values: Vec<_> = answer.embeddings.iter().map(|it| &*it.values).collect();
        assert_eq!(values, [&[0.25, 2.0][..], &[0.5, -1.0], &[]]);
        let indices: Vec<_> = answer.embeddings.iter().map(|it| it.index).collect();
        assert_eq!(indices, [Some(0), Some(1), Some(2)]);
        let tokens: Vec<_> = answer.embeddings[2].token_vectors.iter().collect();
        assert_eq!(tokens.len(), 2);
        assert_eq!((answer.id.as_str(), answer.model.as_str()), ("embd-1", "m"));
        assert_eq!(answer.create_time, create_time(&7.into()));
        assert_eq!(answer.usage.unwrap().prompt_tokens, Some(3));
    }

    #[test]
    fn base64_is_read_with_padding_and_without() {
        for text in ["AAAAPwAAgL8=", "AAAAPwAAgL8"] {
            assert_eq!(floats(text, &mut vec![9]).unwrap(), [0.5, -1.0]);
        }
        for text in ["AAAA", "AAAAPw=A", "!", "AAAAP"] {
            assert!(floats(text, &mut Vec::new()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_vector_is_finite_and_as_long_as_the_others() {
        let answer = |embeddings: &[&str]| {
            let data = embeddings
                .iter()
                .map(|it| format!(r#"{{"embedding":{it}}}"#));
            let data: Vec<_> = data.collect();
            let json = format!(r#"{{"data":[{}]}}"#, data.join(","));
            answer(&json, embeddings.len()).map(|_| ())
        };
        let base64 = |value: f32| {
            let text = BASE64.encode([1.0_f32.to_le_bytes(), value.to_le_bytes()].concat());
            format!("{text:?}")
        };
        // As many vectors as each input has tokens.
        assert_eq!(answer(&["[[1,2]]", "[[3,4],[5,6]]"]), Ok(()));
        assert_eq!(answer(&["[3e38,-1]", &base64(f32::MAX)]), Ok(()));
        let (empty, infinite, uneven) = (
            "an empty vector",
            "a vector that is not finite",
            "a vector of another length",
        );
        for (embeddings, fault) in [
            (&["\"\""][..], empty),
            (&["[]"], empty),
            (&["[1]", "[]"], empty),
            (&["[[]]"], empty),
            (&["[[1],[]]"], empty),
            (&[&base64(f32::NAN)], infinite),
            (&[&base64(f32::INFINITY)], infinite),
            (&[&base64(f32::NEG_INFINITY)], infinite),
            (&["[1]", "[1,2]"], uneven),
            (&["[1]", &base64(1.0)], uneven),
            (&["[[1],[1,2]]"], uneven),
            (&["[[1]]", "[[1,2]]"], uneven),
        ] {
            assert_eq!(
                answer(embeddings),
                Err(InvalidAnswer::Malformed(fault)),
                "{embeddings:?}"
            );
        }
    }

    #[test]
    fn a_vector_is_as_long_as_the_caller_asked() {
        let answer = |n_dimensions, embedding: &str| {
            let json = format!(r#"{{"data":[{{"embedding":{embedding}}}]}}"#);
            let asked = Asked {
                n_inputs: 1,
                n_dimensions,
                is_even: true,
            };
            response(serde_json::from_str(&json).unwrap(), asked).is_ok()
        };
        for (n_dimensions, embedding, is_whole) in [
            (None, "[1,2]", true),
            (Some(2), "[1,2]", true),
            (Some(2), "[[1,2],[3,4]]", true),
            (Some(3), "[1,2]", false),
            (Some(1), "\"AAAAPwAAgL8=\"", false),
            (Some(1), "[[1,2]]", false),
        ] {
            let got = answer(n_dimensions, embedding);
            assert_eq!(got, is_whole, "{n_dimensions:?} {embedding}");
        }
    }

    #[test]
    fn an_answer_that_is_not_whole_is_none() {
        let data = |entries: &str| format!(r#"{{"data":[{entries}]}}"#);
        let one = r#"{"index":0,"embedding":[1]}"#;
        assert!(answer(&data(one), 1).is_ok());
        assert!(answer(&data(r#"{"embedding":[1]}"#), 1).is_ok());
        for (entries, n_inputs) in [
            (String::new(), 1),
            (one.to_owned(), 2),
            (format!("{one},{one}"), 2),
            (r#"{"index":1,"embedding":[1]}"#.to_owned(), 1),
            (r#"{"index":-1,"embedding":[1]}"#.to_owned(), 1),
            (r#"{"index":0,"embedding":"x"}"#.to_owned(), 1),
        ] {
            assert!(answer(&data(&entries), n_inputs).is_err(), "{entries}");
        }
    }
}
