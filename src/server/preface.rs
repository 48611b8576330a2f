//! Whether a connection has begun to speak HTTP/2.
//!
//! hyper waits for ever for a caller's preface, and for its answer to the settings. This reads along until both have
//! come, so that the connection can be closed where they do not.
//! See RFC 9113, sections 3.4 (preface) and 4.1 (frames).

/// The bytes before the first frame: `PRI * HTTP/2.0` and what follows it.
const MAGIC_LEN: usize = 24;
const FRAME_HEADER_LEN: usize = 9;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;

/// Reads along until the caller has acknowledged the settings. It checks nothing: malformed frames end the connection
/// elsewhere.
#[derive(Debug)]
pub(super) struct Preface {
    /// Bytes before the next frame header.
    to_skip: usize,
    /// The header so far.
    header: Vec<u8>,
    pub(super) is_done: bool,
}

// === impl Preface ===

impl Preface {
    pub(super) fn new() -> Self {
        Self {
            to_skip: MAGIC_LEN,
            header: Vec::with_capacity(FRAME_HEADER_LEN),
            is_done: false,
        }
    }

    /// Takes the next bytes of the caller.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.to_skip > 0 {
                self.to_skip -= 1;
                continue;
            }
            self.header.push(byte);
            if let [high, middle, low, kind, flags, _, _, _, _] = self.header[..] {
                self.to_skip = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.is_done |= kind == SETTINGS && flags & ACK != 0;
                self.header.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS_FRAME: &[u8] = &[0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1];
    const PING_FRAME: &[u8] = &[0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const SETTINGS_ACK: &[u8] = &[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0];

    #[test]
    fn it_is_done_with_the_acknowledgement_however_the_bytes_come() {
        let bytes = [MAGIC, SETTINGS_FRAME, PING_FRAME, SETTINGS_ACK, PING_FRAME].concat();
        let end = bytes.len() - PING_FRAME.len();
        for size in 1..=bytes.len() {
            let mut preface = Preface::new();
            let mut n_read = 0;
            for piece in bytes.chunks(size) {
                preface.read(piece);
                n_read += piece.len();
                assert_eq!(preface.is_done, n_read >= end, "{size} at {n_read}");
            }
        }
    }

    #[test]
    fn settings_of_the_caller_are_no_acknowledgement() {
        let mut preface = Preface::new();
        preface.read(&[MAGIC, SETTINGS_FRAME, PING_FRAME, PING_FRAME].concat());
        assert!(!preface.is_done);
    }
}
