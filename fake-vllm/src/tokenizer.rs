//! Tokens of the routes that show them: up to four letters of a word, whose codes make the id.

use serde_json::{Value, json};

use crate::{answer::split, error::Error, request::text as text_of, server::Settings};

/// Bits of a letter in an id.
const BITS: u32 = 7;

/// Ids from here on are single characters beyond ASCII.
const BEYOND: u32 = 1 << (4 * BITS);

/// Answers `/tokenize`.
pub(crate) fn tokenize(body: &Value, settings: &Settings) -> Result<Value, Error> {
    let text = match body.get("messages") {
        None => text_of(&body["prompt"]),
        Some(messages) => chat(messages),
    };
    let tokens = tokens(&text);
    let (ids, texts): (Vec<_>, Vec<_>) = tokens.into_iter().unzip();
    let texts = Some(texts).filter(|_| body["return_token_strs"] == true);
    let max = settings.max_model_len;
    Ok(json!({"count": ids.len(), "max_model_len": max, "tokens": ids, "token_strs": texts}))
}

/// Answers `/detokenize`.
pub(crate) fn detokenize(body: &Value, _settings: &Settings) -> Result<Value, Error> {
    let ids = body["tokens"].as_array().map_or(&[][..], |ids| ids);
    Ok(json!({"prompt": text(ids)?}))
}

/// A chat as its template would make it.
pub(crate) fn chat(messages: &Value) -> String {
    let turns = messages.as_array().into_iter().flatten();
    let turns = turns.map(|turn| {
        format!(
            "{}: {}\n",
            text_of(&turn["role"]),
            text_of(&turn["content"])
        )
    });
    turns.collect()
}

/// The tokens of a text, each with its id.
pub(crate) fn tokens(text: &str) -> Vec<(u32, String)> {
    let mut tokens: Vec<(u32, String)> = Vec::new();
    for word in split(text) {
        let mut is_open = false;
        for letter in word.chars() {
            let code = u32::from(letter);
            let is_ascii = (1..=127).contains(&code);
            match tokens.last_mut() {
                Some((id, token)) if is_open && is_ascii && token.len() < 4 => {
                    *id = *id << BITS | code;
                    token.push(letter);
                }
                _ => {
                    let id = if is_ascii { code } else { BEYOND + code };
                    tokens.push((id, letter.to_string()));
                }
            }
            is_open = is_ascii;
        }
    }
    tokens
}

/// The text of token ids.
pub(crate) fn text(ids: &[Value]) -> Result<String, Error> {
    let unknown = |id: &Value| Error::new(400, format!("Token id {id} is out of vocabulary"), None);
    ids.iter()
        .map(|id| token(id).ok_or_else(|| unknown(id)))
        .collect()
}

fn token(id: &Value) -> Option<String> {
    let id = u32::try_from(id.as_u64()?).ok()?;
    if let Some(code) = id.checked_sub(BEYOND) {
        return char::from_u32(code).map(String::from);
    }
    let codes = (0..4).rev().map(|place| id >> (place * BITS) & 127);
    codes
        .skip_while(|code| *code == 0)
        .map(char::from_u32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_parts_of_words_and_give_the_text_back() {
        for (text_, expected) in [
            ("Hello world", &["Hell", "o", " wor", "ld"][..]),
            ("café 🎉!", &["caf", "é", " ", "🎉", "!"]),
            ("\0a", &["\0", "a"]),
            ("", &[]),
        ] {
            let (ids, texts): (Vec<_>, Vec<_>) = tokens(text_).into_iter().unzip();
            assert_eq!(texts, expected);
            let ids: Vec<_> = ids.into_iter().map(Value::from).collect();
            assert_eq!(text(&ids).unwrap(), text_);
        }
        for id in [json!(-1), json!(u32::MAX), json!("a")] {
            assert!(text(&[id]).is_err());
        }
    }
}
