//! A recorded exchange: the request's body, and the answer as it is played again.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use serde_json::Value;

use super::reply::Reply;

/// One of `tests/recordings/vllm-0.32.0/`.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(crate) name: String,
    /// The body of the request; `None` where there was none, or none that is JSON.
    pub(crate) request: Option<Value>,
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// The answer's body, without its transfer coding.
    pub(crate) body: Bytes,
    /// The answer as it stands in the file.
    pub(crate) file: Bytes,
}

// === impl Recording ===

impl Recording {
    /// Those of a folder whose names begin with one of `prefixes`, in the order of their names.
    pub(crate) fn all(prefixes: &[&str]) -> Vec<Self> {
        let mut names: Vec<String> = fs::read_dir(folder())
            .unwrap()
            .filter_map(|entry| {
                let file_name = entry.unwrap().file_name();
                let name = file_name.to_str().unwrap().strip_suffix(".txt")?;
                let is_snapshot = name.ends_with(".events") || name.ends_with(".answer");
                let is_wanted = prefixes.iter().any(|prefix| name.starts_with(prefix));
                (is_wanted && !is_snapshot).then(|| name.to_owned())
            })
            .collect();
        names.sort();
        names.iter().map(|name| Self::read(name)).collect()
    }

    pub(crate) fn read(name: &str) -> Self {
        let file = Bytes::from(fs::read(folder().join(format!("{name}.txt"))).unwrap());
        let n_head_bytes = file.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let n_head_bytes = n_head_bytes.unwrap() + 4;
        let head = std::str::from_utf8(&file[..n_head_bytes]).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let headers = head.lines().skip(1).filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), value.to_owned()))
        });
        let request = fs::read(folder().join(format!("{name}.req.json")));
        Self {
            name: name.to_owned(),
            request: request.ok().and_then(|it| serde_json::from_slice(&it).ok()),
            status,
            headers: headers.collect(),
            body: file.slice(n_head_bytes..),
            file,
        }
    }

    /// Whether the caller asked for a stream, whatever it got.
    pub(crate) fn asks_for_a_stream(&self) -> bool {
        let asked = self.request.as_ref().and_then(|body| body.get("stream"));
        asked == Some(&Value::Bool(true)) || self.is_stream()
    }

    /// Whether the file holds the transfer coding too.
    pub(crate) fn is_raw(&self) -> bool {
        self.name.ends_with("_raw_chunked")
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.content_type().starts_with("text/event-stream")
    }

    pub(crate) fn content_type(&self) -> &str {
        let mut headers = self.headers.iter();
        let found = headers.find(|(name, _value)| name == "content-type");
        found.map_or("", |(_name, value)| value)
    }

    /// The answer with a body of one's own making, in the recorded kind of framing.
    pub(crate) fn reply_of(&self, parts: impl IntoIterator<Item = Bytes>) -> Reply {
        let reply = if self.is_stream() {
            Reply::stream()
        } else {
            Reply::whole(self.status, self.content_type(), Bytes::new())
        };
        parts.into_iter().fold(reply, Reply::send)
    }

    /// The answer as vLLM writes it: an HTTP chunk for each event, or a body in one piece.
    pub(crate) fn reply(&self) -> Reply {
        if self.is_raw() {
            return Reply::raw().send(self.file.clone());
        }
        self.reply_of(self.events())
    }

    /// The body, cut after each event, comments among them.
    pub(crate) fn events(&self) -> Vec<Bytes> {
        if !self.is_stream() {
            return vec![self.body.clone()];
        }
        let mut events = Vec::new();
        let mut rest = self.body.clone();
        while let Some(end) = rest.windows(2).position(|bytes| bytes == b"\n\n") {
            events.push(rest.split_to(end + 2));
        }
        // curl prints a line end of its own after the body.
        assert!(rest.iter().all(|byte| *byte == b'\n'), "{}", self.name);
        events
    }

    /// The same recording with so many events of its beginning and its end alone.
    pub(crate) fn shortened(self, n_first: usize, n_last: usize) -> Self {
        let events = self.events();
        let last = &events[events.len() - n_last..];
        Self {
            body: [&events[..n_first], last].concat().concat().into(),
            ..self
        }
    }

    /// What a caller saw of it, beside the recording; `kind` is `events` or `answer`.
    pub(crate) fn snapshot(&self, kind: &str) -> PathBuf {
        folder().join(format!("{}.{kind}.txt", self.name))
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/vllm-0.32.0")
}
