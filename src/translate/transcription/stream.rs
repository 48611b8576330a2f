//! A streamed transcription: folds chunks into events.

use std::collections::VecDeque;

use crate::{
    openai::{chunk::Chunk, text::Text},
    proto::{
        self, FinishReason, StreamTranscribeResponse, StreamTranslateResponse,
        stream_transcribe_response::Event, stream_translate_response,
    },
    translate::{
        answer::{ChunkTranslator, finish_reason, usage},
        invalid::InvalidAnswer,
    },
};

/// Turns the chunks of one answer into responses.
///
/// Long audio is transcribed in segments, each of which finishes; the text is complete at the end of the last.
#[derive(Debug, Default)]
pub(crate) struct Translator {
    /// Of the segments until now: the first that is not `stop`, else the last.
    finished: Option<proto::TranscriptionFinished>,
    /// Whether text came since a segment finished.
    is_unfinished: bool,
    /// Held back to the end, since the last one counts.
    usage: Option<proto::Usage>,
    waiting: VecDeque<StreamTranscribeResponse>,
}

impl Translator {
    fn push_event(&mut self, event: Event) {
        let event = Some(event);
        self.waiting.push_back(StreamTranscribeResponse { event });
    }

    fn push_content(&mut self, text: Text<'_>) {
        if text.is_empty() {
            return;
        }
        self.is_unfinished = true;
        match self.waiting.back_mut().and_then(|last| last.event.as_mut()) {
            Some(Event::Content(last)) => last.text.push_str(&text),
            _ => self.push_event(Event::Content(proto::TranscriptionDelta {
                text: text.into_owned(),
            })),
        }
    }

    fn finish(&mut self, word: Text<'_>) -> Result<(), InvalidAnswer> {
        let reason = finish_reason(&word)?;
        self.is_unfinished = false;
        let before = self.finished.as_ref().map(|it| it.finish_reason());
        if before.is_none_or(|before| before == FinishReason::Stop) {
            self.finished = Some(proto::TranscriptionFinished {
                finish_reason: reason.into(),
                finish_reason_raw: word.into_owned(),
            });
        }
        Ok(())
    }
}

impl ChunkTranslator for Translator {
    type Response = StreamTranscribeResponse;

    fn push(&mut self, chunk: Chunk<'_>, _json: &str) -> Result<(), InvalidAnswer> {
        let counted = chunk.usage.map(usage);
        self.usage = counted.or(self.usage.take());
        for choice in chunk.choices.unwrap_or_default() {
            if let Some(text) = choice.delta.unwrap_or_default().content {
                self.push_content(text);
            }
            match choice.finish_reason {
                Some(word) if !word.is_empty() => self.finish(word)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), InvalidAnswer> {
        let finished = self.finished.take().filter(|_| !self.is_unfinished);
        self.push_event(Event::Finished(finished.ok_or(InvalidAnswer::Unfinished)?));
        if let Some(usage) = self.usage.take() {
            self.push_event(Event::Usage(usage));
        }
        Ok(())
    }

    fn pop(&mut self) -> Option<StreamTranscribeResponse> {
        self.waiting.pop_front()
    }

    fn is_delta(response: &StreamTranscribeResponse) -> bool {
        matches!(response.event, Some(Event::Content(_)))
    }
}

/// The same for a translation.
#[derive(Debug, Default)]
pub(crate) struct TranslationTranslator(Translator);

impl ChunkTranslator for TranslationTranslator {
    type Response = StreamTranslateResponse;

    fn push(&mut self, chunk: Chunk<'_>, json: &str) -> Result<(), InvalidAnswer> {
        self.0.push(chunk, json)
    }

    fn end(&mut self) -> Result<(), InvalidAnswer> {
        self.0.end()
    }

    fn pop(&mut self) -> Option<StreamTranslateResponse> {
        use stream_translate_response::Event as Translated;

        let event = self.0.pop()?.event.map(|event| match event {
            Event::Content(content) => Translated::Content(content),
            Event::Finished(finished) => Translated::Finished(finished),
            Event::Usage(usage) => Translated::Usage(usage),
        });
        Some(StreamTranslateResponse { event })
    }

    fn is_delta(response: &StreamTranslateResponse) -> bool {
        use stream_translate_response::Event as Translated;

        matches!(response.event, Some(Translated::Content(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: &str = r#"{"id":"trsc-1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;

    fn delta(text: &str, finish: Option<&str>) -> String {
        let finish = finish.map_or(String::new(), |word| {
            format!(r#","finish_reason":"{word}","stop_reason":null"#)
        });
        format!(
            r#"{{"id":"trsc-1","object":"transcription.chunk","created":7,"model":"w","choices":[{{"delta":{{"content":"{text}"}}{finish}}}]}}"#
        )
    }

    /// The events of a whole stream; a failure is its last line.
    fn events(chunks: &[String]) -> Vec<String> {
        let mut translator = Translator::default();
        let mut pushed = Ok(());
        for json in chunks {
            let chunk = serde_json::from_str(json).unwrap();
            pushed = pushed.and_then(|()| translator.push(chunk, json));
        }
        let ended = pushed.and_then(|()| translator.end());
        let mut events: Vec<String> = std::iter::from_fn(|| translator.pop())
            .map(|response| match response.event.unwrap() {
                Event::Content(delta) => delta.text,
                Event::Finished(finished) => format!("finished {}", finished.finish_reason_raw),
                Event::Usage(usage) => format!("usage {}", usage.total_tokens()),
            })
            .collect();
        events.extend(ended.err().map(|error| format!("{error:?}")));
        events
    }

    #[test]
    fn text_comes_in_order_and_finishes_once() {
        let chunks = [
            delta("Hel", None),
            delta("lo.", Some("stop")),
            USAGE.to_owned(),
        ];
        assert_eq!(events(&chunks), ["Hello.", "finished stop", "usage 5"]);
        assert_eq!(events(&[delta("", Some("stop"))]), ["finished stop"]);
    }

    #[test]
    fn stretches_finish_together() {
        for (words, told) in [
            (["stop", "stop"], "stop"),
            (["length", "stop"], "length"),
            (["stop", "length"], "length"),
            (["new", "length"], "new"),
        ] {
            let chunks = [delta("a", Some(words[0])), delta(" b", Some(words[1]))];
            assert_eq!(events(&chunks), ["a b", &format!("finished {told}")]);
        }
    }

    #[test]
    fn what_is_not_whole_is_an_error() {
        let unfinished = [delta("a", Some("stop")), delta(" b", None)];
        assert_eq!(events(&unfinished), ["a b", "Unfinished"]);
        assert_eq!(events(&[USAGE.to_owned()]), ["Unfinished"]);
        assert_eq!(events(&[]), ["Unfinished"]);
        assert_eq!(events(&[delta("a", Some("abort"))]), ["a", "Aborted"]);
        assert_eq!(events(&[delta("a", Some("error"))]), ["a", "Failed"]);
    }
}
