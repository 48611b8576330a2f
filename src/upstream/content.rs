//! What a request carries: a body in pieces, and its media type.

use std::{collections::VecDeque, fmt, io::IoSlice};

use bytes::{Buf, Bytes};
use http::{HeaderValue, header::InvalidHeaderValue};
use serde::Serialize;

use super::error::{Error, Malformed};
use crate::openai::transcription::TranscriptionForm;

/// A request's body with its media type. Clones share the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(super) media_type: HeaderValue,
    pub(super) body: Pieces,
}

/// Bytes that are sent piece by piece without being put together. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Pieces(VecDeque<Bytes>);

// === impl Content ===

impl Content {
    /// A JSON body.
    pub(crate) fn json(body: &impl Serialize) -> Result<Self, Error> {
        let json = serde_json::to_vec(body)
            .map_err(|error| Error::Protocol(Malformed::Json(error.into())))?;
        Ok(Self {
            media_type: HeaderValue::from_static("application/json"),
            body: Pieces::from_iter([json.into()]),
        })
    }

    /// A form with a file ([RFC 7578]), whose bytes are not copied.
    ///
    /// [RFC 7578]: https://www.rfc-editor.org/rfc/rfc7578
    pub(crate) fn form(form: TranscriptionForm) -> Result<Self, Error> {
        let boundary = boundary(&form);
        let media_type = format!("multipart/form-data; boundary={boundary}");
        let media_type = HeaderValue::try_from(media_type)
            .map_err(|error: InvalidHeaderValue| Error::Connect(error.into()))?;
        let TranscriptionForm { fields, file } = form;
        let mut head = String::new();
        for (name, value) in fields {
            head += &format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
        }
        head += &format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
            file.name, file.media_type
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        Ok(Self {
            media_type,
            body: Pieces::from_iter([head.into(), file.data, tail.into()]),
        })
    }
}

/// A line that no part of the form holds, so that none of them can pose as another.
fn boundary(form: &TranscriptionForm) -> String {
    loop {
        let boundary = format!("{:032x}", fastrand::u128(..));
        let finder = memchr::memmem::Finder::new(&boundary);
        let values = form.fields.iter().map(|(_name, value)| value.as_bytes());
        let mut parts = values.chain([&*form.file.data]);
        if parts.all(|part| finder.find(part).is_none()) {
            return boundary;
        }
    }
}

// === impl Pieces ===

impl FromIterator<Bytes> for Pieces {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        // An empty piece would look like the end.
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
        Self(pieces.collect())
    }
}

impl Pieces {
    /// The same after one more piece.
    pub(super) fn after(mut self, first: Bytes) -> Self {
        self.0.push_front(first);
        self
    }
}

/// Without the bytes, among which are a key and a prompt.
impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pieces({} bytes)", self.remaining())
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map(AsRef::as_ref).unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pairs = slices.iter_mut().zip(&self.0);
        pairs
            .map(|(slice, piece)| *slice = IoSlice::new(piece))
            .count()
    }

    fn advance(&mut self, mut n_bytes: usize) {
        while let Some(first) = self.0.front_mut() {
            if n_bytes < first.len() {
                first.advance(n_bytes);
                return;
            }
            n_bytes -= first.len();
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::transcription::File;

    fn text(content: &Content) -> String {
        let pieces: Vec<u8> = content.body.0.iter().flatten().copied().collect();
        String::from_utf8(pieces).unwrap()
    }

    fn form(fields: &[(&str, &str)], data: &'static [u8]) -> TranscriptionForm {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        TranscriptionForm {
            fields: fields.iter().map(owned).collect(),
            file: File {
                name: "a.wav".to_owned(),
                media_type: "audio/wav".to_owned(),
                data: Bytes::from_static(data),
            },
        }
    }

    #[test]
    fn json_is_one_piece() {
        let content = Content::json(&[1, 2]).unwrap();
        assert_eq!(content.media_type, "application/json");
        assert_eq!(text(&content), "[1,2]");
        assert_eq!(content.body.remaining(), 5);
    }

    #[test]
    fn a_form_is_framed_by_its_boundary() {
        let content = Content::form(form(&[("model", "m"), ("prompt", "ä")], b"RIFF")).unwrap();
        let media_type = content.media_type.to_str().unwrap();
        let (kind, boundary) = media_type.split_once("; boundary=").unwrap();
        assert_eq!(kind, "multipart/form-data");
        let expected = [
            "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n",
            "--B\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nä\r\n",
            "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n",
            "Content-Type: audio/wav\r\n\r\nRIFF\r\n--B--\r\n",
        ];
        assert_eq!(
            text(&content),
            expected.concat().replace("--B", &format!("--{boundary}"))
        );
        assert_eq!(content.body.remaining(), text(&content).len());
    }

    #[test]
    fn pieces_are_sent_in_parts_of_any_size() {
        let whole = Pieces::from_iter(["ab", "", "c", "def"].map(Bytes::from)).after("x".into());
        for step in 1..=whole.remaining() {
            let (mut rest, mut sent) = (whole.clone(), Vec::new());
            while rest.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 8];
                let n_slices = rest.chunks_vectored(&mut slices);
                let bytes = slices[..n_slices].iter().flat_map(|slice| slice.iter());
                let part: Vec<u8> = bytes.copied().take(step).collect();
                rest.advance(part.len());
                sent.extend(part);
            }
            assert_eq!(sent, b"xabcdef", "{step}");
        }
    }

    #[test]
    fn the_file_is_not_copied() {
        let form = form(&[], b"sound");
        let sent = form.file.data.as_ptr();
        let content = Content::form(form).unwrap();
        assert_eq!(content.body.0[1].as_ptr(), sent);
    }

    #[test]
    fn no_part_holds_the_boundary() {
        fastrand::seed(7);
        let drawn = format!("{:032x}", fastrand::u128(..));
        fastrand::seed(7);
        let boundary = boundary(&form(&[("prompt", &format!("x--{drawn}"))], b""));
        assert_ne!(boundary, drawn);
    }
}
