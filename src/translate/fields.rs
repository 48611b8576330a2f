//! The fields of a service in both vocabularies: which of them an upstream's error is about.

use super::{Input, embedding, param, ranking, tokenization, transcription};

/// The request of the contract that an upstream's request was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Generation(Input),
    /// A generation with `structured_output`.
    Constrained(Input),
    Embedding(embedding::Input),
    Models,
    Tokenization(tokenization::Input),
    Detokenization,
    Score,
    Rerank,
    Transcription,
}

/// The fields of one request.
#[derive(Debug)]
pub(super) struct Fields {
    /// What vLLM calls the input, whichever field of the contract holds it.
    pub(super) inputs: &'static [&'static str],
    /// Fields that both vocabularies call alike.
    pub(super) same: &'static [&'static str],
    /// vLLM's name, and the contract's.
    pub(super) renamed: &'static [(&'static str, &'static str)],
    /// What the adapter sets by itself.
    pub(super) own: &'static [&'static str],
    /// Words of errors that name no parameter, and the field that they are about (vLLM 0.33).
    pub(super) told: &'static [(&'static str, &'static str)],
}

/// What the makers of grammars say of a form that they cannot make one of, in vLLM 0.32: that of guidance, and any.
/// A tool's parameters can be why too, so this holds of a request with a form alone.
const FORM_TOLD: &[(&str, &str)] = &[
    ("Grammar error: ", "structured_output"),
    ("Invalid grammar specification: ", "structured_output"),
];

/// The path of the field that vLLM calls `param`, as `messages[0].content` of `body.messages.0.content`.
///
/// `None` where the adapter itself made that field, and for names that the contract does not know.
pub(crate) fn field_path(param: &str, origin: Origin) -> Option<String> {
    if let Origin::Generation(input) | Origin::Constrained(input) = origin {
        return param::field_path(param, input);
    }
    let fields = origin.fields()?;
    let name = name(param);
    let is_input = fields.inputs.contains(&name);
    let input = is_input.then(|| origin.input()).flatten();
    let renamed = fields.renamed.iter().find(|(theirs, _)| *theirs == name);
    let same = fields.same.iter().find(|same| **same == name);
    input
        .or(renamed.map(|(_, ours)| *ours))
        .or(same.copied())
        .map(str::to_owned)
}

/// The path of the field that the text of an error is about, where the error names no parameter.
pub(crate) fn field_of_text(text: &str, origin: Origin) -> Option<String> {
    let told = if let Origin::Constrained(_) = origin {
        FORM_TOLD
    } else {
        origin.fields()?.told
    };
    let told = told.iter().find(|(words, _)| text.contains(words));
    told.map(|(_, field)| (*field).to_owned())
}

/// Whether the adapter itself made the field that vLLM calls `param`, so that no caller can mend it.
pub(crate) fn is_own(param: &str, origin: Origin) -> bool {
    match origin.fields() {
        None => param::is_own(param),
        Some(fields) => fields.own.contains(&name(param)),
    }
}

/// The first step of a path, as `input` of `body.input.3`.
fn name(param: &str) -> &str {
    let param = param.strip_prefix("body.").unwrap_or(param);
    param.split('.').next().unwrap_or(param)
}

// === impl Fields ===

impl Fields {
    /// Whether a member of `extra_body_json` would stand for a typed field or for one that the adapter sets.
    pub(super) fn has(&self, name: &str) -> bool {
        let is_renamed = self.renamed.iter().any(|(theirs, _)| *theirs == name);
        is_renamed || [self.inputs, self.same, self.own].concat().contains(&name)
    }
}

// === impl Origin ===

impl Default for Origin {
    fn default() -> Self {
        Self::Generation(Input::default())
    }
}

impl Origin {
    /// `None` for generation, which has a table of its own, and for what has no fields.
    fn fields(self) -> Option<&'static Fields> {
        match self {
            Self::Generation(_) | Self::Constrained(_) | Self::Models => None,
            Self::Embedding(_) => Some(&embedding::FIELDS),
            Self::Tokenization(_) => Some(&tokenization::FIELDS),
            Self::Detokenization => Some(&tokenization::DETOKENIZE_FIELDS),
            Self::Score => Some(&ranking::SCORE_FIELDS),
            Self::Rerank => Some(&ranking::RERANK_FIELDS),
            Self::Transcription => Some(&transcription::FIELDS),
        }
    }

    /// The field that holds the input, where it is one alone.
    fn input(self) -> Option<&'static str> {
        match self {
            Self::Generation(input) | Self::Constrained(input) => Some(input.field()),
            Self::Embedding(input) => Some(input.field()),
            Self::Tokenization(input) => Some(input.field()),
            Self::Detokenization => Some("token_ids"),
            Self::Score | Self::Rerank => Some("documents"),
            Self::Transcription => Some("audio"),
            Self::Models => None,
        }
    }

    /// Whether a router without the route means that the model cannot do it: vLLM offers chat and completions for every
    /// model that generates, so a generation that finds none went to the wrong place.
    pub(crate) fn is_optional(self) -> bool {
        match self {
            Self::Generation(_) | Self::Constrained(_) | Self::Models => false,
            Self::Embedding(_)
            | Self::Tokenization(_)
            | Self::Detokenization
            | Self::Score
            | Self::Rerank
            | Self::Transcription => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMBED: Origin = Origin::Embedding(embedding::Input::TokenIds);

    #[test]
    fn a_parameter_is_named_by_the_contracts_field() {
        for (param, origin, expected) in [
            ("body.input.3", EMBED, Some("token_inputs")),
            ("input_tokens", EMBED, Some("token_inputs")),
            ("body.dimensions", EMBED, Some("dimensions")),
            (
                "chat_template_kwargs",
                EMBED,
                Some("chat_template_kwargs_json"),
            ),
            ("normalize", EMBED, Some("use_activation")),
            ("body.encoding_format", EMBED, None),
            ("body", EMBED, None),
            ("body.tokens.0", Origin::Detokenization, Some("token_ids")),
            ("text_1", Origin::Score, Some("queries")),
            ("body.documents", Origin::Rerank, Some("documents")),
            ("input_tokens", Origin::Rerank, Some("documents")),
            ("audio_filesize_mb", Origin::Transcription, Some("audio")),
            (
                "max_completion_tokens",
                Origin::Transcription,
                Some("max_tokens"),
            ),
            ("stop.2", Origin::Generation(Input::Prompt), Some("stop[2]")),
            (
                "stop.2",
                Origin::Constrained(Input::Prompt),
                Some("stop[2]"),
            ),
            ("model", Origin::Models, None),
        ] {
            assert_eq!(
                field_path(param, origin).as_deref(),
                expected,
                "{param} {origin:?}"
            );
        }
    }

    #[test]
    fn an_error_without_a_parameter_is_placed_by_its_words() {
        for (text, origin, expected) in [
            (
                "Model 'm' only supports dimensions in range [1, 128], got 99999.",
                EMBED,
                Some("dimensions"),
            ),
            (
                "max_tokens_per_doc (9) must be less than max_model_len (8).",
                Origin::Rerank,
                Some("max_tokens_per_document"),
            ),
            (
                "Invalid or unsupported audio file.",
                Origin::Transcription,
                Some("audio"),
            ),
            (
                "Currently do not support verbose_json for m",
                Origin::Transcription,
                Some("timestamps"),
            ),
            ("something else", EMBED, None),
            (
                "Grammar error: Invalid type: nonsense",
                Origin::Constrained(Input::Prompt),
                Some("structured_output"),
            ),
            (
                "Invalid grammar specification: 'triggers'",
                Origin::Generation(Input::Prompt),
                None,
            ),
            (
                "only supports dimensions",
                Origin::Generation(Input::Prompt),
                None,
            ),
        ] {
            assert_eq!(field_of_text(text, origin).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_the_adapter_sets_is_not_the_callers_fault() {
        for (param, origin, expected) in [
            ("body.encoding_format", EMBED, true),
            ("dimensions", EMBED, false),
            ("stream_include_usage", Origin::Transcription, true),
            ("stream", Origin::Generation(Input::Prompt), true),
            ("stream", Origin::Models, true),
        ] {
            assert_eq!(is_own(param, origin), expected, "{param}");
        }
    }

    #[test]
    fn a_field_has_one_place_in_its_table() {
        for fields in [
            &embedding::FIELDS,
            &tokenization::FIELDS,
            &tokenization::DETOKENIZE_FIELDS,
            &ranking::SCORE_FIELDS,
            &ranking::RERANK_FIELDS,
            &transcription::FIELDS,
        ] {
            let renamed: Vec<_> = fields.renamed.iter().map(|(theirs, _)| *theirs).collect();
            let mut names = [fields.inputs, fields.same, &renamed, fields.own].concat();
            let n_names = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), n_names, "{names:?}");
        }
    }
}
