//! Messages as bytes: prost's codec, with buffers that fit streams of tokens, and a bound on what a request becomes.

use std::{fmt, marker::PhantomData};

use bytes::Buf as _;
use prost::{Message, Name};
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

/// The codec that `build.rs` names in the generated code, for servers and for clients.
pub struct Codec<T, U>(PhantomData<(T, U)>);

/// Makes room for that many bytes of memory, or refuses the request.
pub(crate) type MakeRoom = Box<dyn Fn(usize) -> Result<(), Status> + Send>;

tokio::task_local! {
    /// For what a call's request takes beyond a few times its bytes; unset where memory is not counted.
    pub(crate) static ROOM: MakeRoom;
}

/// Decodes `U`; a message that would take too many times its size in memory, or more than there is, is refused.
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
        // tonic gives a message in one piece.
        let memory = elements::memory(&U::full_name(), buffer.chunk())
            .map_err(|too_many| malformed(&too_many.to_string()))?;
        ROOM.try_with(|make_room| make_room(memory))
            .unwrap_or(Ok(()))?;
        let decoded = self.0.decode(buffer);
        decoded.map_err(|error| malformed(error.message()))
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
