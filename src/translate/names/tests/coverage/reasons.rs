//! Why a route is not served, and why a field has no field of its own.

pub(super) const NOT_SERVED: &[(&str, &str)] = &[
    ("GET /kv_event_sources", ROUTERS),
    (
        "GET /load",
        "the adapter counts by itself what it has sent to a replica",
    ),
    ("GET /metrics", "the operator's; a scraper asks vLLM itself"),
    ("GET /ping", SAGEMAKER),
    (
        "GET /v1/responses/{response_id}",
        "vLLM keeps answers in the memory of one replica; the adapter keeps none",
    ),
    (
        "POST /generative_scoring",
        "the odds of label tokens, which `logprob_token_ids` gives too",
    ),
    ("POST /invocations", SAGEMAKER),
    ("POST /is_scaling_elastic_ep", OPERATOR),
    ("POST /ping", SAGEMAKER),
    ("POST /scale_elastic_ep", OPERATOR),
    (
        "POST /v1/messages",
        "Anthropic's words for what `GenerationService` does",
    ),
    (
        "POST /v1/messages/count_tokens",
        "`Tokenize` counts the tokens of a chat",
    ),
    (
        "POST /v1/responses",
        "a second form of chats with a state in the server, whose events are OpenAI's to change",
    ),
    (
        "POST /v1/responses/{response_id}/cancel",
        "a caller cancels the call",
    ),
    (
        "POST /v1/systemone",
        "for models of one vendor, which answer questions with a decision",
    ),
    (
        "POST /v2/embed",
        "Cohere's words for what `EmbeddingService` does",
    ),
];

const ROUTERS: &str = "for routers that follow the prefix caches of replicas";
const SAGEMAKER: &str = "for one vendor's hosting";
const OPERATOR: &str = "the operator's: it changes the server";

/// Routes (none: all), fields, and the reason. The first that fits counts.
pub(super) const REASONS: &[(&str, &str, &str)] = &[
    (
        "",
        "request_id",
        "by the metadata `x-request-id`; each attempt has a suffix of its own",
    ),
    ("", "stream", "the method tells"),
    (
        "",
        "stream_options stream_include_usage stream_continuous_usage_stats",
        "usage is always asked for; `continuous_usage` asks for it with the tokens",
    ),
    (
        "",
        "encoding_format embed_dtype endianness",
        "vectors come as bytes, and are given as numbers",
    ),
    ("/pooling", "dimensions", "of `Embed` alone"),
    (
        "/pooling",
        "data",
        "for a plugin of the server's, whose words the contract does not know",
    ),
    (
        "",
        "padding",
        "for models of a fixed length alone, as SigLIP",
    ),
    (
        "/score /rerank",
        "cache_salt",
        "texts to score seldom need a prefix cache of their own",
    ),
    (
        "/v1/audio/transcriptions",
        "response_format",
        "`timestamps`, `subtitles` and `diarize` tell it",
    ),
    (
        "/v1/chat/completions/batch",
        "tool_choice",
        "refused with `conversations`: vLLM takes `none` alone, which is its default",
    ),
    (
        "/v1/chat/completions/batch",
        "n use_beam_search",
        "refused with `conversations`, as vLLM does",
    ),
    (
        "",
        "chat_template",
        "a program that the server runs; the operator's to allow",
    ),
    (
        "",
        "media_io_kwargs mm_processor_kwargs",
        "reaches into how the server reads media",
    ),
    (
        "",
        "kv_transfer_params ec_transfer_params extra_args routed_experts_prompt_start vllm_xargs",
        "for the operator's own machinery: caches that move, connectors, experts",
    ),
    (
        "",
        "prompt_embeds",
        "a tensor of another shape can end the engine, vLLM warns",
    ),
    (
        "",
        "return_token_offsets mm_payload return_mm_kwargs",
        "of vLLM's render routes, which it does not offer by default",
    ),
    (
        "",
        "guided_decoding_backend best_of early_stopping",
        "without effect in vLLM 0.32",
    ),
    ("", "user", "sent on; vLLM ignores it"),
    (
        "/v1/completions",
        "logprobs",
        "one number there, which `top_logprobs` gives",
    ),
    ("", "function_call functions", "`tools` and `tool_choice`"),
    (
        "",
        "guided_choice guided_grammar guided_json guided_regex guided_whitespace_pattern",
        "`structured_output`",
    ),
    (
        "",
        "prompt_cache_key prompt_cache_retention",
        "`cache_salt`, and the metadata `adapter-session`",
    ),
    ("", "safety_identifier", "`user`"),
    ("", "service_tier", "`priority`"),
    (
        "",
        "verbosity",
        "a variable of some chat templates: `chat_template_kwargs_json`",
    ),
    (
        "/v1/chat/completions",
        "documents",
        "in the order of their members, for the chat template",
    ),
];
