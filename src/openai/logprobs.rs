//! Log probabilities: chat and completions give them in shapes that differ, read here into one type each.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, de};

/// `logprobs` of a choice. Chat fills `content`; completions fill the parallel lists.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Logprobs {
    pub(crate) content: Option<Vec<TokenLogprob>>,
    pub(crate) tokens: Option<Vec<String>>,
    /// The first is null for an echoed prompt.
    pub(crate) token_logprobs: Option<Vec<Option<f32>>>,
    pub(crate) top_logprobs: Option<Vec<Option<Entries<String, f32>>>>,
    pub(crate) text_offset: Option<Vec<i32>>,
}

/// A token of a chat answer.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenLogprob {
    pub(crate) token: String,
    pub(crate) logprob: Option<f32>,
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) top_logprobs: Option<Vec<Self>>,
}

/// `prompt_logprobs`: one entry a token of the prompt, the first null; keys are token ids.
pub(crate) type PromptLogprobs = Vec<Option<Entries<i32, PromptLogprob>>>;

/// A token at a place of the prompt.
#[derive(Debug, Deserialize)]
pub(crate) struct PromptLogprob {
    pub(crate) logprob: f32,
    pub(crate) rank: Option<i32>,
    pub(crate) decoded_token: Option<String>,
}

/// The members of a JSON object, in the upstream's order.
#[derive(Debug)]
pub(crate) struct Entries<K, V>(pub(crate) Vec<(K, V)>);

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Entries<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<K, V>(PhantomData<(K, V)>);

        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> de::Visitor<'de> for Visitor<K, V> {
            type Value = Entries<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Visitor(PhantomData))
    }
}
