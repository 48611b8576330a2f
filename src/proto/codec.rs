//! Messages as bytes: prost, with a buffer that fits what streams send, filler in responses that are light, and a look
//! at what a request would become.
//!
//! A client in Rust counts the DATA frames under 256 bytes that it has received and its application has not read yet,
//! and closes the connection for too many of them (h2 from 0.4.16, RUSTSEC-2026-0258), be it the caller or a proxy before
//! it. A token is such a frame, and no server can tell whether an application reads. So no response of the contract is
//! lighter than that: what it lacks is filled with an unknown field, which every decoder of protobuf skips.

use std::{fmt, marker::PhantomData};

use bytes::{Buf as _, BufMut};
use prost::{
    Message, Name,
    encoding::{WireType, encode_key, encode_varint},
};
use tonic::{
    Status,
    codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tonic_prost::ProstDecoder;

use super::elements;

/// What a stream's buffer is made with, and then keeps while it waits for an event. Three responses fit.
const BUFFER_BYTES: usize = 1024;

/// A DATA frame of that size is counted by no client.
const MIN_FRAME_BYTES: usize = 256;

/// A message in gRPC: whether it is compressed, and its length
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
const PREFIX_BYTES: usize = 5;

/// The field that fills: the greatest number that there is, which the contract leaves alone.
const FILLER_FIELD: u32 = (1 << 29) - 1;

/// The filler's key and its length, of a byte at least.
const FILLER_HEAD_BYTES: usize = 6;

/// The package of the contract.
const CONTRACT: &str = "vllm_adapter.v1";

/// As many bytes as are put together before they are given to the transport: half a frame of HTTP/2, since the buffer
/// may take twice of what is in it.
const YIELD_BYTES: usize = 8 * 1024;

/// The codec that `build.rs` names in the generated code, for servers and for clients.
pub struct Codec<T, U>(PhantomData<(T, U)>);

/// Encodes `T`.
pub struct MessageEncoder<T>(PhantomData<T>);

/// Decodes `U`; a request that would take many times its size in memory is refused.
#[derive(Debug)]
pub struct BoundedDecoder<U>(ProstDecoder<U>);

// === impl Codec ===

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Name + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = MessageEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        MessageEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(ProstDecoder::default())
    }
}

impl<T, U> fmt::Debug for Codec<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}

// === impl MessageEncoder ===

impl<T: Message + Name> Encoder for MessageEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let length = item.encoded_len();
        // A buffer that grows by doubling would hold a large message up to three times.
        buffer.reserve(length.max(MIN_FRAME_BYTES));
        // This fails where a buffer has no room, which this one makes.
        item.encode(buffer)
            .map_err(|error| Status::from_error(error.into()))?;
        if is_response::<T>() {
            fill(length, buffer);
        }
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}

/// Whether these are what the server sends, which Buf's lint has named so. Answers of gRPC's health service stay as they
/// are, two bytes that a probe may compare.
fn is_response<T: Name>() -> bool {
    T::PACKAGE == CONTRACT && T::NAME.ends_with("Response")
}

/// Fills a message of that length up to a frame that is not counted.
fn fill(length: usize, buffer: &mut impl BufMut) {
    let lacking = (MIN_FRAME_BYTES - PREFIX_BYTES).saturating_sub(length);
    if lacking == 0 {
        return;
    }
    let n_bytes = lacking.saturating_sub(FILLER_HEAD_BYTES);
    encode_key(FILLER_FIELD, WireType::LengthDelimited, buffer);
    encode_varint(n_bytes as u64, buffer);
    buffer.put_bytes(0, n_bytes);
}

impl<T> fmt::Debug for MessageEncoder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageEncoder")
    }
}

// === impl BoundedDecoder ===

impl<U: Message + Name + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // tonic gives a message as one piece.
        elements::check(&U::full_name(), buffer.chunk())
            .map_err(|too_many| Status::from_error(too_many.into()))?;
        self.0.decode(buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{ContentDelta, StreamGenerateResponse, stream_generate_response::Event};

    /// A response with so many bytes of text.
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

    #[test]
    fn a_light_message_is_filled_and_reads_as_if_it_were_not() {
        for n_bytes in 0..300 {
            let message = response(n_bytes);
            let mut encoded = message.encode_to_vec();
            let length = encoded.len();
            fill(length, &mut encoded);
            let lightest = MIN_FRAME_BYTES - PREFIX_BYTES;
            if length >= lightest {
                assert_eq!(encoded.len(), length, "{n_bytes}");
            }
            // Never much heavier than it must be, and within what was reserved.
            let weights = lightest..=length.max(MIN_FRAME_BYTES);
            assert!(weights.contains(&encoded.len()), "{n_bytes}");
            let decoded = StreamGenerateResponse::decode(&*encoded).unwrap();
            assert_eq!(decoded, message, "{n_bytes}");
        }
    }

    #[test]
    fn only_responses_of_the_contract_are_filled() {
        assert!(is_response::<StreamGenerateResponse>());
        assert!(!is_response::<crate::proto::GenerateRequest>());
        assert!(!is_response::<crate::proto::health::HealthCheckResponse>());
    }
}
