//! The form that vLLM takes.

use bytes::Bytes;

use crate::{
    config::Policy,
    openai::{
        request::Json,
        transcription::{File, TranscriptionForm},
    },
    proto::{self, TimestampGranularity},
    translate::{
        InvalidRequest, Mode, extra_body,
        fields::Fields,
        media::Kind,
        media_type,
        sampling::{self, Probabilities},
        text,
    },
};

pub(in crate::translate) const FIELDS: Fields = Fields {
    inputs: &["audio_filesize_mb", "file"],
    same: &[
        "frequency_penalty",
        "hotwords",
        "include_stop_str_in_output",
        "language",
        "length_penalty",
        "min_p",
        "model",
        "presence_penalty",
        "prompt",
        "repetition_penalty",
        "seed",
        "temperature",
        "top_k",
        "top_p",
        "use_beam_search",
        "watermarking",
    ],
    renamed: &[
        ("max_completion_tokens", "max_tokens"),
        ("n", "beams"),
        ("timestamp_granularities", "timestamps"),
        ("timestamp_granularities[]", "timestamps"),
        ("to_language", "target_language"),
    ],
    own: &[
        "request_id",
        "response_format",
        "stream",
        "stream_continuous_usage_stats",
        "stream_include_usage",
    ],
    told: &[
        ("audio file", "audio"),
        ("file size", "audio"),
        ("verbose_json", "timestamps"),
        ("diarized_json", "diarize"),
        ("diarized transcript", "diarize"),
        ("nsupported language", "language"),
    ],
};

/// Longest name of a file, in bytes, as in most file systems.
const MAX_FILE_NAME: usize = 255;

/// The form that vLLM takes, or what the caller has to mend.
#[expect(
    clippy::too_many_lines,
    reason = "each field of the contract, once, so that a new one does not compile until it is decided on"
)]
pub(crate) fn form(
    request: proto::TranscribeRequest,
    mode: Mode,
    policy: &Policy,
) -> Result<TranscriptionForm, InvalidRequest> {
    let is_stream = mode == Mode::Stream;
    check_beams(&request, is_stream)?;
    check_sampling(&request)?;
    let mut fields = Form::default();
    fields.add_format(&request, is_stream)?;
    let proto::TranscribeRequest {
        model,
        audio,
        media_type,
        language,
        prompt,
        hotwords,
        target_language,
        timestamps: _,
        diarize: _,
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
    } = request;
    fields.add(
        "model",
        text(model).or_else(|| policy.default_model.clone()),
    );
    fields.add("language", text(language));
    fields.add("prompt", text(prompt));
    fields.add("hotwords", text(hotwords));
    fields.add("to_language", text(target_language));
    fields.add("temperature", temperature);
    fields.add("top_p", top_p);
    fields.add("top_k", top_k);
    fields.add("min_p", min_p);
    // vLLM reads -1 as unset.
    fields.add("seed", seed.filter(|seed| *seed != -1));
    fields.add("frequency_penalty", frequency_penalty);
    fields.add("presence_penalty", presence_penalty);
    fields.add("repetition_penalty", repetition_penalty);
    fields.add("max_completion_tokens", max_tokens);
    fields.add("use_beam_search", use_beam_search);
    fields.add("n", beams);
    fields.add("length_penalty", length_penalty);
    fields.add("include_stop_str_in_output", include_stop_str_in_output);
    fields.add("watermarking", watermarking);
    fields.add_extra_body(extra_body_json, policy)?;
    Ok(TranscriptionForm {
        fields: fields.0,
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
    let name = if name.is_empty() {
        "audio".to_owned()
    } else {
        name
    };
    Ok(File {
        name,
        media_type,
        data,
    })
}

fn check_beams(request: &proto::TranscribeRequest, is_stream: bool) -> Result<(), InvalidRequest> {
    if request.use_beam_search == Some(true) {
        if is_stream {
            let description = "cannot be streamed; use Transcribe";
            return Err(InvalidRequest::new("use_beam_search", description));
        }
        return sampling::integer("beams", request.beams, 1..);
    }
    let set = [
        ("beams", request.beams.is_some()),
        ("length_penalty", request.length_penalty.is_some()),
        (
            "include_stop_str_in_output",
            request.include_stop_str_in_output.is_some(),
        ),
    ];
    InvalidRequest::refuse(&set, "goes with `use_beam_search` only")
}

fn check_sampling(request: &proto::TranscribeRequest) -> Result<(), InvalidRequest> {
    let probabilities = Probabilities {
        temperature: request.temperature,
        top_p: request.top_p,
        min_p: request.min_p,
        frequency_penalty: request.frequency_penalty,
        presence_penalty: request.presence_penalty,
        repetition_penalty: request.repetition_penalty,
    };
    probabilities.check()?;
    sampling::integer("top_k", request.top_k, -1..)?;
    sampling::number("length_penalty", request.length_penalty, ..)?;
    sampling::integer("max_tokens", request.max_tokens, 1..)
}

/// The fields of a form in the making.
#[derive(Default)]
struct Form(Vec<(String, String)>);

impl Form {
    /// Adds a field that is set.
    fn add(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.0.push((name.to_owned(), value.to_string()));
        }
    }

    /// Adds how the answer comes.
    fn add_format(
        &mut self,
        request: &proto::TranscribeRequest,
        is_stream: bool,
    ) -> Result<(), InvalidRequest> {
        let has_times = !request.timestamps.is_empty();
        let has_speakers = request.diarize == Some(true);
        let set = [
            ("timestamps", is_stream && has_times),
            ("diarize", is_stream && has_speakers),
        ];
        InvalidRequest::refuse(&set, "cannot be streamed; use Transcribe")?;
        if has_times && has_speakers {
            let description = "the upstream gives one of both";
            return Err(InvalidRequest::together(
                &["timestamps", "diarize"],
                description,
            ));
        }
        let format = match (has_times, has_speakers) {
            (true, _) => "verbose_json",
            (_, true) => "diarized_json",
            (false, false) => "json",
        };
        self.add("response_format", Some(format));
        for (n, granularity) in request.timestamps.iter().enumerate() {
            let word = granularity_word(n, *granularity, &request.timestamps)?;
            self.add("timestamp_granularities[]", Some(word));
        }
        if is_stream {
            self.add("stream", Some(true));
            self.add("stream_include_usage", Some(true));
        }
        Ok(())
    }

    fn add_extra_body(&mut self, text: String, policy: &Policy) -> Result<(), InvalidRequest> {
        let is_taken = |name: &str| FIELDS.has(name);
        for (name, value) in extra_body::members(text, is_taken, &policy.extra_body_keys)? {
            if name.contains(|c: char| c.is_control() || c == '"') {
                let description = "has a member whose name no form can hold";
                return Err(InvalidRequest::new("extra_body_json", description));
            }
            self.add(&name, Some(form_value(&value)));
        }
        Ok(())
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
        return Err(InvalidRequest::new(field, "comes twice"));
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
