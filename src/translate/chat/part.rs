//! A piece of a turn: text, media, or a tensor.

use std::collections::BTreeMap;

use crate::{
    config::Policy,
    openai::request::{Json, Part, PartKind},
    proto::{self, content_part},
    translate::{invalid::InvalidRequest, json},
};

use super::{media, media_type::Kind};

/// The kinds of tensors, each with the member that holds it (`MM_PARSER_MAP`, vLLM 0.33).
const EMBEDS: [(&str, &str); 4] = [
    ("audio_embeds", "audio_embeds"),
    ("image_embeds", "image_embeds"),
    ("prompt_embeds", "data"),
    ("video_embeds", "video_embeds"),
];

/// The members by which vLLM tells what a part is and where its content lies (`_KNOWN_CONTENT_PART_FIELDS`, vLLM 0.33),
/// beside those that end in [`CONTENT_ENDS`]. Another URL among them would get past the check of its host.
const CONTENT: [&str; 15] = [
    "audio",
    "closed",
    "data",
    "detail",
    "file",
    "image",
    "input_audio",
    "name",
    "refusal",
    "text",
    "thinking",
    "tool_reference",
    "type",
    "uuid",
    "video",
];
const CONTENT_ENDS: [&str; 3] = ["_embeds", "_pil", "_url"];

/// The piece as vLLM takes it.
pub(super) fn part(part: proto::ContentPart, policy: &Policy) -> Result<Part, InvalidRequest> {
    use content_part::Part as Piece;

    let proto::ContentPart { part, extra_json } = part;
    let members = extra(extra_json)?;
    let of_media = |name, kind, media| {
        media::part(kind, media, policy).map_err(|invalid| invalid.within(name))
    };
    let kind = match part {
        Some(Piece::Text(text)) => PartKind::Text { text },
        Some(Piece::Thinking(thinking)) => PartKind::Thinking { thinking },
        Some(Piece::Refusal(refusal)) => PartKind::Refusal { refusal },
        Some(Piece::ToolReference(name)) => PartKind::ToolReference { name },
        Some(Piece::Image(image)) => of_media("image", Some(Kind::Image), image)?,
        Some(Piece::Audio(audio)) => of_media("audio", Some(Kind::Audio), audio)?,
        Some(Piece::Video(video)) => of_media("video", Some(Kind::Video), video)?,
        Some(Piece::File(file)) => of_media("file", None, file)?,
        Some(Piece::EmbedsJson(embeds)) if members.is_empty() => {
            let (kind, members) = (None, self::embeds(embeds, policy)?);
            return Ok(Part { kind, members });
        }
        Some(Piece::EmbedsJson(_)) => {
            let description = "is not allowed beside `embeds_json`";
            return Err(InvalidRequest::new("extra_json", description));
        }
        None => {
            let description = "must have `text`, `image`, `audio`, `video`, `file`, `thinking`, \
                `refusal`, `tool_reference` or `embeds_json` set";
            return Err(InvalidRequest::new("", description));
        }
    };
    let kind = Some(kind);
    Ok(Part { kind, members })
}

/// The members of a JSON text of an object.
fn members(field: &str, text: String) -> Result<BTreeMap<String, Json>, InvalidRequest> {
    let object = json::object(field, text, json::MAX_DEPTH)?;
    json::members(field, &object)
}

/// Further members, which say nothing about the content.
fn extra(text: String) -> Result<BTreeMap<String, Json>, InvalidRequest> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let members = members("extra_json", text)?;
    let is_content = |name: &&String| {
        CONTENT.contains(&name.as_str()) || CONTENT_ENDS.iter().any(|end| name.ends_with(end))
    };
    match members.keys().find(is_content) {
        None => Ok(members),
        Some(_) => {
            let description = "must not have a member by which vLLM tells the part's content";
            Err(InvalidRequest::new("extra_json", description))
        }
    }
}

/// A tensor, as far as the operator allows its type; a member more could be a URL.
fn embeds(text: String, policy: &Policy) -> Result<BTreeMap<String, Json>, InvalidRequest> {
    let refused = |description| Err(InvalidRequest::new("embeds_json", description));
    let members = members("embeds_json", text)?;
    let kind = members.get("type").map_or("", |kind| kind.get());
    let kind = EMBEDS
        .iter()
        .find(|(name, _)| kind.trim_matches('"') == *name);
    let Some((name, payload)) = kind else {
        return refused(
            "`type` must be `audio_embeds`, `image_embeds`, `prompt_embeds` or `video_embeds`",
        );
    };
    if !policy.extra_body_keys.contains(*name) {
        return refused(
            "its `type` is not among the keys that the operator allows (--allow-extra-body)",
        );
    }
    let is_known = |member: &String| ["type", "uuid", payload].contains(&member.as_str());
    if !members.keys().all(is_known) {
        return refused("must have `type`, its payload and `uuid`, and no other member");
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{content_part::Part as Piece, *};

    fn translated(part: Piece, extra: &str) -> Result<Value, InvalidRequest> {
        let policy = Policy {
            extra_body_keys: ["image_embeds", "prompt_embeds"].map(str::to_owned).into(),
            ..Policy::default()
        };
        let part = proto::ContentPart {
            part: Some(part),
            extra_json: extra.to_owned(),
        };
        super::part(part, &policy).map(|part| serde_json::to_value(part).unwrap())
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn embeds(json: &str) -> Piece {
        Piece::EmbedsJson(json.to_owned())
    }

    #[test]
    fn a_piece_has_its_type_and_further_members() {
        let refusal = Piece::Refusal("No.".to_owned());
        let reference = Piece::ToolReference("f".to_owned());
        let tensor = r#"{"type":"image_embeds","image_embeds":{"a":"x"},"uuid":"u"}"#;
        let prompt = r#"{"type":"prompt_embeds","data":"x"}"#;
        for (piece, extra, expected) in [
            (text(""), "", json!({"type": "text", "text": ""})),
            (
                text("a"),
                r#"{"cache_control":{"type":"ephemeral"}}"#,
                json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}),
            ),
            (
                Piece::Thinking("Hm.".to_owned()),
                "{}",
                json!({"type": "thinking", "thinking": "Hm."}),
            ),
            (refusal, "", json!({"type": "refusal", "refusal": "No."})),
            (
                reference,
                "",
                json!({"type": "tool_reference", "name": "f"}),
            ),
            (embeds(tensor), "", serde_json::from_str(tensor).unwrap()),
            (embeds(prompt), "", serde_json::from_str(prompt).unwrap()),
        ] {
            assert_eq!(translated(piece, extra), Ok(expected));
        }
    }

    #[test]
    fn other_members_and_types_are_refused() {
        for (piece, extra, field, says) in [
            (text("a"), r#"{"image_url":"x"}"#, "extra_json", "content"),
            (text("a"), r#"{"new_url":"x"}"#, "extra_json", "content"),
            (text("a"), r#"{"uuid":"x"}"#, "extra_json", "content"),
            (text("a"), r#"{"a":1,"a":2}"#, "extra_json", "duplicate"),
            (text("a"), "[]", "extra_json", "must be a JSON object"),
            (embeds("{}"), "", "embeds_json", "`type` must be"),
            (
                embeds(r#"{"type":"image_url"}"#),
                "",
                "embeds_json",
                "`type` must be",
            ),
            (
                embeds(r#"{"type":"audio_embeds"}"#),
                "",
                "embeds_json",
                "operator",
            ),
            (
                embeds(r#"{"type":"image_embeds","image_url":"x"}"#),
                "",
                "embeds_json",
                "no other member",
            ),
            (embeds("{}"), r#"{"a":1}"#, "extra_json", "beside"),
        ] {
            let invalid = translated(piece, extra).unwrap_err();
            let violation = &invalid.violations()[0];
            assert_eq!(violation.field, field);
            assert!(violation.description.contains(says), "{invalid}");
        }
    }
}
