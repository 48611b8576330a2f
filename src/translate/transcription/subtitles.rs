//! Subtitles, made of segments: vLLM 0.33 makes none itself.

use std::{fmt::Write, time::Duration};

use crate::{
    openai::transcription::Segment, proto::SubtitleFormat, translate::invalid::InvalidAnswer,
};

/// A whole file; empty where none was asked for.
pub(super) fn file(
    format: SubtitleFormat,
    segments: Option<&[Segment]>,
) -> Result<String, InvalidAnswer> {
    let (mut file, separator) = match format {
        SubtitleFormat::Unspecified => return Ok(String::new()),
        SubtitleFormat::Srt => (String::new(), ','),
        SubtitleFormat::Vtt => ("WEBVTT\n\n".to_owned(), '.'),
    };
    let segments = segments.ok_or(InvalidAnswer::Malformed(
        "no segments, which were asked for",
    ))?;
    for (number, segment) in (1..).zip(segments) {
        if format == SubtitleFormat::Srt {
            let _infallible = writeln!(file, "{number}");
        }
        let (start, end) = (time(segment.start, separator), time(segment.end, separator));
        let _infallible = writeln!(file, "{start} --> {end}\n{}\n", text(&segment.text, format));
    }
    Ok(file)
}

/// As `01:02:03.004`.
fn time(seconds: f64, separator: char) -> String {
    // Below zero is no time.
    let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    // Rounded, since a time as 2.3 is a little below itself.
    let millis = (time + Duration::from_micros(500)).as_millis();
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}{separator}{millis:03}")
}

/// A line, without what would end a cue or mean something else in it.
fn text(text: &str, format: SubtitleFormat) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match format {
        SubtitleFormat::Vtt => line
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;"),
        SubtitleFormat::Srt | SubtitleFormat::Unspecified => line.replace("-->", "->"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(start: f64, end: f64, text: &str) -> Segment {
        let json = serde_json::json!({"start": start, "end": end, "text": text});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn each_segment_is_a_cue() {
        let segments = [
            segment(0.0, 2.3, " Hello.\n\n"),
            segment(3723.0004, 3723.0016, "a --> b <i> & c"),
        ];
        let segments = Some(&segments[..]);
        assert_eq!(
            file(SubtitleFormat::Srt, segments).unwrap(),
            "1\n00:00:00,000 --> 00:00:02,300\nHello.\n\n\
             2\n01:02:03,000 --> 01:02:03,002\na -> b <i> & c\n\n"
        );
        assert_eq!(
            file(SubtitleFormat::Vtt, segments).unwrap(),
            "WEBVTT\n\n00:00:00.000 --> 00:00:02.300\nHello.\n\n\
             01:02:03.000 --> 01:02:03.002\na --&gt; b &lt;i&gt; &amp; c\n\n"
        );
        assert_eq!(file(SubtitleFormat::Unspecified, segments).unwrap(), "");
    }

    #[test]
    fn without_segments_there_is_no_file() {
        let malformed = file(SubtitleFormat::Srt, None);
        assert!(matches!(malformed, Err(InvalidAnswer::Malformed(_))));
        assert_eq!(file(SubtitleFormat::Srt, Some(&[])).unwrap(), "");
        assert_eq!(file(SubtitleFormat::Vtt, Some(&[])).unwrap(), "WEBVTT\n\n");
        assert_eq!(file(SubtitleFormat::Unspecified, None).unwrap(), "");
    }

    #[test]
    fn a_time_that_is_none_is_zero() {
        for (seconds, expected) in [
            (-1.0, "00:00:00.000"),
            (f64::NAN, "00:00:00.000"),
            (359_999.999_6, "100:00:00.000"),
        ] {
            assert_eq!(time(seconds, '.'), expected, "{seconds}");
        }
    }
}
