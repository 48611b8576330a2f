//! Server-sent events from bytes, by the [HTML standard].
//!
//! Only the `data` of an event is kept: vLLM 0.33 uses no other field on the routes that are called here. The decoder
//! does no I/O and takes time linear in its input. It does not check UTF-8, which can only be done on a whole event.
//!
//! [HTML standard]: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

use std::ops::Range;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A larger buffer is not kept by a stream that waits.
const MAX_KEPT_BYTES: usize = 16 << 10;

/// Finds events in the bytes of a stream.
///
/// [`push`](Self::push) bytes, then [`advance`](Self::advance) while it finds events.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// What was pushed and is not read yet, after what was read since the last push.
    buffer: Vec<u8>,
    /// Where the next line begins.
    position: usize,
    /// Up to where no line end was found.
    searched: usize,
    /// The event's `data` so far: its lines, joined by line feeds.
    data: Vec<u8>,
    event: Event,
    /// The last line ended with a carriage return, so that a line feed belongs to it.
    skips_line_feed: bool,
    /// Nothing was read yet, so that a byte order mark may come.
    at_start: bool,
    max_event_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// No `data` line yet.
    Empty,
    /// A `data` line has come.
    Begun,
    /// The event has ended, and was given out.
    Whole,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An event, or a line, is larger than the limit.
    TooLarge { limit: usize },
    /// A byte order mark before a `data` line in mid-stream, which the standard would drop with its line.
    ByteOrderMark,
}

// === impl Decoder ===

impl Decoder {
    /// A decoder at the start of a stream; one event may hold so many bytes.
    pub(crate) fn new(max_event_bytes: usize) -> Self {
        Self {
            buffer: Vec::new(),
            position: 0,
            searched: 0,
            data: Vec::new(),
            event: Event::Empty,
            skips_line_feed: false,
            at_start: true,
            max_event_bytes,
        }
    }

    /// Adds bytes, cut anywhere.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.position);
        self.searched -= self.position;
        self.position = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Frees large buffers that hold nothing; the event is forgotten.
    pub(crate) fn shrink(&mut self) {
        self.release();
        if self.buffer.capacity() > MAX_KEPT_BYTES {
            self.push(&[]);
            self.buffer.shrink_to(MAX_KEPT_BYTES);
        }
        if self.data.capacity() > MAX_KEPT_BYTES {
            self.data.shrink_to(MAX_KEPT_BYTES);
        }
    }

    /// Goes to the next event; false if more bytes are needed for it.
    pub(crate) fn advance(&mut self) -> Result<bool, Fault> {
        self.release();
        while let Some(line) = self.next_line()? {
            if !line.is_empty() {
                self.add(line)?;
            } else if self.event == Event::Begun {
                self.event = Event::Whole;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The `data` of the event that [`advance`](Self::advance) went to; empty where there is none.
    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Whether the stream would be cut within an event if it ended here.
    pub(crate) fn is_mid_event(&self) -> bool {
        let unread = self.buffer.get(self.position..).unwrap_or_default();
        self.event == Event::Begun || unread.iter().any(|byte| !matches!(byte, b'\n' | b'\r'))
    }

    /// Forgets the event that was given out.
    fn release(&mut self) {
        if self.event == Event::Whole {
            self.event = Event::Empty;
            self.data.clear();
        }
    }

    /// The next whole line, without its end.
    fn next_line(&mut self) -> Result<Option<Range<usize>>, Fault> {
        if self.skips_line_feed && self.position < self.buffer.len() {
            self.skips_line_feed = false;
            if self.buffer.get(self.position) == Some(&b'\n') {
                self.position += 1;
                self.searched = self.position;
            }
        }
        if self.at_start && !self.skip_byte_order_mark() {
            return Ok(None);
        }
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(found) = memchr::memchr2(b'\n', b'\r', unsearched) else {
            self.searched = self.buffer.len();
            // A line may hold an event and its field's name.
            let max_line_bytes = self.max_event_bytes.saturating_add(b"data: ".len());
            return if self.searched - self.position > max_line_bytes {
                Err(self.too_large())
            } else {
                Ok(None)
            };
        };
        let end = self.searched + found;
        let line = self.position..end;
        self.skips_line_feed = self.buffer.get(end) == Some(&b'\r');
        self.position = end + 1;
        self.searched = self.position;
        Ok(Some(line))
    }

    /// Skips a byte order mark; false if more bytes are needed to know whether there is one.
    fn skip_byte_order_mark(&mut self) -> bool {
        if self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.position = BYTE_ORDER_MARK.len();
            self.searched = self.position;
        } else if BYTE_ORDER_MARK.starts_with(&self.buffer) {
            return false;
        }
        self.at_start = false;
        true
    }

    /// Adds a line to the event if it is a `data` line.
    fn add(&mut self, line: Range<usize>) -> Result<(), Fault> {
        let line = self.buffer.get(line).unwrap_or_default();
        let Some(value) = data_value(line) else {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            let hides_data = name.starts_with(BYTE_ORDER_MARK) && name.ends_with(b"data");
            return if hides_data {
                Err(Fault::ByteOrderMark)
            } else {
                Ok(())
            };
        };
        if self.data.len() + value.len() > self.max_event_bytes {
            return Err(self.too_large());
        }
        if self.event == Event::Begun {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        self.event = Event::Begun;
        Ok(())
    }

    fn too_large(&self) -> Fault {
        let limit = self.max_event_bytes;
        Fault::TooLarge { limit }
    }
}

/// The value of a `data` line; `None` for another field or a comment.
fn data_value(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data")? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All events of a stream that comes in these pieces, and whether it ends within one.
    fn decode(pieces: &[&[u8]], limit: usize) -> Result<(Vec<String>, bool), Fault> {
        let mut decoder = Decoder::new(limit);
        let mut events = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            while decoder.advance()? {
                events.push(String::from_utf8_lossy(decoder.data()).into_owned());
            }
        }
        Ok((events, decoder.is_mid_event()))
    }

    /// Whole, cut in two everywhere, and byte by byte, a stream gives the same events.
    #[track_caller]
    fn check(stream: &[u8], events: &[&str]) {
        let expected = Ok(events
            .iter()
            .map(|event| (*event).to_owned())
            .collect::<Vec<_>>());
        for cut in 0..=stream.len() {
            let (head, tail) = stream.split_at(cut);
            assert_eq!(
                decode(&[head, tail], 1024).map(|it| it.0),
                expected,
                "cut at {cut}"
            );
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(
            decode(&bytes, 1024).map(|it| it.0),
            expected,
            "byte by byte"
        );
    }

    #[test]
    fn events_are_found_wherever_the_bytes_are_cut() {
        check(b"", &[]);
        check(b"data: a\n\n", &["a"]);
        check(b"data: a\n\ndata: b\n\n", &["a", "b"]);
        check(b"data:a\n\n", &["a"]);
        check(b"data:  a\n\n", &[" a"]);
        check(b"data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]);
        check(b"data: a\r\rdata: b\r\r", &["a", "b"]);
        check(b"data: a\n\r\ndata: b\r\n\n", &["a", "b"]);
        check(b"data: a\ndata: b\ndata\ndata: c\n\n", &["a\nb\n\nc"]);
        check(b"\n\n\ndata: a\n\n\n\n", &["a"]);
        check(b": comment\n\ndata: a\n: comment\n\n", &["a"]);
        check(b"event: x\nid: 1\nretry: 5\nother\ndata: a\n\n", &["a"]);
        check(b"event: x\n\ndata: a\n\n", &["a"]);
        check(b"database: a\n\ndata: b\n\n", &["b"]);
        check(b"data\n\n", &[""]);
        check(b"\xEF\xBB\xBFdata: a\n\n", &["a"]);
        check(b"\xEF\xBB\xBF\n\ndata: a\n\n", &["a"]);
        check(b"data: a\n\n\xEF\xBB\xBFevent: b\n\n", &["a"]);
        check("data: é😀\u{2028}x\n\n".as_bytes(), &["é😀\u{2028}x"]);
        check(b"data: a\n\ndata: unfinished\n", &["a"]);
        check(b"data: a\n\ndata: unfin", &["a"]);
    }

    #[test]
    fn an_end_within_an_event_can_be_told() {
        let rows: [(&[u8], bool); 6] = [
            (b"data: a\n\n", false),
            (b"data: a\r\n\r\n", false),
            (b"data: a\n\n\n", false),
            (b"data: a\n", true),
            (b"data: a", true),
            (b"data: a\n\nd", true),
        ];
        for (stream, is_mid_event) in rows {
            assert_eq!(decode(&[stream], 64).map(|it| it.1), Ok(is_mid_event));
        }
    }

    #[test]
    fn an_event_has_a_limit() {
        let rows: [(&[u8], bool); 6] = [
            (b"data: 12345678\n\n", true),
            (b"data: 123456789\n\n", false),
            (b"data: 1234\ndata: 5678\n\n", true),
            (b"data: 1234\ndata: 56789\n\n", false),
            (b"data: 12345678", true),
            (b": a comment without an end, longer than an event", false),
        ];
        for (stream, fits) in rows {
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            assert_eq!(
                decode(&bytes, 8).is_ok(),
                fits,
                "{}",
                String::from_utf8_lossy(stream)
            );
        }
    }

    #[test]
    fn comments_within_an_event_are_not_kept() {
        let mut decoder = Decoder::new(1024);
        decoder.push(b"data: a\n");
        for _ in 0..10_000 {
            decoder.push(b": comment\nevent: x\n");
            assert_eq!(decoder.advance(), Ok(false));
        }
        assert!(
            decoder.buffer.capacity() < 1024,
            "{}",
            decoder.buffer.capacity()
        );
        decoder.push(b"data: b\n\n");
        assert_eq!(
            (decoder.advance(), decoder.data()),
            (Ok(true), &b"a\nb"[..])
        );
    }

    #[test]
    fn what_was_read_is_not_kept() {
        let mut decoder = Decoder::new(1024);
        for _ in 0..10_000 {
            decoder.push(b"data: 0123456789\n\ndata: 01234");
            while decoder.advance() == Ok(true) {}
            decoder.push(b"56789\n\n");
            while decoder.advance() == Ok(true) {}
        }
        assert!(
            decoder.buffer.capacity() < 1024,
            "{}",
            decoder.buffer.capacity()
        );
    }

    #[test]
    fn a_byte_order_mark_in_mid_stream_is_a_fault() {
        for line in ["data: b", "data:b", "data", " data: b", "\u{feff}data: b"] {
            for before in [
                "data: a\n\n\u{feff}",
                "\u{feff}\u{feff}",
                "data: a\n\u{feff}",
            ] {
                let stream = format!("{before}{line}\n\n");
                let pieces: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
                assert_eq!(decode(&pieces, 64), Err(Fault::ByteOrderMark), "{stream:?}");
            }
        }
    }

    #[test]
    fn a_stream_that_waits_holds_no_large_buffer() {
        let long = "x".repeat(100_000);
        let event = format!("data: {long}\n\n");
        let rows = [
            ("between events", event.clone(), None),
            ("in a line", format!("{event}data: a"), Some("a")),
            ("in an event", format!("{event}data: a\n"), Some("a")),
            ("in a long event", format!("data: {long}\n"), Some(&*long)),
        ];
        for (row, stream, begun) in rows {
            let mut decoder = Decoder::new(1 << 20);
            decoder.push(stream.as_bytes());
            while decoder.advance() == Ok(true) {}
            decoder.shrink();
            let held = decoder.buffer.capacity() + decoder.data.capacity();
            let is_small = held <= 2 * MAX_KEPT_BYTES;
            assert_eq!(is_small, row != "in a long event", "{row}: {held}");
            decoder.push(b"\n\ndata: b\n\n");
            for expected in begun.into_iter().chain(["b"]) {
                assert_eq!(decoder.advance(), Ok(true), "{row}");
                assert_eq!(decoder.data(), expected.as_bytes(), "{row}");
            }
            assert_eq!(decoder.advance(), Ok(false), "{row}");
        }
    }
}
