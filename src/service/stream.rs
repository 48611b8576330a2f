//! The responses of a streamed call.

use std::pin::Pin;

use async_stream::stream;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{Reply, call::Call, error::Error, told::Told};
use crate::{translate::ChunkTranslator, upstream::Events};

/// Most events that are read ahead of the caller. They have arrived already: reading them together makes one write of
/// many messages, and adjacent deltas are merged.
const MAX_READ_AHEAD: usize = 64;

/// The same in bytes, beyond the last event.
const MAX_READ_AHEAD_BYTES: usize = 16 << 10;

/// Pulled by the caller: one who reads slowly slows the upstream, and one who leaves drops the stream and with it the
/// upstream's connection.
pub(crate) type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers a streamed call once the upstream's first event is there, since a failure until then can still be reported
/// without response headers, which lets a library or a mesh try again (gRFC A6).
pub(super) async fn streamed<M, T, F>(
    request: Request<M>,
    open: impl FnOnce(Call, M) -> F,
) -> Reply<Responses<T::Response>>
where
    F: Future<Output = Result<(Events, T), Error>>,
    T: ChunkTranslator + Send + 'static,
    T::Response: Told + Send,
{
    let (call, message) = Call::parts(request);
    let begun = open(call.clone(), message).await;
    let begun = begun.and_then(|(events, mut translator)| {
        translate(&events, &mut translator)?;
        Ok((events, translator))
    });
    match begun {
        Ok((events, translator)) => Ok(Response::new(responses(call, events, translator))),
        Err(error) => Err(error.to_status(&call)),
    }
}

/// Yields each response, then at most one error. It ends without one only where the translator agrees that the answer
/// is whole.
fn responses<T>(call: Call, mut events: Events, mut translator: T) -> Responses<T::Response>
where
    T: ChunkTranslator + Send + 'static,
    T::Response: Told + Send,
{
    Box::pin(stream! {
        let mut pace = call.headers.record.first_chunk();
        let mut read_on = Ok(true);
        loop {
            // What was translated before the end goes to the caller first.
            while let Some(response) = translator.pop() {
                call.responded(T::is_delta(&response));
                response.tell(&call.headers.record);
                yield Ok(response);
            }
            match read_on {
                Ok(true) => {
                    read_on = read(&mut events, &mut translator).await;
                    pace.chunk();
                }
                Ok(false) => return,
                Err(error) => {
                    yield Err(Error::to_status(&error, &call));
                    return;
                }
            }
        }
    })
}

/// Waits for an event, and translates it with those that have arrived after it; false at the end of a whole answer.
async fn read(events: &mut Events, translator: &mut impl ChunkTranslator) -> Result<bool, Error> {
    let mut is_open = events.advance().await?;
    let (mut n_events, mut n_bytes) = (0, 0);
    while is_open {
        n_bytes += translate(events, translator)?;
        n_events += 1;
        if n_events >= MAX_READ_AHEAD || n_bytes >= MAX_READ_AHEAD_BYTES {
            return Ok(true);
        }
        match events.advance_read()? {
            Some(more) => is_open = more,
            None => return Ok(true),
        }
    }
    translator.end()?;
    Ok(false)
}

/// Translates the current event; returns its size in bytes.
fn translate(events: &Events, translator: &mut impl ChunkTranslator) -> Result<usize, Error> {
    let json = events.data()?;
    translator.push(events.chunk()?, json)?;
    Ok(json.len())
}
