//! Messages as bytes: prost, with a buffer that fits what streams send.

use std::{fmt, marker::PhantomData};

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, EncodeBuf, Encoder},
};
use tonic_prost::{ProstCodec, ProstDecoder};

/// What a stream's buffer is made with, and then keeps while it waits for an event. A delta is some 40 bytes.
const BUFFER_BYTES: usize = 1024;

/// As many bytes as are put together before they are given to the transport (tonic's default).
const YIELD_BYTES: usize = 32 * 1024;

/// Encodes `T`, and decodes `U`.
pub struct Codec<T, U>(PhantomData<(T, U)>);

/// Encodes `T`.
pub struct MessageEncoder<T>(PhantomData<T>);

// === impl Codec ===

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = MessageEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        MessageEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::default())
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
