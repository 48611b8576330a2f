//! Whether a connection has begun to speak HTTP/2, and the window that its caller opens.
//!
//! hyper waits for ever for a caller's preface, and for its answer to the settings, and does not tell the caller's
//! window. This reads along until both have come and a call has begun, so that the connection can be closed where they
//! do not come.
//!
//! The preface: <https://www.rfc-editor.org/rfc/rfc9113#section-3.4>; frames:
//! <https://www.rfc-editor.org/rfc/rfc9113#section-4.1>; windows: <https://www.rfc-editor.org/rfc/rfc9113#section-6.9>.

/// The bytes before the first frame: `PRI * HTTP/2.0` and what follows it.
const MAGIC_LEN: usize = 24;
const FRAME_HEADER_LEN: usize = 9;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;

/// The window of every connection before its caller enlarges it.
const INITIAL_WINDOW: u32 = 65_535;

/// Reads along until the caller has acknowledged the settings and begun a call.
///
/// It checks nothing: what is wrong ends the connection elsewhere.
#[derive(Debug)]
pub(super) struct Preface {
    /// Bytes to pass over before the next frame header.
    to_skip: usize,
    /// A frame's header, with what a `WINDOW_UPDATE` holds after it.
    header: [u8; FRAME_HEADER_LEN + 4],
    header_len: usize,
    is_acknowledged: bool,
    has_call: bool,
    window: u32,
}

// === impl Preface ===

impl Preface {
    pub(super) fn new() -> Self {
        Self {
            to_skip: MAGIC_LEN,
            header: [0; FRAME_HEADER_LEN + 4],
            header_len: 0,
            is_acknowledged: false,
            has_call: false,
            window: INITIAL_WINDOW,
        }
    }

    /// Whether the acknowledgement has come.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.is_acknowledged
    }

    /// The connection's window as it was when the first call began, which is what a caller sets.
    pub(super) fn window(&self) -> Option<u32> {
        self.has_call.then_some(self.window)
    }

    /// Whether there is nothing more to learn.
    pub(super) fn is_done(&self) -> bool {
        self.is_acknowledged && self.has_call
    }

    /// Takes the next bytes of the caller.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !self.is_done() && !bytes.is_empty() {
            let skipped = self.to_skip.min(bytes.len());
            self.to_skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            for &byte in bytes {
                bytes = bytes.get(1..).unwrap_or_default();
                if self.push(byte) {
                    break;
                }
            }
        }
    }

    /// Takes a byte of a frame header; true once the header is whole.
    fn push(&mut self, byte: u8) -> bool {
        if let Some(place) = self.header.get_mut(self.header_len) {
            *place = byte;
        }
        self.header_len += 1;
        let [high, middle, low, kind, flags, stream @ .., a, b, c, d] = self.header;
        let is_update = kind == WINDOW_UPDATE && [high, middle, low] == [0, 0, 4];
        let needed = if is_update {
            self.header.len()
        } else {
            FRAME_HEADER_LEN
        };
        if self.header_len < FRAME_HEADER_LEN || self.header_len < needed {
            return false;
        }
        self.header_len = 0;
        if is_update {
            if stream == [0; 4] && !self.has_call {
                self.window = self.window.saturating_add(u32::from_be_bytes([a, b, c, d]));
            }
            return true;
        }
        self.to_skip = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.is_acknowledged |= kind == SETTINGS && flags & ACK != 0;
        self.has_call |= kind == HEADERS;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS_FRAME: &[u8] = &[0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1];
    const PING_FRAME: &[u8] = &[0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const SETTINGS_ACK: &[u8] = &[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0];
    const HEADERS_FRAME: &[u8] = &[0, 0, 2, HEADERS, 4, 0, 0, 0, 1, 130, 132];
    /// By 65,536 bytes, of the connection and of stream 1.
    const UPDATE: &[u8] = &[0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    const STREAM_UPDATE: &[u8] = &[0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, 1, 0, 1, 0, 0];

    /// What has been learned from bytes that come in pieces of that size.
    fn read(bytes: &[u8], size: usize) -> Preface {
        let mut preface = Preface::new();
        bytes.chunks(size).for_each(|piece| preface.read(piece));
        preface
    }

    #[test]
    fn the_acknowledgement_is_seen_however_the_bytes_come() {
        let bytes = [MAGIC, SETTINGS_FRAME, PING_FRAME, SETTINGS_ACK, PING_FRAME].concat();
        let end = bytes.len() - PING_FRAME.len();
        for size in 1..=bytes.len() {
            let mut preface = Preface::new();
            let mut n_read = 0;
            for piece in bytes.chunks(size) {
                preface.read(piece);
                n_read += piece.len();
                assert_eq!(
                    preface.is_acknowledged(),
                    n_read >= end,
                    "{size} at {n_read}"
                );
            }
        }
    }

    #[test]
    fn settings_of_the_caller_are_no_acknowledgement() {
        let preface = read(&[MAGIC, SETTINGS_FRAME, PING_FRAME, PING_FRAME].concat(), 8);
        assert!(!preface.is_acknowledged());
    }

    #[test]
    fn the_window_is_that_of_the_connection_when_the_first_call_begins() {
        let bytes = [
            MAGIC,
            SETTINGS_FRAME,
            UPDATE,
            PING_FRAME,
            UPDATE,
            STREAM_UPDATE,
            HEADERS_FRAME,
            UPDATE,
            SETTINGS_ACK,
        ]
        .concat();
        for size in 1..=bytes.len() {
            let preface = read(&bytes, size);
            assert_eq!(preface.window(), Some(65_535 + 2 * 65_536), "{size}");
            assert!(preface.is_done());
        }
        let bytes = [MAGIC, SETTINGS_FRAME, UPDATE, SETTINGS_ACK].concat();
        assert_eq!(read(&bytes, 8).window(), None);
    }
}
