//! Pads small responses, for peers that limit how many small frames wait.
//!
//! A client or a proxy in Rust closes a connection on which too many DATA frames under 256 bytes wait to be read
//! (h2 0.4.16 and later, RUSTSEC-2026-0258). `--pad-responses` pads each response with an unknown field, which
//! decoders of protobuf skip.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint};

/// The padding's field number: the greatest there is, which the contract does not use.
const FIELD: u32 = (1 << 29) - 1;

/// A gRPC message's flag and length (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
const PREFIX_BYTES: usize = 5;

/// The field's key, of five bytes, and its length, of at least one.
const HEAD_BYTES: usize = 6;

/// The same messages, each of `size` bytes at least with its prefix. `messages` holds whole ones, as tonic's do.
pub(super) fn padded(messages: &Bytes, size: usize) -> Bytes {
    let mut padded = BytesMut::with_capacity(messages.len() + size);
    let mut rest = &messages[..];
    while let Some((prefix, after)) = rest.split_first_chunk::<PREFIX_BYTES>() {
        let [flag, length @ ..] = *prefix;
        let length = u32::from_be_bytes(length) as usize;
        let (message, after) = after.split_at_checked(length).unwrap_or((after, &[]));
        let mut filler = BytesMut::new();
        let lacking = size.saturating_sub(PREFIX_BYTES + message.len());
        if lacking > 0 {
            let n_bytes = lacking.saturating_sub(HEAD_BYTES);
            encode_key(FIELD, WireType::LengthDelimited, &mut filler);
            encode_varint(n_bytes as u64, &mut filler);
            filler.put_bytes(0, n_bytes);
        }
        let length = u32::try_from(message.len() + filler.len()).unwrap_or(u32::MAX);
        padded.put_u8(flag);
        padded.put_u32(length);
        padded.put_slice(message);
        padded.put_slice(&filler);
        rest = after;
    }
    padded.freeze()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::proto::{ContentDelta, StreamGenerateResponse, stream_generate_response::Event};

    fn response(n_bytes: usize) -> StreamGenerateResponse {
        let delta = ContentDelta {
            choice_index: 0,
            text: "x".repeat(n_bytes),
        };
        StreamGenerateResponse {
            event: Some(Event::Content(delta)),
            ..Default::default()
        }
    }

    fn framed(response: &StreamGenerateResponse) -> Vec<u8> {
        let message = response.encode_to_vec();
        let mut framed = vec![0];
        framed.put_u32(message.len().try_into().unwrap());
        framed.extend(message);
        framed
    }

    #[test]
    fn a_small_message_is_filled_and_decodes_as_before() {
        for n_bytes in 0..600 {
            let (one, other) = (response(n_bytes), response(3));
            let messages = [framed(&one), framed(&other)].concat().into();
            let padded = padded(&messages, 256);
            let mut rest = &padded[..];
            for expected in [one, other] {
                let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
                let (message, after) = rest.split_at(5 + length);
                assert!(message.len() >= 256, "{n_bytes}");
                assert!(
                    message.len() <= (256 + HEAD_BYTES).max(framed(&expected).len()),
                    "{n_bytes}"
                );
                assert_eq!(
                    StreamGenerateResponse::decode(&message[5..]).unwrap(),
                    expected
                );
                rest = after;
            }
            assert!(rest.is_empty());
        }
    }
}
