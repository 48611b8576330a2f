//! Text in pieces, as a tokenizer would cut it.

/// The tokens of `text`; joined, they are the text again.
///
/// A token is a run of letters and digits, or a run of other marks, with the space before it; whitespace beside that
/// stands alone. Ideographs and emoji are one character a token.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut last = Class::Other;
    for character in text.chars() {
        let class = Class::of(character);
        let joins = match class {
            Class::Word | Class::Mark => class == last || last == Class::Space,
            Class::Space | Class::Other => false,
        };
        match tokens.last_mut() {
            Some(token) if joins => token.push(character),
            Some(_) | None => tokens.push(character.to_string()),
        }
        last = class;
    }
    tokens
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Word,
    Mark,
    Space,
    Other,
}

// === impl Class ===

impl Class {
    fn of(character: char) -> Self {
        match character {
            ' ' => Self::Space,
            // Latin, Greek and Cyrillic write words; further on, a character is a token.
            _ if character.is_alphanumeric() && character < '\u{600}' => Self::Word,
            _ if character.is_ascii_punctuation() => Self::Mark,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_words_and_marks() {
        for (text, expected) in [
            ("", &[][..]),
            ("Hello! How can", &["Hello", "!", " How", " can"]),
            ("1 2 3", &["1", " 2", " 3"]),
            (
                r#"{"city": "Paris"}"#,
                &["{\"", "city", "\":", " \"", "Paris", "\"}"],
            ),
            ("\n\nThe", &["\n", "\n", "The"]),
            ("a  b", &["a", " ", " b"]),
            ("café 日本 🎉", &["café", " ", "日", "本", " ", "🎉"]),
        ] {
            let tokens = tokens(text);
            assert_eq!(tokens, expected);
            assert_eq!(tokens.concat(), text);
        }
    }
}
