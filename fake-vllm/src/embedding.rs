//! Embeddings, scores and ranks. Texts that share words and parts of words are near each other, every time alike.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{error::Error, request::text, server::Settings, tokenizer};

/// Longest vector; `dimensions` may cut it.
const MAX_DIMENSIONS: u64 = 64;

/// Answers `/v1/embeddings`.
pub(crate) fn embed(body: &Value, settings: &Settings) -> Result<Value, Error> {
    let texts = inputs(body)?;
    let asked = body.get("dimensions").and_then(Value::as_u64);
    let n_dimensions = asked.unwrap_or(MAX_DIMENSIONS);
    let model = &settings.model;
    if !(1..=MAX_DIMENSIONS).contains(&n_dimensions) {
        let range = format!("[1, {MAX_DIMENSIONS}]");
        let text = format!(
            "Model '{model}' only supports dimensions in range {range}, got {n_dimensions}."
        );
        return Err(Error::new(400, text, Some("dimensions")));
    }
    let entry = |(index, text): (usize, &String)| {
        let mut vector = vector(text);
        vector.truncate(usize::try_from(n_dimensions).unwrap_or(usize::MAX));
        normalize(&mut vector);
        let embedding = match body["encoding_format"] == "base64" {
            true => json!(STANDARD.encode(little_endian(&vector))),
            false => json!(vector),
        };
        json!({"index": index, "object": "embedding", "embedding": embedding})
    };
    let data: Vec<_> = texts.iter().enumerate().map(entry).collect();
    let usage = usage(&texts);
    Ok(
        json!({"id": "embd-0", "object": "list", "created": 0, "model": model, "data": data, "usage": usage}),
    )
}

/// Answers `/score`: one query for all documents, or one for each.
pub(crate) fn score(body: &Value, settings: &Settings) -> Result<Value, Error> {
    let (queries, documents) = (texts(&body["text_1"]), texts(&body["text_2"]));
    if queries.is_empty() || queries.len() != 1 && queries.len() != documents.len() {
        let text = "Input lengths must be either 1:1, 1:N or N:N";
        return Err(Error::new(400, text, Some("text_1")));
    }
    let pairs = queries.iter().cycle().zip(&documents).enumerate();
    let entry = |(index, (query, document)): (usize, (&String, &String))| json!({"index": index, "object": "score", "score": likeness(query, document)});
    let data: Vec<_> = pairs.map(entry).collect();
    let usage = usage(&[queries, documents].concat());
    let model = &settings.model;
    Ok(
        json!({"id": "score-0", "object": "list", "created": 0, "model": model, "data": data, "usage": usage}),
    )
}

/// Answers `/rerank`, the best document first.
pub(crate) fn rerank(body: &Value, settings: &Settings) -> Result<Value, Error> {
    let (query, documents) = (text(&body["query"]), texts(&body["documents"]));
    let scored = documents.iter().map(|it| likeness(&query, it)).enumerate();
    let mut scored: Vec<_> = scored.collect();
    scored.sort_by(|one, other| other.1.total_cmp(&one.1));
    let n_wanted = body.get("top_n").and_then(Value::as_u64).unwrap_or(0);
    if n_wanted > 0 {
        scored.truncate(usize::try_from(n_wanted).unwrap_or(usize::MAX));
    }
    let entry = |(index, score): (usize, f64)| {
        let document = json!({"text": documents.get(index), "multi_modal": null});
        json!({"index": index, "document": document, "relevance_score": score})
    };
    let results: Vec<_> = scored.into_iter().map(entry).collect();
    let model = &settings.model;
    let usage = usage(&[vec![query], documents].concat());
    Ok(json!({"id": "score-0", "model": model, "results": results, "usage": usage}))
}

/// The texts of `input` or of the chats in `messages`, none of them empty.
fn inputs(body: &Value) -> Result<Vec<String>, Error> {
    let (input, chats) = (&body["input"], &body["messages"]);
    let texts = match (input, chats) {
        (Value::Array(all), _) if all.first().is_some_and(Value::is_number) => {
            vec![tokenizer::text(all)?]
        }
        (Value::Array(all), _) if all.first().is_some_and(Value::is_array) => {
            let lists = all
                .iter()
                .map(|ids| ids.as_array().map_or(&[][..], |it| it));
            lists.map(tokenizer::text).collect::<Result<_, _>>()?
        }
        (Value::Null, Value::Array(all)) if all.first().is_some_and(Value::is_array) => {
            all.iter().map(tokenizer::chat).collect()
        }
        (Value::Null, chat @ Value::Array(_)) => vec![tokenizer::chat(chat)],
        (input, _) => texts(input),
    };
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(Error::new(400, "The decoder prompt cannot be empty", None));
    }
    Ok(texts)
}

/// A text, or a list of them.
fn texts(value: &Value) -> Vec<String> {
    match value.as_array() {
        Some(all) => all.iter().map(text).collect(),
        None => value.as_str().map(str::to_owned).into_iter().collect(),
    }
}

fn usage(texts: &[String]) -> Value {
    let n: usize = texts.iter().map(|text| tokenizer::tokens(text).len()).sum();
    json!({"prompt_tokens": n, "total_tokens": n, "completion_tokens": 0, "prompt_tokens_details": null})
}

/// 1 for texts of the same words, about 0 for texts that have nothing in common.
fn likeness(one: &str, other: &str) -> f64 {
    let [mut one, mut other] = [vector(one), vector(other)];
    normalize(&mut one);
    normalize(&mut other);
    let products = one.iter().zip(&other).map(|(a, b)| f64::from(a * b));
    products.sum()
}

/// Words and their parts of three letters, each added at a place of its own, with a sign of its own.
fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; usize::try_from(MAX_DIMENSIONS).unwrap_or(0)];
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric());
    let mut add = |part: &[char], weight: f32| {
        let hash = hash(part);
        let place = usize::try_from(hash % MAX_DIMENSIONS).unwrap_or(0);
        let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
        if let Some(value) = vector.get_mut(place) {
            *value += sign * weight;
        }
    };
    for word in words.filter(|word| !word.is_empty()) {
        let letters: Vec<char> = word.chars().collect();
        // Short words say little.
        add(&letters, if letters.len() > 3 { 2.0 } else { 0.5 });
        letters.windows(3).for_each(|part| add(part, 0.5));
    }
    vector
}

/// FNV-1a.
fn hash(part: &[char]) -> u64 {
    let seed = 0xcbf2_9ce4_8422_2325_u64;
    let add = |hash: u64, letter: &char| {
        (hash ^ u64::from(u32::from(*letter))).wrapping_mul(0x0100_0000_01b3)
    };
    let hash = part.iter().fold(seed, add);
    hash ^ (hash >> 29)
}

fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    match vector.first_mut() {
        // Nothing of the text can be read.
        Some(first) if length == 0.0 => *first = 1.0,
        _ => vector.iter_mut().for_each(|value| *value /= length),
    }
}

fn little_endian(vector: &[f32]) -> Vec<u8> {
    vector
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_that_shares_words_comes_first() {
        let query = "How do I stream tokens?";
        let documents = [
            "Paris is the capital of France.",
            "Streaming sends tokens as they are made.",
            "Cats sleep most of the day.",
        ];
        let body = json!({"query": query, "documents": documents, "top_n": 2});
        let ranked = rerank(&body, &Settings::default()).unwrap();
        assert_eq!(ranked["results"][0]["index"], 1, "{ranked}");
        assert_eq!(ranked["results"].as_array().unwrap().len(), 2);
        assert!((likeness(query, query) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn vectors_have_the_length_and_the_form_that_was_asked_for() {
        let settings = Settings::default();
        let floats = json!({"input": ["a text", "b"], "dimensions": 8});
        let floats = embed(&floats, &settings).unwrap();
        let vector = floats["data"][1]["embedding"].as_array().unwrap();
        assert_eq!(vector.len(), 8);
        let base64 = json!({"input": "b", "dimensions": 8, "encoding_format": "base64"});
        let base64 = embed(&base64, &settings).unwrap();
        let bytes = base64["data"][0]["embedding"].as_str().unwrap();
        let bytes = STANDARD.decode(bytes).unwrap();
        let first = f32::from_le_bytes(bytes[..4].try_into().unwrap());
        assert_eq!(json!(first), vector[0]);
        for bad in [
            json!({"input": ""}),
            json!({"input": []}),
            json!({"input": "a", "dimensions": 65}),
        ] {
            assert!(embed(&bad, &settings).is_err(), "{bad}");
        }
    }
}
