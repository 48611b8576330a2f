//! Messages as bytes: prost's codec, with buffers that fit streams of tokens, and a bound on what a request becomes.

use std::{fmt, marker::PhantomData};

use bytes::Buf as _;
use prost::{Message, Name};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task,
};
use tonic::{
    Status,
    codec::{BufferSettings, DecodeBuf, Decoder},
};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::elements;

/// What a stream's buffer starts with, and keeps while it waits for an event. Several responses fit.
const BUFFER_BYTES: usize = 1024;

/// As many bytes as are put together before they are given to the transport: half a frame of HTTP/2.
const YIELD_BYTES: usize = 8 * 1024;

/// A larger message takes milliseconds to decode.
const LARGE_BYTES: usize = 1 << 20;

/// The codec that `build.rs` names in the generated code, for servers and for clients.
pub struct Codec<T, U>(PhantomData<(T, U)>);

/// Decodes `U`; a message that would take many times its size in memory is refused.
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
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
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

// === impl BoundedDecoder ===

impl<U: Message + Name + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let is_large = buffer.remaining() > LARGE_BYTES;
        let mut decode = || {
            // tonic gives a message in one piece.
            elements::check(&U::full_name(), buffer.chunk())
                .map_err(|too_many| malformed(&too_many.to_string()))?;
            let decoded = self.0.decode(buffer);
            decoded.map_err(|error| malformed(error.message()))
        };
        match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            // The other calls of this thread go on elsewhere.
            Ok(RuntimeFlavor::MultiThread) if is_large => task::block_in_place(decode),
            _ => decode(),
        }
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "its details are added where the response begins"
)]
fn malformed(why: &str) -> Status {
    Status::invalid_argument(why)
}
