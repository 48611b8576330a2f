//! The names that differ, request by request.

use prost::Name;

use super::Names;
use crate::proto;

/// A request without exceptions.
const PLAIN: Names = Names {
    message: "",
    inputs: "",
    renamed: &[],
    own: "request_id",
    untyped: "",
    ignored: "",
    told: &[],
    chats: None,
    keeps_path: false,
    is_optional: true,
};

pub(in crate::translate) const GENERATE: Names = Names {
    message: proto::GenerateRequest::NAME,
    inputs: "input_text input_tokens messages prompt",
    renamed: &[
        TEMPLATE_KWARGS,
        // Chat's switch cannot be wrong by itself, so the number of tokens is meant.
        ("logprobs", "top_logprobs"),
        // It would override `max_tokens`.
        ("max_completion_tokens", "max_tokens"),
        ("response_format", "structured_output"),
        ("structured_outputs", "structured_output"),
        ("suffix", "completion.suffix"),
    ],
    own: "request_id stream stream_options",
    untyped: "chat_template ec_transfer_params extra_args kv_transfer_params media_io_kwargs \
        mm_processor_kwargs prompt_embeds return_weight_versions routed_experts_prompt_start \
        vllm_xargs",
    ignored: "audio best_of early_stopping function_call functions guided_choice \
        guided_decoding_backend guided_grammar guided_json guided_regex \
        guided_whitespace_pattern metadata mm_payload modalities prediction prompt_cache_key \
        prompt_cache_retention return_mm_kwargs return_token_offsets safety_identifier \
        service_tier store verbosity web_search_options",
    chats: Some("messages"),
    keeps_path: true,
    is_optional: false,
    ..PLAIN
};

/// A generation with `structured_output`. The words are those of grammar compilers in vLLM 0.32: of guidance, and of any.
/// A tool's parameters can cause them too, so they count only here.
pub(in crate::translate) const GENERATE_STRUCTURED: Names = Names {
    told: &[
        ("Grammar error: ", "structured_output"),
        ("Invalid grammar specification: ", "structured_output"),
    ],
    ..GENERATE
};

/// A generation from several chats. Older releases, and vLLM's Rust front end, have no route for it.
pub(in crate::translate) const GENERATE_BATCH: Names = Names {
    chats: Some("conversations"),
    is_optional: true,
    ..GENERATE_STRUCTURED
};

pub(in crate::translate) const EMBED: Names = Names {
    message: proto::EmbedRequest::NAME,
    inputs: "input input_text input_tokens messages",
    renamed: &[TEMPLATE_KWARGS, ("normalize", "use_activation")],
    own: "embed_dtype encoding_format endianness request_id",
    told: &[
        ("dimensions", "dimensions"),
        PRIORITY,
        ("At most 0 image", "conversations"),
        ("multimodal", "conversations"),
        ("out of vocabulary", "token_inputs"),
    ],
    chats: Some("conversations"),
    ..PLAIN
};

pub(in crate::translate) const POOL: Names = Names {
    message: proto::PoolRequest::NAME,
    renamed: &[TEMPLATE_KWARGS],
    own: "dimensions embed_dtype encoding_format endianness request_id",
    ..EMBED
};

pub(in crate::translate) const CLASSIFY: Names = Names {
    message: proto::ClassifyRequest::NAME,
    own: "request_id",
    ..POOL
};

pub(in crate::translate) const SCORE: Names = Names {
    message: proto::ScoreRequest::NAME,
    inputs: "input_text input_tokens",
    renamed: &[
        TEMPLATE_KWARGS,
        TOKENS_PER_DOCUMENT,
        ("data_1", "queries"),
        ("data_2", "documents"),
        ("items", "documents"),
        ("text_1", "queries"),
        ("text_2", "documents"),
    ],
    ..RERANK
};

pub(in crate::translate) const RERANK: Names = Names {
    message: proto::RerankRequest::NAME,
    inputs: "documents input_text input_tokens",
    renamed: &[TEMPLATE_KWARGS, TOKENS_PER_DOCUMENT],
    told: &[
        ("max_tokens_per_query", "max_tokens_per_query"),
        ("MultiModalParam", "multimodal_documents"),
        TOKENS_PER_DOCUMENT,
        PRIORITY,
    ],
    ..PLAIN
};

pub(in crate::translate) const TOKENIZE: Names = Names {
    message: proto::TokenizeRequest::NAME,
    inputs: "input_text input_tokens messages prompt",
    renamed: &[
        TEMPLATE_KWARGS,
        ("return_token_strs", "return_token_strings"),
    ],
    told: &[("multimodal", "messages"), ("At most 0 image", "messages")],
    chats: Some("messages"),
    ..PLAIN
};

pub(in crate::translate) const DETOKENIZE: Names = Names {
    message: proto::DetokenizeRequest::NAME,
    inputs: "tokens",
    ..PLAIN
};

pub(in crate::translate) const TRANSCRIBE: Names = Names {
    message: proto::TranscribeRequest::NAME,
    inputs: "audio_filesize_mb file",
    renamed: &[
        ("max_completion_tokens", "max_tokens"),
        ("n", "beams"),
        ("timestamp_granularities", "timestamps"),
        ("timestamp_granularities[]", "timestamps"),
        ("to_language", "target_language"),
    ],
    own: "request_id response_format stream stream_continuous_usage_stats stream_include_usage",
    told: &[
        AUDIO_FILE,
        FILE_SIZE,
        LANGUAGE,
        ("verbose_json", "timestamps"),
        ("diarized_json", "diarize"),
        ("diarized transcript", "diarize"),
    ],
    ..PLAIN
};

/// A transcription with `subtitles` and without `timestamps`.
pub(in crate::translate) const TRANSCRIBE_SUBTITLES: Names = Names {
    told: &[
        AUDIO_FILE,
        FILE_SIZE,
        LANGUAGE,
        ("verbose_json", "subtitles"),
    ],
    ..TRANSCRIBE
};

pub(super) const MODELS: Names = Names {
    own: GENERATE.own,
    is_optional: false,
    ..PLAIN
};

const TEMPLATE_KWARGS: (&str, &str) = ("chat_template_kwargs", "chat_template_kwargs_json");
const TOKENS_PER_DOCUMENT: (&str, &str) = ("max_tokens_per_doc", "max_tokens_per_document");
const AUDIO_FILE: (&str, &str) = ("audio file", "audio");
const FILE_SIZE: (&str, &str) = ("file size", "audio");
const LANGUAGE: (&str, &str) = ("nsupported language", "language");
const PRIORITY: (&str, &str) = ("Priority scheduling", "priority");

/// Names of what is in a chat; the errors do not say where.
pub(super) const PARTS: &str =
    "audio audio_url image image_url multi_modal_uuids tool_calls type url video video_url";
