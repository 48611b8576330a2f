//! Messages as bytes: prost, with a buffer that fits what streams send, and a look at what a request would become.

use std::{fmt, marker::PhantomData};

use bytes::Buf as _;
use prost::{Message, Name};
use tonic::{
    Status,
    codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tonic_prost::ProstDecoder;

use super::elements;

/// What a stream's buffer is made with, and then keeps while it waits for an event. A delta is some 40 bytes.
const BUFFER_BYTES: usize = 1024;

/// As many bytes as are put together before they are given to the transport (tonic's default).
const YIELD_BYTES: usize = 32 * 1024;

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
    T: Message + Send + 'static,
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

impl<T: Message> Encoder for MessageEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // A buffer that grows by doubling would hold a large message up to three times.
        buffer.reserve(item.encoded_len());
        // This fails where a buffer has no room, which this one makes.
        item.encode(buffer)
            .map_err(|error| Status::from_error(error.into()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
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
