//! Which answer a stream is of.

use crate::openai::{chunk::Chunk, text::Text};

use super::InvalidAnswer;

/// The first id and the first model that the chunks of a stream name.
///
/// vLLM names both in every chunk, and always the same. A chunk that names others belongs to another answer, perhaps to
/// another caller's, so the stream is not to be trusted from there on. One that names none is taken.
#[derive(Debug, Default)]
pub(super) struct Identity {
    id: String,
    model: String,
}

impl Identity {
    /// Takes the next chunk, which must be one of the same answer.
    pub(super) fn check(&mut self, chunk: &Chunk<'_>) -> Result<(), InvalidAnswer> {
        if !is_same(&mut self.id, chunk.id.as_ref()) {
            return Err(InvalidAnswer::Malformed("a chunk with another id"));
        }
        if !is_same(&mut self.model, chunk.model.as_ref()) {
            return Err(InvalidAnswer::Malformed("a chunk of another model"));
        }
        Ok(())
    }

    /// The answer's id; empty where no chunk had one.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// Whether a name is the known one, which the first is.
fn is_same(known: &mut String, named: Option<&Text<'_>>) -> bool {
    match named {
        None => true,
        Some(named) if named.is_empty() => true,
        Some(named) if known.is_empty() => {
            known.push_str(named);
            true
        }
        Some(named) => **named == **known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chunks_of_an_answer_name_it_alike_or_not_at_all() {
        for (chunks, is_one_answer) in [
            (
                &[r#"{"id":"i","model":"m"}"#, r#"{"id":"i","model":"m"}"#][..],
                true,
            ),
            (
                &[
                    r#"{"id":"i","model":"m"}"#,
                    "{}",
                    r#"{"id":null,"model":""}"#,
                ],
                true,
            ),
            (
                &["{}", r#"{"id":""}"#, r#"{"id":"i"}"#, r#"{"model":"m"}"#],
                true,
            ),
            (&[r#"{"id":"i"}"#, r#"{"id":"j"}"#], false),
            (&[r#"{"id":"i"}"#, "{}", r#"{"id":"j"}"#], false),
            (
                &[r#"{"id":"i","model":"m"}"#, r#"{"id":"i","model":"n"}"#],
                false,
            ),
        ] {
            let mut identity = Identity::default();
            let mut check = |json: &&str| identity.check(&serde_json::from_str(json).unwrap());
            assert_eq!(
                chunks.iter().try_for_each(&mut check).is_ok(),
                is_one_answer,
                "{chunks:?}"
            );
        }
    }
}
