//! What a request carries: a body in pieces, and its media type.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, header::InvalidHeaderValue};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;

use super::error::{Error, Malformed};
use crate::openai::transcription::TranscriptionForm;

/// A request's body with its media type. Clones share the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(super) media_type: HeaderValue,
    pub(super) body: Pieces,
}

/// A body of known length, which is sent piece by piece without being put together.
#[derive(Clone, Debug, Default)]
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
        // An empty piece would look like an end.
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
        Self(pieces.collect())
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
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
        assert_eq!(content.body.size_hint().exact(), Some(5));
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
        let length = content.body.size_hint().exact().unwrap();
        assert_eq!(length, text(&content).len() as u64);
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
