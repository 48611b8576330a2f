//! Where the body of an answer ends ([RFC 9112, section 6 and 7]); pure.
//!
//! [RFC 9112, section 6 and 7]: https://www.rfc-editor.org/rfc/rfc9112#section-6

use super::Malformed;

/// As many bytes as a chunk's extension or all trailers may have; vLLM sends none.
const MAX_OVERHEAD: usize = 4096;

/// Digits of a chunk's size, with leading zeros: what 64 bits hold.
const MAX_SIZE_DIGITS: usize = 16;

/// How a body is delimited, and how far it is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// Chunks, whose last is empty.
    Chunked(Chunked),
    /// The body ends with the connection.
    ToEnd,
}

/// A place in the chunked transfer coding.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    /// Before the first digit of a chunk's size.
    Start,
    /// Among the digits of a size, after so many.
    Size(u64, usize),
    /// Between the size and the end of its line, and so many bytes into that.
    Extension(u64, usize),
    /// Before the line feed after a chunk's size.
    SizeEnd(u64),
    /// In a chunk of which so many bytes are left.
    Data(u64),
    /// After a chunk, before its carriage return.
    DataEnd,
    /// After a chunk's carriage return.
    DataLineFeed,
    /// In a trailer, and so many bytes into all of them.
    Trailer(usize),
    /// At the start of a line among trailers.
    TrailerStart(usize),
    /// Before the last line feed of all.
    LastLineFeed,
    /// After the body.
    Over,
}

// === impl Framing ===

impl Framing {
    /// The framing of a body in chunks, at its start.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunked::Start)
    }

    /// Whether the body has ended; one that ends with its connection never has.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::Over))
    }

    /// Gives what is data in `bytes` to `sink`, and tells how many bytes belong to the body: all, unless it is over.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<usize, Malformed> {
        match self {
            Self::Length(left) => {
                let data = up_to(bytes, *left);
                *left -= data.len() as u64;
                give(data, sink);
                Ok(data.len())
            }
            Self::Chunked(chunked) => chunked.read(bytes, sink),
            Self::ToEnd => {
                give(bytes, sink);
                Ok(bytes.len())
            }
        }
    }
}

// === impl Chunked ===

impl Chunked {
    fn read(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut rest = bytes;
        while let [byte, after @ ..] = rest
            && *self != Self::Over
        {
            if let Self::Data(left) = self {
                let data = up_to(rest, *left);
                *left -= data.len() as u64;
                if *left == 0 {
                    *self = Self::DataEnd;
                }
                sink(data);
                rest = rest.get(data.len()..).unwrap_or_default();
            } else {
                *self = self.after(*byte)?;
                rest = after;
            }
        }
        Ok(bytes.len() - rest.len())
    }

    /// The place after a byte that is no data.
    fn after(&self, byte: u8) -> Result<Self, Malformed> {
        match (self, byte) {
            (&Self::Size(size, _) | &Self::Extension(size, _), b'\r') => Ok(Self::SizeEnd(size)),
            (Self::SizeEnd(0), b'\n') => Ok(Self::TrailerStart(0)),
            (&Self::SizeEnd(size), b'\n') => Ok(Self::Data(size)),
            (Self::Start, _) => Ok(Self::Size(digit(byte)?, 1)),
            (&Self::Size(size, _), b';' | b' ' | b'\t') => Ok(Self::Extension(size, 1)),
            (&Self::Size(size, n_digits), _) if n_digits < MAX_SIZE_DIGITS => {
                Ok(Self::Size(size << 4 | digit(byte)?, n_digits + 1))
            }
            (Self::Size(..), _) => Err(Malformed::ChunkSize),
            (Self::SizeEnd(_), _) | (Self::Extension(..), b'\n') => Err(Malformed::ChunkSize),
            (&Self::Extension(size, n_bytes), _) => Ok(Self::Extension(size, more(n_bytes)?)),
            (Self::DataEnd, b'\r') => Ok(Self::DataLineFeed),
            (Self::DataLineFeed, b'\n') => Ok(Self::Start),
            (Self::TrailerStart(_), b'\r') => Ok(Self::LastLineFeed),
            (Self::Trailer(n_bytes), b'\n') => Ok(Self::TrailerStart(more(*n_bytes)?)),
            (Self::Trailer(n_bytes) | Self::TrailerStart(n_bytes), _) => {
                Ok(Self::Trailer(more(*n_bytes)?))
            }
            (Self::LastLineFeed, b'\n') => Ok(Self::Over),
            (Self::DataEnd | Self::DataLineFeed | Self::LastLineFeed, _)
            | (Self::Data(_) | Self::Over, _) => Err(Malformed::ChunkEnd),
        }
    }
}

fn digit(byte: u8) -> Result<u64, Malformed> {
    let digit = char::from(byte).to_digit(16).ok_or(Malformed::ChunkSize)?;
    Ok(digit.into())
}

fn more(n_bytes: usize) -> Result<usize, Malformed> {
    if n_bytes < MAX_OVERHEAD {
        Ok(n_bytes + 1)
    } else {
        Err(Malformed::TooMuchOverhead)
    }
}

/// As many of the bytes as a body or a chunk still has.
fn up_to(bytes: &[u8], left: u64) -> &[u8] {
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    bytes.get(..left).unwrap_or(bytes)
}

fn give(data: &[u8], sink: &mut impl FnMut(&[u8])) {
    if !data.is_empty() {
        sink(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the bytes, cut at every place in turn, and holds that the cut changes nothing.
    fn read(framing: fn() -> Framing, bytes: &[u8]) -> Result<(String, usize, bool), Malformed> {
        let whole = read_pieces(framing(), &[bytes]);
        for cut in 0..=bytes.len() {
            let (start, end) = bytes.split_at(cut);
            assert_eq!(read_pieces(framing(), &[start, end]), whole, "{cut}");
        }
        whole
    }

    fn read_pieces(
        mut framing: Framing,
        pieces: &[&[u8]],
    ) -> Result<(String, usize, bool), Malformed> {
        let mut data = Vec::new();
        let mut n_read = 0;
        for piece in pieces {
            n_read += framing.read(piece, &mut |bytes| data.extend_from_slice(bytes))?;
        }
        Ok((String::from_utf8(data).unwrap(), n_read, framing.is_over()))
    }

    #[test]
    fn a_body_ends_where_its_length_says() {
        let read = |text: &str| read(|| Framing::Length(3), text.as_bytes()).unwrap();
        assert_eq!(read("ab"), ("ab".to_owned(), 2, false));
        assert_eq!(read("abc"), ("abc".to_owned(), 3, true));
        assert_eq!(read("abcd"), ("abc".to_owned(), 3, true));
    }

    #[test]
    fn a_body_without_a_length_ends_with_its_connection() {
        let read = read(|| Framing::ToEnd, b"abc").unwrap();
        assert_eq!(read, ("abc".to_owned(), 3, false));
    }

    #[test]
    fn chunks_are_put_together() {
        for (text, data) in [
            ("0\r\n\r\n", ""),
            ("3\r\nabc\r\n0\r\n\r\n", "abc"),
            ("1\r\na\r\n02\r\nbc\r\n000\r\n\r\n", "abc"),
            ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
            ("B\r\n0123\r\n56789\r\n0\r\n\r\n", "0123\r\n56789"),
            ("3;a=b\r\nabc\r\n0;x\r\n\r\n", "abc"),
            ("3 \t\r\nabc\r\n0\r\nx: y\r\nz:\r\n\r\n", "abc"),
        ] {
            let expected = (data.to_owned(), text.len(), true);
            assert_eq!(
                read(Framing::chunked, text.as_bytes()),
                Ok(expected),
                "{text:?}"
            );
            let mut longer = text.as_bytes().to_vec();
            longer.extend_from_slice(b"HTTP/1.1 200 OK");
            let expected = (data.to_owned(), text.len(), true);
            assert_eq!(read(Framing::chunked, &longer), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn a_body_in_chunks_that_is_cut_is_not_over() {
        let text = b"3\r\nabc\r\n0\r\nx: y\r\n\r\n";
        for end in 0..text.len() {
            let (_, n_read, is_over) = read(Framing::chunked, &text[..end]).unwrap();
            assert_eq!((n_read, is_over), (end, false));
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for (text, fault) in [
            ("\r\n", Malformed::ChunkSize),
            ("g\r\n", Malformed::ChunkSize),
            ("-1\r\n", Malformed::ChunkSize),
            (" 1\r\n", Malformed::ChunkSize),
            ("1\na", Malformed::ChunkSize),
            ("1\r\ra", Malformed::ChunkSize),
            ("1;x\na", Malformed::ChunkSize),
            ("10000000000000000\r\n", Malformed::ChunkSize),
            ("00000000000000000\r\n", Malformed::ChunkSize),
            ("1\r\nab", Malformed::ChunkEnd),
            ("1\r\na\n", Malformed::ChunkEnd),
            ("1\r\na\r1", Malformed::ChunkEnd),
            ("0\r\n\rx", Malformed::ChunkEnd),
        ] {
            assert_eq!(
                read(Framing::chunked, text.as_bytes()),
                Err(fault),
                "{text:?}"
            );
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        for start in ["1;", "0\r\nx: "] {
            let mut framing = Framing::chunked();
            let mut text = start.as_bytes().to_vec();
            text.resize(2 * MAX_OVERHEAD, b'x');
            let fault = framing.read(&text, &mut |_data| {});
            assert_eq!(fault, Err(Malformed::TooMuchOverhead), "{start:?}");
        }
    }
}
