//! Texts that a caller may see.

/// One line of at most so many bytes, percent-encoded.
pub(super) fn cut(text: &str, most: usize) -> String {
    let mut line = String::with_capacity(text.len().min(most));
    let mut encoded = 0;
    let mut is_space = false;
    for character in text.chars() {
        if character.is_control() || character.is_whitespace() {
            is_space = !line.is_empty();
            continue;
        }
        let bytes = encoded_bytes(character);
        if encoded + bytes + usize::from(is_space) > most {
            break;
        }
        if std::mem::take(&mut is_space) {
            line.push(' ');
            encoded += 1;
        }
        line.push(character);
        encoded += bytes;
    }
    line
}

/// The bytes of a character in `grpc-message`: all but printable ASCII are percent-encoded.
fn encoded_bytes(character: char) -> usize {
    match character {
        '%' => 3,
        ' '..='~' => 1,
        _ => 3 * character.len_utf8(),
    }
}

/// An engine's text without what a caller must not learn: addresses of hosts and memory, keys, and what pydantic
/// repeats of the input.
pub(super) fn redacted(text: &str) -> String {
    let (mut words, mut is_key) = (Vec::new(), false);
    let text = without_input(text);
    for word in text.split_whitespace() {
        let bare = word.trim_start_matches(PUNCTUATION);
        words.push(if is_key || bare.starts_with("sk-") {
            "<key>"
        } else if word.contains("://") {
            "<url>"
        } else if bare.starts_with("0x") {
            "<address>"
        } else {
            word
        });
        is_key = word.eq_ignore_ascii_case("bearer");
    }
    words.join(" ")
}

const PUNCTUATION: [char; 6] = ['\'', '"', '(', '`', '=', '<'];

/// pydantic's errors, of which vLLM 0.27 and later prints one a line, repeat the input as `'input': …`; the rest of the
/// line is dropped, since the end of the input cannot be found.
fn without_input(text: &str) -> String {
    let line = |line: &str| match line.split_once(", 'input': ") {
        Some((head, _input)) => format!("{head}}}"),
        None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_bounded_length() {
        assert_eq!(cut("a\n  b\r\nc\u{0}\u{1b}d ", 1024), "a b c d");
        assert_eq!(cut(&"x".repeat(5000), 1024).len(), 1024);
        assert_eq!(cut(&"é".repeat(5000), 1024).chars().count(), 1024 / 6);
        assert_eq!(cut(&"%".repeat(5000), 1024).len(), 1024 / 3);
        assert_eq!(cut(" \n ", 1024), "");
    }

    #[test]
    fn what_a_caller_must_not_learn_is_left_out() {
        let rows = [
            (
                "temperature must be non-negative, got -1.0.",
                "temperature must be non-negative, got -1.0.",
            ),
            ("see https://user:pw@host/x for more", "see <url> for more"),
            (
                "Bearer abc is wrong, sk-123 too",
                "Bearer <key> is wrong, <key> too",
            ),
            ("<Engine object at 0x7f12ab>", "<Engine object at <address>"),
            (
                "1 validation error:\n  {'type': 'x', 'loc': 'body.n', 'msg': 'bad', 'input': 'my secret'}",
                "1 validation error: {'type': 'x', 'loc': 'body.n', 'msg': 'bad'}",
            ),
            (
                "{'msg': 'bad', 'input': [{'a': 'b'}, {'content': 'my secret'}], 'ctx': {'le': 1}}\n{'msg': 'c'}",
                "{'msg': 'bad'} {'msg': 'c'}",
            ),
            ("{'msg': 'bad', 'input': 'cut of", "{'msg': 'bad'}"),
        ];
        for (text, shown) in rows {
            assert_eq!(redacted(text), shown);
        }
    }
}
