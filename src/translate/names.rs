//! The names of a request's fields in both vocabularies: which member an extra body may not have, and which field of the
//! contract an upstream's error is about.
//!
//! A field has one name in both unless a table below says otherwise.

mod tables;

use prost::Name;
use prost_types::{FieldDescriptorProto, field_descriptor_proto::Label};

use crate::proto;
pub(super) use tables::{
    CLASSIFY, DETOKENIZE, EMBED, GENERATE, GENERATE_BATCH, GENERATE_STRUCTURED, POOL, RERANK,
    SCORE, TOKENIZE, TRANSCRIBE, TRANSCRIBE_SUBTITLES,
};
use tables::{MODELS, PARTS};

/// The names of one request that are exceptions; lists of names are separated by spaces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The request message of the contract.
    message: &'static str,
    /// vLLM's names of the input, whichever field of the contract holds it.
    inputs: &'static str,
    /// vLLM's name, and the contract's.
    renamed: &'static [(&'static str, &'static str)],
    /// Fields that the adapter sets by itself.
    own: &'static str,
    /// Fields that a caller can send through `extra_body_json` alone.
    untyped: &'static str,
    /// Fields that vLLM takes and ignores, which go there too, for what stands before it.
    ignored: &'static str,
    /// Words of errors that name no parameter, and the field that they are about (vLLM 0.33).
    told: &'static [(&'static str, &'static str)],
    /// The field that holds chats, which errors about their [`PARTS`] are about.
    chats: Option<&'static str>,
    /// Whether an index in a list, and the member of a message, stay in the path.
    keeps_path: bool,
    /// Whether only some models can do it. vLLM offers chat and completions for every model that generates, so a
    /// generation that finds no route went to the wrong place.
    is_optional: bool,
}

/// The fields of the request that an upstream's request was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    names: &'static Names,
    /// The field that holds the input.
    input: &'static str,
    asks_for_much: bool,
}

impl Names {
    /// Whether a member of `extra_body_json` would stand for a typed field or for one that the adapter sets.
    pub(super) fn has(&self, name: &str) -> bool {
        has_word(self.inputs, name)
            || has_word(self.own, name)
            || self.renamed(name).is_some()
            || field(self.message, name).is_some()
    }

    /// Whether vLLM ignores a field, so that a caller should know of it.
    pub(super) fn ignores(&self, name: &str) -> bool {
        has_word(self.ignored, name)
    }

    fn renamed(&self, name: &str) -> Option<&'static str> {
        let renamed = self.renamed.iter().find(|(theirs, _)| *theirs == name);
        renamed.map(|(_, ours)| *ours)
    }
}

impl Fields {
    pub(crate) const SCORE: Self = Self::new(&SCORE, "documents");
    pub(crate) const RERANK: Self = Self::new(&RERANK, "documents");
    pub(crate) const DETOKENIZE: Self = Self::new(&DETOKENIZE, "token_ids");
    pub(crate) const MODELS: Self = Self::new(&MODELS, "");

    /// The fields of a transcription or a translation.
    pub(crate) fn of_sound(request: &proto::TranscribeRequest) -> Self {
        let has_times = !request.timestamps.is_empty();
        let has_subtitles = request.subtitles != 0 && !has_times;
        let names = if has_subtitles {
            &TRANSCRIBE_SUBTITLES
        } else {
            &TRANSCRIBE
        };
        Self::new(names, "audio")
    }

    /// The fields of a request whose input is in that field.
    pub(super) const fn new(names: &'static Names, input: &'static str) -> Self {
        Self {
            names,
            input,
            asks_for_much: false,
        }
    }

    /// The path of the field that vLLM calls `param`, as `messages[0].content` of `body.messages.0.content`.
    ///
    /// `None` where the adapter itself made that field, and for names that the contract does not know.
    pub(crate) fn path(&self, param: &str) -> Option<String> {
        let (name, rest) = steps(param);
        if has_word(self.names.inputs, name) {
            return Some(self.input_path(rest));
        }
        if let Some(chats) = self.names.chats.filter(|_| has_word(PARTS, name)) {
            return (self.input == chats).then(|| chats.to_owned());
        }
        if let Some(ours) = self.names.renamed(name) {
            return Some(ours.to_owned());
        }
        if has_word(self.names.untyped, name) || self.names.ignores(name) {
            return Some("extra_body_json".to_owned());
        }
        let field = field(self.names.message, name)?;
        Some(format!("{name}{}", self.index(field, rest)))
    }

    /// The path of the field that the text of an error is about, where the error names no parameter.
    pub(crate) fn of_text(&self, text: &str) -> Option<String> {
        let told = self.names.told.iter();
        let told = told.copied().find(|(words, _)| text.contains(words));
        told.map(|(_, field)| field.to_owned())
    }

    /// Whether the adapter itself made the field that vLLM calls `param`, so that no caller can correct it.
    pub(crate) fn is_own(&self, param: &str) -> bool {
        has_word(self.names.own, steps(param).0)
    }

    /// The same, where the request asks for more than text, as for log probabilities.
    pub(super) fn asking_for_much(self, asks_for_much: bool) -> Self {
        Self {
            asks_for_much,
            ..self
        }
    }

    /// Whether the size of the answer is what the request asks for, not the length of its text.
    pub(crate) fn asks_for_much(&self) -> bool {
        self.asks_for_much
    }

    /// Whether a router without the route means that the model cannot do it.
    pub(crate) fn is_optional(&self) -> bool {
        self.names.is_optional
    }

    /// The input, down to the member of a message where both vocabularies have it.
    fn input_path(&self, rest: &str) -> String {
        let field_of_input = field(self.names.message, self.input);
        let index = field_of_input.map_or(String::new(), |input| self.index(input, rest));
        let is_chat = self.input == "messages" && !index.is_empty();
        let mut members = rest.split('.').filter(|_| is_chat);
        let member = members.find(|name| field(proto::ChatMessage::NAME, name).is_some());
        let member = member.map_or(String::new(), |member| format!(".{member}"));
        format!("{}{index}{member}", self.input)
    }

    /// `[3]` where the path goes on with `3` into a list.
    fn index(&self, field: &FieldDescriptorProto, rest: &str) -> String {
        let is_list = self.names.keeps_path && field.label() == Label::Repeated;
        let n = rest.split('.').next().unwrap_or_default();
        match n.parse::<u32>() {
            Ok(n) if is_list => format!("[{n}]"),
            _ => String::new(),
        }
    }
}

impl Default for Fields {
    fn default() -> Self {
        Self::new(&GENERATE, "prompt")
    }
}

fn has_word(words: &str, name: &str) -> bool {
    words.split_whitespace().any(|word| word == name)
}

/// The first step of a path and the rest, as `input` and `3` of `body.input.3`.
fn steps(param: &str) -> (&str, &str) {
    let param = param.strip_prefix("body.").unwrap_or(param);
    param.split_once('.').unwrap_or((param, ""))
}

/// The field of that name in a message of the contract.
fn field(message: &str, name: &str) -> Option<&'static FieldDescriptorProto> {
    let mut messages = proto::DESCRIPTORS
        .file
        .iter()
        .flat_map(|file| &file.message_type);
    let message = messages.find(|it| it.name() == message)?;
    message.field.iter().find(|it| it.name() == name)
}

#[cfg(test)]
mod tests;
