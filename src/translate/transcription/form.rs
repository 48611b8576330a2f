//! The form that vLLM takes.

use bytes::Bytes;

use crate::{
    config::Policy,
    openai::{
        request::Json,
        transcription::{File, TranscriptionForm},
    },
    proto::{self, SubtitleFormat, TimestampGranularity},
    translate::{
        answer::Mode,
        chat::media_type::{self, Kind},
        extra_body,
        invalid::{InvalidRequest, set},
        names,
        sampling::{self, ABOVE_ZERO, ABOVE_ZERO_TO_ONE, in_range, number, text},
    },
};

/// Whether the answer is in the language that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Transcribe,
    Translate,
}

/// Longest name of a file, in bytes, as in most file systems.
const MAX_FILE_NAME: usize = 255;

/// The form that vLLM takes, or the fields that the caller has to correct.
#[expect(
    clippy::too_many_lines,
    reason = "each field of the contract, once, so that a new one does not compile until it is decided on"
)]
pub(crate) fn form(
    request: proto::TranscribeRequest,
    task: Task,
    mode: Mode,
    policy: &Policy,
) -> Result<TranscriptionForm, InvalidRequest> {
    let proto::TranscribeRequest {
        model,
        audio,
        media_type,
        language,
        prompt,
        hotwords,
        target_language,
        timestamps,
        diarize,
        temperature,
        top_p,
        top_k,
        min_p,
        seed,
        extra_body_json,
        frequency_penalty,
        presence_penalty,
        repetition_penalty,
        max_tokens,
        file_name,
        use_beam_search,
        beams,
        length_penalty,
        include_stop_str_in_output,
        watermarking,
        subtitles,
    } = request;
    let is_stream = mode == Mode::Stream;
    if use_beam_search == Some(true) {
        let set = [("use_beam_search", is_stream)];
        InvalidRequest::refuse(&set, "cannot be streamed; use Transcribe or Translate")?;
    } else {
        // 1 is vLLM's default.
        let length_penalty = length_penalty.filter(|penalty| *penalty != 1.0);
        let set = set!(beams, length_penalty, include_stop_str_in_output);
        InvalidRequest::refuse(set, "requires `use_beam_search`")?;
    }
    let mut form = Form::default();
    let diarize = diarize.filter(|diarize| *diarize);
    let wanted = set!(timestamps, diarize, subtitles);
    if is_stream {
        let description = "cannot be streamed; use Transcribe or Translate";
        InvalidRequest::refuse(wanted, description)?;
    }
    form.add("response_format", Some(format(wanted, task, subtitles)?));
    for (n, granularity) in timestamps.iter().enumerate() {
        let word = granularity_word(n, *granularity, &timestamps)?;
        match (task, word) {
            (Task::Transcribe, _) => form.add("timestamp_granularities[]", Some(word)),
            // The route has no such field: `verbose_json` has the segments.
            (Task::Translate, "segment") => {}
            (Task::Translate, _) => {
                let field = format!("timestamps[{n}]");
                let description = "must be TIMESTAMP_GRANULARITY_SEGMENT in a translation";
                return Err(InvalidRequest::new(field, description));
            }
        }
    }
    if is_stream {
        form.add("stream", Some(true));
        form.add("stream_include_usage", Some(true));
    }
    form.add("model", sampling::model_or_default(model, policy));
    form.add("language", text(language));
    form.add("prompt", text(prompt));
    form.add("hotwords", text(hotwords));
    form.add("to_language", text(target_language));
    form.add(
        "temperature",
        number("temperature", temperature, 0.0..=2.0)?,
    );
    form.add("top_p", number("top_p", top_p, ABOVE_ZERO_TO_ONE)?);
    form.add("top_k", in_range("top_k", top_k, -1..)?);
    form.add("min_p", number("min_p", min_p, 0.0..=1.0)?);
    form.add("seed", sampling::seed(seed));
    let penalty = number("frequency_penalty", frequency_penalty, -2.0..=2.0)?;
    form.add("frequency_penalty", penalty);
    let penalty = number("presence_penalty", presence_penalty, -2.0..=2.0)?;
    form.add("presence_penalty", penalty);
    let penalty = number("repetition_penalty", repetition_penalty, ABOVE_ZERO)?;
    form.add("repetition_penalty", penalty);
    let max_tokens = in_range("max_tokens", max_tokens, 1..)?;
    form.add("max_completion_tokens", max_tokens);
    form.add("use_beam_search", use_beam_search);
    form.add("n", in_range("beams", beams, 1..)?);
    let penalty = number("length_penalty", length_penalty, ..)?;
    form.add("length_penalty", penalty);
    form.add("include_stop_str_in_output", include_stop_str_in_output);
    form.add("watermarking", watermarking);
    form.add_extra_body(extra_body_json, policy)?;
    Ok(TranscriptionForm {
        fields: form.0,
        file: file(audio, file_name, media_type, policy)?,
    })
}

fn file(
    data: Bytes,
    name: String,
    media_type: String,
    policy: &Policy,
) -> Result<File, InvalidRequest> {
    let limit = policy.max_audio_bytes;
    if data.is_empty() {
        return Err(InvalidRequest::new("audio", "must not be empty"));
    }
    if data.len() > limit {
        let description =
            format!("must have at most {limit} bytes, as the operator allows (--max-audio-bytes)");
        return Err(InvalidRequest::new("audio", description));
    }
    let is_forbidden = |c: char| c.is_control() || matches!(c, '"' | '\\');
    if name.len() > MAX_FILE_NAME || name.contains(is_forbidden) {
        let description =
            "must have at most 255 bytes, none of them control characters, `\"` or `\\`";
        return Err(InvalidRequest::new("file_name", description));
    }
    let media_type = media_type::checked(media_type)?
        .or_else(|| media_type::read(&data, Some(Kind::Audio)).ok())
        .unwrap_or_else(|| "application/octet-stream".to_owned());
    Ok(File {
        name: text(name).unwrap_or_else(|| "audio".to_owned()),
        media_type,
        data,
    })
}

/// The fields of a form, by vLLM's names.
#[derive(Default)]
struct Form(Vec<(String, String)>);

impl Form {
    /// Adds a field that is set.
    fn add(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.0.push((name.to_owned(), value.to_string()));
        }
    }

    fn add_extra_body(&mut self, text: String, policy: &Policy) -> Result<(), InvalidRequest> {
        for (name, value) in extra_body::members(text, &names::TRANSCRIBE, policy)? {
            if name.contains(|c: char| c.is_control() || c == '"') {
                let description =
                    "must not have a control character or `\"` in the name of a member";
                return Err(InvalidRequest::new("extra_body_json", description));
            }
            self.add(&name, Some(form_value(&value)));
        }
        Ok(())
    }
}

/// The format of the answer, which follows from what is wanted of it.
fn format(
    wanted: &[(&str, bool)],
    task: Task,
    subtitles: i32,
) -> Result<&'static str, InvalidRequest> {
    if SubtitleFormat::try_from(subtitles).is_err() {
        let description = "must be SUBTITLE_FORMAT_SRT or SUBTITLE_FORMAT_VTT";
        return Err(InvalidRequest::new("subtitles", description));
    }
    let wants = |name| wanted.contains(&(name, true));
    match (wants("diarize"), wants("timestamps") || wants("subtitles")) {
        (false, false) => Ok("json"),
        (false, true) => Ok("verbose_json"),
        (true, _) if task == Task::Translate => {
            let description = "is allowed only for Transcribe";
            Err(InvalidRequest::new("diarize", description))
        }
        (true, false) => Ok("diarized_json"),
        (true, true) => {
            let description = "`diarize` goes with neither `timestamps` nor `subtitles`";
            InvalidRequest::refuse(wanted, description).map(|()| "diarized_json")
        }
    }
}

/// A text as it is, other values as JSON.
fn form_value(json: &Json) -> String {
    serde_json::from_str(json.get()).unwrap_or_else(|_no_text| json.get().to_owned())
}

fn granularity_word(
    n: usize,
    granularity: i32,
    all: &[i32],
) -> Result<&'static str, InvalidRequest> {
    let field = format!("timestamps[{n}]");
    if all.iter().take(n).any(|other| *other == granularity) {
        return Err(InvalidRequest::new(field, "is a duplicate"));
    }
    match TimestampGranularity::try_from(granularity) {
        Ok(TimestampGranularity::Segment) => Ok("segment"),
        Ok(TimestampGranularity::Word) => Ok("word"),
        Ok(TimestampGranularity::Unspecified) | Err(_) => Err(InvalidRequest::new(
            field,
            "must be set to a known granularity",
        )),
    }
}

#[cfg(test)]
mod tests;
