//! Media types: given by the caller, or read from the first bytes of a file.

use crate::translate::invalid::InvalidRequest;

/// Longest media type, in bytes.
const MAX_LENGTH: usize = 127;

/// The kinds of media that vLLM has parts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::translate) enum Kind {
    Image,
    Audio,
    Video,
}

/// Formats that hold sound or video.
const CONTAINERS: [&str; 3] = ["mp4", "ogg", "webm"];

/// A media type as a caller gave it; `None` where it is empty.
pub(in crate::translate) fn checked(media_type: String) -> Result<Option<String>, InvalidRequest> {
    if media_type.is_empty() {
        return Ok(None);
    }
    let is_token = |part: &str| {
        let is_of_token = |c: char| c.is_ascii_alphanumeric() || "!#$&^_.+-".contains(c);
        !part.is_empty() && part.chars().all(is_of_token)
    };
    let is_media_type = media_type
        .split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    if !is_media_type || media_type.len() > MAX_LENGTH {
        let description = "must be a media type without parameters, as `image/png`";
        return Err(InvalidRequest::new("media_type", description));
    }
    Ok(Some(media_type.to_ascii_lowercase()))
}

/// The kind of media of a media type.
pub(super) fn kind(media_type: &str) -> Option<Kind> {
    match media_type.split_once('/')?.0 {
        "image" => Some(Kind::Image),
        "audio" => Some(Kind::Audio),
        "video" => Some(Kind::Video),
        _ => None,
    }
}

/// The media type of a file, by its first bytes; of the wanted kind, if one is set.
pub(in crate::translate) fn read(
    data: &[u8],
    wanted: Option<Kind>,
) -> Result<String, InvalidRequest> {
    let Some((kind, subtype)) = format(data) else {
        let description = "is required: the first bytes are of no known type";
        return Err(InvalidRequest::new("media_type", description));
    };
    let kind = match wanted {
        Some(wanted @ (Kind::Audio | Kind::Video)) if CONTAINERS.contains(&subtype) => wanted,
        _ => kind,
    };
    if wanted.is_some_and(|wanted| wanted != kind) {
        let description = format!("the bytes are {}/{subtype}", word(kind));
        return Err(InvalidRequest::new("data", description));
    }
    Ok(format!("{}/{subtype}", word(kind)))
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Image => "image",
        Kind::Audio => "audio",
        Kind::Video => "video",
    }
}

/// The kind and the subtype of a file, by its first bytes; of a container, the usual kind.
fn format(data: &[u8]) -> Option<(Kind, &'static str)> {
    use Kind::{Audio, Image, Video};

    let format = match data {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => (Image, "png"),
        [0xFF, 0xD8, 0xFF, ..] => (Image, "jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => (Image, "gif"),
        [b'B', b'M', ..] => (Image, "bmp"),
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => (Image, "tiff"),
        [b'R', b'I', b'F', b'F', _, _, _, _, form @ ..] => return riff(form),
        [b'f', b'L', b'a', b'C', ..] => (Audio, "flac"),
        [b'I', b'D', b'3', ..] => (Audio, "mpeg"),
        // The sync word of a frame; layer 0 is AAC in ADTS, the others are MPEG audio.
        [0xFF, second, ..] if second & 0xF6 == 0xF0 => (Audio, "aac"),
        [0xFF, second, ..] if second & 0xE0 == 0xE0 => (Audio, "mpeg"),
        [b'O', b'g', b'g', b'S', ..] => (Audio, "ogg"),
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => return iso(brand),
        // EBML: WebM, or the Matroska that it is a part of.
        [0x1A, 0x45, 0xDF, 0xA3, ..] => (Video, "webm"),
        [0, 0, 1, 0xBA | 0xB3, ..] => (Video, "mpeg"),
        _ => return None,
    };
    Some(format)
}

fn riff(form: &[u8]) -> Option<(Kind, &'static str)> {
    match form {
        [b'W', b'E', b'B', b'P', ..] => Some((Kind::Image, "webp")),
        [b'W', b'A', b'V', b'E', ..] => Some((Kind::Audio, "wav")),
        [b'A', b'V', b'I', b' ', ..] => Some((Kind::Video, "x-msvideo")),
        _ => None,
    }
}

/// The family of MP4, by its major brand.
fn iso(brand: &[u8]) -> Option<(Kind, &'static str)> {
    match brand {
        [b'a', b'v', b'i', b'f' | b's', ..] => Some((Kind::Image, "avif")),
        [b'h', b'e', b'i', b'c' | b'x', ..] => Some((Kind::Image, "heic")),
        [b'M', b'4', b'A' | b'B', b' ', ..] => Some((Kind::Audio, "mp4")),
        [b'q', b't', b' ', b' ', ..] => Some((Kind::Video, "quicktime")),
        [_, _, _, _, ..] => Some((Kind::Video, "mp4")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(data: &[u8], wanted: Option<Kind>, expected: &str) {
        assert_eq!(read(data, wanted).unwrap(), expected);
    }

    #[test]
    fn the_first_bytes_tell_the_type() {
        for (data, expected) in [
            (&b"\x89PNG\r\n\x1a\n\0"[..], "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"GIF89a", "image/gif"),
            (b"BM\x36", "image/bmp"),
            (b"II*\0", "image/tiff"),
            (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
            (b"\0\0\0\x20ftypavif", "image/avif"),
            (b"\0\0\0\x20ftypheic", "image/heic"),
            (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
            (b"fLaC\0", "audio/flac"),
            (b"ID3\x04", "audio/mpeg"),
            (b"\xff\xfb\x90", "audio/mpeg"),
            (b"\xff\xf1\x50", "audio/aac"),
            (b"OggS\0", "audio/ogg"),
            (b"\0\0\0\x20ftypM4A \0", "audio/mp4"),
            (b"\0\0\0\x20ftypisom\0", "video/mp4"),
            (b"\0\0\0\x14ftypqt  ", "video/quicktime"),
            (b"\x1a\x45\xdf\xa3\x01", "video/webm"),
            (b"RIFF\x24\0\0\0AVI LIST", "video/x-msvideo"),
            (b"\0\0\x01\xba", "video/mpeg"),
        ] {
            check(data, None, expected);
        }
    }

    #[test]
    fn a_container_holds_what_the_part_says() {
        check(b"\x1a\x45\xdf\xa3", Some(Kind::Audio), "audio/webm");
        check(b"\0\0\0\x20ftypisom", Some(Kind::Audio), "audio/mp4");
        check(b"OggS\0", Some(Kind::Video), "video/ogg");
    }

    #[test]
    fn bytes_of_another_kind_are_refused() {
        for (data, wanted, field) in [
            (&b"fLaC\0"[..], Some(Kind::Image), "data"),
            (b"OggS\0", Some(Kind::Image), "data"),
            (b"GIF89a", Some(Kind::Audio), "data"),
            (b"hello", Some(Kind::Image), "media_type"),
            (b"%PDF-1.7", None, "media_type"),
            (b"", None, "media_type"),
            (b"\0\0\0\x20ftyp", None, "media_type"),
        ] {
            let invalid = read(data, wanted).unwrap_err();
            assert_eq!(invalid.violations()[0].field, field, "{invalid}");
        }
    }

    #[test]
    fn a_given_type_is_a_type_and_no_more() {
        assert_eq!(checked(String::new()).unwrap(), None);
        let given = checked("Image/SVG+xml".to_owned()).unwrap();
        assert_eq!(given.as_deref(), Some("image/svg+xml"));
        let long = format!("image/{}", "x".repeat(MAX_LENGTH));
        for text in [
            "png",
            "image/",
            "/png",
            "image/png;base64,",
            "a/b/c",
            "image /png",
            "image/pñg",
            &long,
        ] {
            assert!(checked(text.to_owned()).is_err(), "{text}");
        }
    }
}
