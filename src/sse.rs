//! Server-sent events from bytes, by the [HTML standard].
//!
//! Only the `data` of an event is kept: vLLM 0.33 uses no other field on the routes that are called here. The decoder
//! does no I/O, takes time linear in its input, and holds at most one event beside what was pushed last. It does not
//! check UTF-8, which can only be done on a whole event.
//!
//! [HTML standard]: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

use std::ops::Range;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A carriage return and a line feed.
const LONGEST_LINE_END: usize = 2;

/// A buffer of that size is kept by a stream which waits: some events.
const KEPT_BYTES: usize = 4096;

/// A buffer of that size is kept while the next event may not be asked for: a read of a socket.
const MOST_KEPT_BYTES: usize = 16 << 10;

/// Finds events in the bytes of a stream.
///
/// [`push`](Self::push) bytes, then [`advance`](Self::advance) while it finds events.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// What was pushed, from the event's first `data` line on.
    buffer: Vec<u8>,
    /// Where the next line begins.
    position: usize,
    /// Up to where no line end was found.
    searched: usize,
    /// The event so far.
    event: Event,
    /// Whether the event is whole and has been given out.
    is_whole: bool,
    /// The last line ended with a carriage return, so that a line feed belongs to it.
    skips_line_feed: bool,
    /// Nothing was read yet, so that a byte order mark may come.
    at_start: bool,
    max_event_bytes: usize,
}

/// The `data` of an event.
#[derive(Debug)]
enum Event {
    /// No `data` line yet.
    Empty,
    /// One line, which stands in the buffer.
    Line(Range<usize>),
    /// Several lines, joined by line feeds.
    Lines(Vec<u8>),
}

/// An event, or a line, is larger than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

// === impl Decoder ===

impl Decoder {
    /// A decoder at the start of a stream; one event may hold so many bytes.
    pub(crate) fn new(max_event_bytes: usize) -> Self {
        Self {
            buffer: Vec::new(),
            position: 0,
            searched: 0,
            event: Event::Empty,
            is_whole: false,
            skips_line_feed: false,
            at_start: true,
            max_event_bytes,
        }
    }

    /// Adds bytes, cut anywhere.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.release();
        self.detach();
        self.discard();
        self.buffer.extend_from_slice(bytes);
    }

    /// Drops what was read and is not of an event that is still to come.
    fn discard(&mut self) {
        let keep = match &self.event {
            Event::Line(line) => line.start,
            Event::Empty | Event::Lines(_) => self.position,
        };
        if keep > 0 {
            self.buffer.drain(..keep);
            self.position -= keep;
            self.searched -= keep;
            if let Event::Line(line) = &mut self.event {
                *line = line.start - keep..line.end - keep;
            }
        }
    }

    /// Forgets the event, and gives back what a large one took: its reader may not come back for long.
    pub(crate) fn compact(&mut self) {
        self.release();
        if self.buffer.capacity() > MOST_KEPT_BYTES {
            self.discard();
            self.buffer.shrink_to_fit();
        }
    }

    /// Gives back memory that a stream which waits does not need.
    pub(crate) fn shrink(&mut self) {
        self.release();
        let is_read = self.position == self.buffer.len() && matches!(self.event, Event::Empty);
        if is_read && self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
            self.position = 0;
            self.searched = 0;
        }
    }

    /// Goes to the next event; false if more bytes are needed for it.
    pub(crate) fn advance(&mut self) -> Result<bool, TooLarge> {
        self.release();
        while let Some(line) = self.next_line()? {
            if line.is_empty() {
                if !matches!(self.event, Event::Empty) {
                    self.is_whole = true;
                    return Ok(true);
                }
            } else {
                self.take(line)?;
            }
        }
        Ok(false)
    }

    /// The `data` of the event that [`advance`](Self::advance) went to; empty where there is none.
    pub(crate) fn data(&self) -> &[u8] {
        match &self.event {
            Event::Line(line) => self.buffer.get(line.clone()).unwrap_or_default(),
            Event::Lines(lines) => lines,
            Event::Empty => &[],
        }
    }

    /// Whether the stream would be cut within an event if it ended here.
    pub(crate) fn is_mid_event(&self) -> bool {
        let unread = self.buffer.get(self.position..).unwrap_or_default();
        let in_event = !self.is_whole && !matches!(self.event, Event::Empty);
        in_event || unread.iter().any(|byte| !matches!(byte, b'\n' | b'\r'))
    }

    /// Copies the event's one line where other lines came after it, which would have to be kept with it.
    fn detach(&mut self) {
        if let Event::Line(line) = &self.event
            && self.position > line.end + LONGEST_LINE_END
        {
            let line = self.buffer.get(line.clone()).unwrap_or_default();
            self.event = Event::Lines(line.to_vec());
        }
    }

    /// Forgets the event that was given out.
    fn release(&mut self) {
        if self.is_whole {
            self.event = Event::Empty;
            self.is_whole = false;
        }
    }

    /// The next whole line, without its end.
    fn next_line(&mut self) -> Result<Option<Range<usize>>, TooLarge> {
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
            let line_bytes = self.searched - self.position;
            return if line_bytes > self.max_line_bytes() {
                Err(TooLarge)
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

    /// Skips a byte order mark; false if it cannot be told yet whether there is one.
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
    fn take(&mut self, line: Range<usize>) -> Result<(), TooLarge> {
        let Some(value) = data_value(self.buffer.get(line.clone()).unwrap_or_default()) else {
            return Ok(());
        };
        let value = line.start + value..line.end;
        let event_bytes = self.data().len() + value.len();
        if event_bytes > self.max_event_bytes {
            return Err(TooLarge);
        }
        let bytes = self.buffer.get(value.clone()).unwrap_or_default();
        match &mut self.event {
            Event::Empty => self.event = Event::Line(value),
            Event::Line(first) => {
                let first = self.buffer.get(first.clone()).unwrap_or_default();
                self.event = Event::Lines([first, bytes].join(&b'\n'));
            }
            Event::Lines(lines) => {
                lines.push(b'\n');
                lines.extend_from_slice(bytes);
            }
        }
        Ok(())
    }

    /// A line may hold an event and its field's name.
    fn max_line_bytes(&self) -> usize {
        self.max_event_bytes.saturating_add(b"data: ".len())
    }
}

/// Where the value of a `data` line begins; `None` for another field or a comment.
fn data_value(line: &[u8]) -> Option<usize> {
    match line.strip_prefix(b"data")? {
        [] => Some(4),
        [b':', b' ', ..] => Some(6),
        [b':', ..] => Some(5),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All events of a stream that comes in these pieces, and whether it ends within one.
    fn decode(pieces: &[&[u8]], limit: usize) -> Result<(Vec<String>, bool), TooLarge> {
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
        check(b"data: a\n\n\xEF\xBB\xBFdata: b\n\n", &["a"]);
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
    fn a_stream_that_waits_between_events_holds_no_large_buffer() {
        let long = "x".repeat(20_000);
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
            assert_eq!(decoder.buffer.capacity() == 0, begun.is_none(), "{row}");
            decoder.push(b"\n\ndata: b\n\n");
            for expected in begun.into_iter().chain(["b"]) {
                assert_eq!(decoder.advance(), Ok(true), "{row}");
                assert_eq!(decoder.data(), expected.as_bytes(), "{row}");
            }
            assert_eq!(decoder.advance(), Ok(false), "{row}");
        }
    }

    #[test]
    fn a_large_event_that_was_read_is_not_kept() {
        let mut decoder = Decoder::new(1 << 20);
        let large = "x".repeat(100_000);
        for rest in ["", "data: b", "data: b\ndata: c", "data: b\n\n"] {
            decoder.push(format!("data: {large}\n\n{rest}").as_bytes());
            assert_eq!(decoder.advance(), Ok(true));
            assert_eq!(decoder.data(), large.as_bytes());
            decoder.compact();
            assert!(decoder.buffer.capacity() < 1000, "{rest:?}");
            assert!(decoder.data().is_empty());
            decoder.push(b"\n\ndata: end\n\n");
            let mut events = Vec::new();
            while decoder.advance() == Ok(true) {
                events.push(String::from_utf8_lossy(decoder.data()).into_owned());
            }
            let last = rest.replace("data: ", "").trim_end().to_owned();
            let expected = [last, "end".to_owned()];
            let expected = if rest.is_empty() {
                &expected[1..]
            } else {
                &expected[..]
            };
            assert_eq!(events, expected, "{rest:?}");
        }
    }

    #[test]
    fn a_large_event_of_many_lines_that_was_read_is_not_kept() {
        let mut decoder = Decoder::new(1 << 20);
        for _ in 0..200 {
            decoder.push(format!("data: {}\n", "x".repeat(3_000)).as_bytes());
            assert_eq!(decoder.advance(), Ok(false));
        }
        decoder.push(b"\n");
        assert_eq!(decoder.advance(), Ok(true));
        decoder.compact();
        assert!(matches!(decoder.event, Event::Empty));
    }

    #[test]
    fn a_large_event_is_kept_until_it_was_read() {
        let mut decoder = Decoder::new(1 << 20);
        let large = "x".repeat(100_000);
        decoder.push(format!("data: {large}").as_bytes());
        assert_eq!(decoder.advance(), Ok(false));
        decoder.compact();
        decoder.push(b"\n\n");
        assert_eq!(decoder.advance(), Ok(true));
        assert_eq!(decoder.data(), large.as_bytes());
    }
}
