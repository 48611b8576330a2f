//! Estimates what a request takes once it is decoded, before it is.
//!
//! An empty message within a message takes two bytes on the wire, and 150 once decoded. A list of a million of them is
//! cheap to send, and is decoded before any limit of the contract is checked. So elements are counted on
//! the wire first (<https://protobuf.dev/programming-guides/encoding>).

use std::{collections::HashMap, sync::LazyLock};

use prost_types::{FileDescriptorSet, field_descriptor_proto::Type};

/// Messages that any request may hold, however small they are: twice the turns that a chat may have.
const FREE: usize = 8192;

/// Bytes of a request that pay for one more: what a short chat turn takes.
const BYTES_EACH: usize = 16;

/// At most what an element takes beyond its bytes, in bytes: decoded, while its list grows, translated, and in JSON.
/// Of a message, for each field that it may have.
const FIELD_MEMORY: usize = 72;
const TEXT_MEMORY: usize = 96;
const NUMBER_MEMORY: usize = 8;

/// The same for a character that JSON escapes, as `\u0000`.
const ESCAPE_MEMORY: usize = 8;

/// A request holds more messages than its size allows.
#[derive(Debug, thiserror::Error)]
#[error("too many elements for the size of the request")]
pub(super) struct TooMany;

/// What a message may hold.
#[derive(Debug)]
struct Shape {
    n_fields: usize,
    /// The fields that hold elements: their numbers, and what these are.
    elements: Vec<(u64, Element)>,
}

#[derive(Clone, Copy, Debug)]
enum Element {
    /// That message of the contract.
    Message(usize),
    /// Text or bytes.
    Text,
    /// A list of numbers in one piece.
    Numbers,
}

/// The messages of the contract.
#[derive(Debug, Default)]
struct Shapes {
    shapes: Vec<Shape>,
    /// The request messages, by full name.
    requests: HashMap<String, usize>,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| Shapes::new(&super::DESCRIPTORS));

/// At most the memory that a request takes beyond a few times its bytes, in bytes; refuses one that holds too many
/// messages. The decoder refuses malformed protobuf. `name` is the request's full name; 0 for what is no request.
pub(super) fn memory(name: &str, bytes: &[u8]) -> Result<usize, TooMany> {
    SHAPES.memory(name, bytes)
}

impl Shapes {
    fn new(set: &FileDescriptorSet) -> Self {
        let mut messages = HashMap::new();
        for file in &set.file {
            let mut unnamed: Vec<_> = file
                .message_type
                .iter()
                .map(|message| (format!(".{}", file.package()), message))
                .collect();
            while let Some((scope, message)) = unnamed.pop() {
                let name = format!("{scope}.{}", message.name());
                let nested = message.nested_type.iter();
                unnamed.extend(nested.map(|nested| (name.clone(), nested)));
                messages.insert(name, message);
            }
        }
        let numbers: HashMap<&str, usize> = messages.keys().map(String::as_str).zip(0..).collect();
        let element = |field: &prost_types::FieldDescriptorProto| match field.r#type() {
            Type::Message => numbers.get(field.type_name()).map(|&n| Element::Message(n)),
            Type::String | Type::Bytes => Some(Element::Text),
            // Other numbers are no larger in memory, and a single one comes without a length.
            Type::Int32 | Type::Enum => Some(Element::Numbers),
            _ => None,
        };
        let shape = |message: &&prost_types::DescriptorProto| {
            let elements = message.field.iter().filter_map(|field| {
                let number = u64::try_from(field.number()).ok()?;
                Some((number, element(field)?))
            });
            Shape {
                n_fields: message.field.len(),
                elements: elements.collect(),
            }
        };
        let services = set.file.iter().flat_map(|file| &file.service);
        let inputs = services.flat_map(|service| &service.method);
        let inputs = inputs.filter_map(|method| {
            let name = method.input_type();
            Some((name.strip_prefix('.')?.to_owned(), *numbers.get(name)?))
        });
        Self {
            requests: inputs.collect(),
            shapes: messages.values().map(shape).collect(),
        }
    }

    fn memory(&self, name: &str, bytes: &[u8]) -> Result<usize, TooMany> {
        let Some(&request) = self.requests.get(name) else {
            return Ok(0);
        };
        let is_escaped = |byte: &&u8| matches!(byte, 0..b' ' | b'"' | b'\\');
        let mut memory = ESCAPE_MEMORY * bytes.iter().filter(is_escaped).count();
        let mut n_left = FREE + bytes.len() / BYTES_EACH;
        self.count(request, bytes, &mut memory, &mut n_left)?;
        Ok(memory)
    }

    /// Adds the memory of a message's elements, and subtracts their messages from `n_left`. The contract nests messages a
    /// few deep, which bounds the depth.
    fn count(
        &self,
        message: usize,
        mut bytes: &[u8],
        memory: &mut usize,
        n_left: &mut usize,
    ) -> Result<(), TooMany> {
        let Some(shape) = self.shapes.get(message) else {
            return Ok(());
        };
        *memory += FIELD_MEMORY * shape.n_fields;
        while let Some((field, value)) = next_field(&mut bytes) {
            let element = shape.elements.iter().find(|(number, _)| *number == field);
            let (Some(&(_, element)), Some(value)) = (element, value) else {
                continue;
            };
            match element {
                Element::Message(child) => {
                    *n_left = n_left.checked_sub(1).ok_or(TooMany)?;
                    self.count(child, value, memory, n_left)?;
                }
                Element::Text => *memory += TEXT_MEMORY,
                // The last byte of each has no high bit.
                Element::Numbers => {
                    *memory += NUMBER_MEMORY * value.iter().filter(|byte| **byte < 0x80).count();
                }
            }
        }
        Ok(())
    }
}

/// The number of the next field, and its bytes if it is length-delimited; `None` at the end, or at malformed protobuf.
///
/// The tags of a group pass as fields without a value, and its content as fields of the message.
fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    const FIXED_64: u64 = 1;
    const LENGTH: u64 = 2;
    const FIXED_32: u64 = 5;
    let key = varint(bytes)?;
    let (field, wire_type) = (key >> 3, key & 7);
    let n_bytes = match wire_type {
        0 => {
            varint(bytes)?;
            0
        }
        FIXED_64 => 8,
        LENGTH => usize::try_from(varint(bytes)?).ok()?,
        FIXED_32 => 4,
        _ => 0,
    };
    let (value, rest) = bytes.split_at_checked(n_bytes)?;
    *bytes = rest;
    Some((field, (wire_type == LENGTH).then_some(value)))
}

/// A number of at most ten bytes, seven bits each, the least first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::{Message, Name};

    use super::*;
    use crate::proto::{
        ChatMessage, ContentPart, Conversation, EmbedRequest, EmbedResponse, Embedding,
        GenerateRequest, TokenIds, Tool, content_part::Part,
    };

    #[track_caller]
    fn check<M: Message + Name>(message: &M, is_taken: bool) {
        let bytes = message.encode_to_vec();
        let taken = SHAPES.memory(&M::full_name(), &bytes).is_ok();
        assert_eq!(taken, is_taken, "{} bytes", bytes.len());
    }

    fn chat(messages: Vec<ChatMessage>) -> GenerateRequest {
        GenerateRequest {
            messages,
            ..GenerateRequest::default()
        }
    }

    #[test]
    fn messages_are_counted_wherever_they_stand() {
        let parts = |n| ChatMessage {
            parts: vec![ContentPart::default(); n],
            ..ChatMessage::default()
        };
        let conversation = Conversation {
            messages: vec![parts(5_000), parts(5_000)],
        };
        check(&chat(vec![ChatMessage::default(); 8_192]), true);
        check(&chat(vec![ChatMessage::default(); 10_000]), false);
        check(&chat(vec![parts(8_191)]), true);
        check(&chat(vec![parts(10_000)]), false);
        check(&chat(vec![parts(5_000), parts(5_000)]), false);
        let embed = EmbedRequest {
            conversations: vec![conversation],
            ..EmbedRequest::default()
        };
        check(&embed, false);
        let tools = GenerateRequest {
            tools: vec![Tool::default(); 10_000],
            ..GenerateRequest::default()
        };
        check(&tools, false);
    }

    #[test]
    fn what_has_a_size_of_its_own_is_taken_in_any_number() {
        let turn = ChatMessage {
            role: 1,
            content: "How are you?".to_owned(),
            ..ChatMessage::default()
        };
        check(&chat(vec![turn; 100_000]), true);
        let ids = TokenIds {
            ids: vec![1000; 16],
        };
        let inputs = EmbedRequest {
            token_inputs: vec![ids; 100_000],
            ..EmbedRequest::default()
        };
        check(&inputs, true);
        let texts = EmbedRequest {
            texts: vec!["a".to_owned(); 100_000],
            ..EmbedRequest::default()
        };
        check(&texts, true);
    }

    #[test]
    fn text_is_not_taken_for_messages() {
        let text = GenerateRequest {
            prompt: "\u{1a}\0".repeat(100_000),
            ..GenerateRequest::default()
        };
        check(&text, true);
        let part = ContentPart {
            part: Some(Part::Text("\n\0".repeat(100_000))),
            ..ContentPart::default()
        };
        let turn = ChatMessage {
            parts: vec![part],
            ..ChatMessage::default()
        };
        check(&chat(vec![turn]), true);
    }

    #[test]
    fn what_takes_more_than_its_bytes_is_estimated() {
        let memory = |request: &GenerateRequest| {
            let bytes = request.encode_to_vec();
            SHAPES
                .memory(&GenerateRequest::full_name(), &bytes)
                .unwrap()
        };
        let text = |text: &str| GenerateRequest {
            prompt: text.to_owned(),
            ..GenerateRequest::default()
        };
        // Keys and lengths may look like characters that are escaped.
        let plain = memory(&text(&"x".repeat(1000)));
        assert!(plain < 8192, "{plain}");
        let escapes = "\u{1}\n\"\\".repeat(250);
        assert_eq!(memory(&text(&escapes)), plain + 1000 * ESCAPE_MEMORY);
        let ids = GenerateRequest {
            stop_token_ids: vec![1000; 100],
            ..GenerateRequest::default()
        };
        assert!(memory(&ids) >= plain + 100 * NUMBER_MEMORY);
        let stops = GenerateRequest {
            stop: vec![String::new(); 100],
            ..GenerateRequest::default()
        };
        assert!(memory(&stops) >= plain + 99 * TEXT_MEMORY);
        let turn = ChatMessage {
            parts: vec![ContentPart::default(); 99],
            ..ChatMessage::default()
        };
        assert!(memory(&chat(vec![turn])) >= plain + 99 * 5 * FIELD_MEMORY);
    }

    #[test]
    fn answers_are_not_counted() {
        let answer = EmbedResponse {
            embeddings: vec![Embedding::default(); 100_000],
            ..EmbedResponse::default()
        };
        check(&answer, true);
    }

    #[test]
    fn what_is_no_protobuf_does_not_hide_what_comes_before() {
        let name = GenerateRequest::full_name();
        let messages = chat(vec![ChatMessage::default(); 10_000]).encode_to_vec();
        // A group of field 1000, empty and of an unknown field, and a number that does not end.
        for head in [&[0xc3, 0x3e, 0xc4, 0x3e][..], &[0x08, 0x01], &[]] {
            let bytes = [head, &messages, &[0xff; 20]].concat();
            assert!(SHAPES.memory(&name, &bytes).is_err(), "{head:?}");
        }
        for bytes in [&[0xff; 20][..], &[0x1a, 0xff], &[0x1a, 5, 0]] {
            assert!(SHAPES.memory(&name, bytes).is_ok(), "{bytes:?}");
        }
    }
}
