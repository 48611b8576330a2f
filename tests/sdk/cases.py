"""The requests of the comparison: at least one for each feature of generation, and one for each kind of error."""
# fmt: off

from case import BATCH, CHAT, COMPLETION, STREAMED, UNARY, Case

BOTH = ("chat", "reason")
REASON = ("reason",)
OPTIONS = ("extra", "extensions", "as_prompt", "servers", "modes")

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time", "description": "Tell the time.", "strict": True}}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
CALL = {"id": "call-1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
# A transparent picture of one pixel.
PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABh6FO1AAAAABJRU5Erk"
    "Jggg=="
)
WAV = "data:audio/wav;base64,UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQIAAAAAAA=="
MP4 = "data:video/mp4;base64,AAAAGGZ0eXBpc29tAAAAAGlzb21tcDQx"


def user(content, **members):
    return {"role": "user", "content": content, **members}


def case(name, route, members):
    """A case with the options of `Case` that are among the members; a member that is None is not sent."""
    options = {option: members.pop(option) for option in OPTIONS if option in members}
    body = {"model": "tiny", "temperature": 0, **members}
    return Case(name, route, {member: value for member, value in body.items() if value is not None}, **options)


def chat(name, said, **body):
    """A chat at temperature 0, of one user turn or of the turns given."""
    messages = [user(said)] if isinstance(said, str) else said
    return case(name, CHAT, {"messages": messages, **body})


def completion(name, prompt="1 2 3", **body):
    """A text completion at temperature 0."""
    return case(name, COMPLETION, {"prompt": prompt, "max_tokens": 6, **body})


def batch(name, *chats, **body):
    """Several chats at temperature 0, each of one user turn or of the turns given."""
    messages = [[user(said)] if isinstance(said, str) else said for said in chats]
    return case(name, BATCH, {"messages": messages, "modes": (UNARY,), **body})


MESSAGES = [
    chat("prompt", "Say hello.", as_prompt=True, servers=BOTH),
    chat("one user turn", "Say hello."),
    chat("system turn", [{"role": "system", "content": "You are a helpful assistant."}, user("Say hello.")]),
    chat("developer turn", [{"role": "developer", "content": "Be brief."}, user("Say hello.")], max_tokens=8),
    chat("named participants", [user("Say hello.", name="ada")], max_tokens=8),
    chat("text parts", [user([{"type": "text", "text": "Say "}, {"type": "text", "text": "hello."}])], max_tokens=8),
    chat(
        "conversation",
        [user("Say hello."), {"role": "assistant", "content": "Hello!"}, user("Stop test.")],
        max_tokens=12,
    ),
    chat("101 tokens", "Count to one hundred."),
    chat("characters split over tokens", "Write UTF-8."),
    chat("alias of the model", "Say hello.", model="tiny-alias"),
    chat("no model", "Say hello.", model=""),
    chat("continued answer", [user("Say hello."), {"role": "assistant", "content": "Hello! How"}],
         continue_final_message=True, add_generation_prompt=False),
    chat("continued answer, echoed", [user("Say hello."), {"role": "assistant", "content": "Hello! How"}],
         continue_final_message=True, add_generation_prompt=False, echo=True),
    chat("no generation prompt", "Say hello.", add_generation_prompt=False, max_tokens=6),
    chat("template variables", "Say hello.", chat_template_kwargs={"enable_thinking": False}, servers=BOTH),
    chat("documents", "Say hello.", documents=[{"title": "a", "text": "b"}, {"text": "c"}]),
    chat("reasoning sent back",
         [user("Say hello."), {"role": "assistant", "content": "Hello!", "reasoning": "Greet."}, user("Write JSON.")],
         max_tokens=10, servers=BOTH),
]

SAMPLING = [
    chat("max_tokens", "Say hello.", max_tokens=3),
    chat("max_completion_tokens", "Say hello.", max_completion_tokens=3),
    chat("no temperature", [user("Say hello.")], temperature=None, seed=7),
    chat("temperature and seed", "Write JSON.", temperature=1.3, seed=42, max_tokens=24),
    chat("largest seed", "Say hello.", temperature=0.9, seed=2**63 - 1, max_tokens=12),
    chat("n", "Write a person.", n=3, temperature=1.2, seed=5, max_tokens=16),
    chat("top_p, top_k, min_p", "Write UTF-8.", temperature=1.1, seed=3, top_p=0.9, top_k=20, min_p=0.02,
         max_tokens=20),
    chat("top_k off", "Say hello.", temperature=0.8, seed=3, top_k=-1, max_tokens=12),
    chat("penalties", "Count to one hundred.", frequency_penalty=0.5, presence_penalty=-0.5, repetition_penalty=1.2,
         max_tokens=24),
    chat("logit_bias", "Say hello.", logit_bias={"16": 100.0, "5": -12.5}, max_tokens=4),
    chat("allowed_token_ids", "Say hello.", allowed_token_ids=[16, 19, 277], max_tokens=4),
    chat("bad_words", "Say hello.", bad_words=["Hello", "Hi"], max_tokens=6),
    chat("beam search", "Say hello.", use_beam_search=True, n=2, length_penalty=0.8, max_tokens=5),
    chat("zeroes", "Say hello.", top_p=1, min_p=0, frequency_penalty=0, presence_penalty=0, top_k=0, min_tokens=0,
         repetition_penalty=1),
    chat("user, session, salt", "Say hello.", user="u-1", session_id="s-1", cache_salt="pepper"),
    chat("watermark off", "Say hello.", watermarking=False),
    chat("no member but the needed ones", [user("Say hello.")], temperature=0),
]

ENDS = [
    chat("stop text", "Stop test.", stop="STOP"),
    chat("stop texts, kept", "Stop test.", stop=["nothing", "beta STOP"], include_stop_str_in_output=True),
    chat("stop token", "Say hello.", stop_token_ids=[442, 0]),
    chat("ignore_eos", "Say hello.", ignore_eos=True, max_tokens=30),
    chat("min_tokens", "Say hello.", min_tokens=14, max_tokens=20),
    chat("special tokens kept", "Say hello.", skip_special_tokens=False, spaces_between_special_tokens=False,
         ignore_eos=True, max_tokens=14),
    chat("repetition", "Say hello.", allowed_token_ids=[19], max_tokens=40, ignore_eos=True,
         repetition_detection={"max_pattern_size": 2, "min_pattern_size": 1, "min_count": 4}),
    chat("truncated prompt", "Say hello. " * 8, truncate_prompt_tokens=9, max_tokens=6),
    chat("truncated on the right", "Say hello. " * 8, truncate_prompt_tokens=9, truncation_side="right", max_tokens=6),
    chat("special tokens added", "Say hello.", add_special_tokens=True, max_tokens=6),
    chat("cached prompt", "word " * 300, max_tokens=4),
]

TOKENS = [
    chat("logprobs", "Say hello.", logprobs=True, servers=BOTH),
    chat("top_logprobs", "Write UTF-8.", logprobs=True, top_logprobs=3),
    chat("top_logprobs 0", "Say hello.", logprobs=True, top_logprobs=0, max_tokens=3),
    chat("logprobs of unlikely tokens", "Say hello.", logprobs=True, top_logprobs=5, allowed_token_ids=[16, 19],
         max_tokens=3),
    chat("logprob_token_ids", "Say hello.", logprobs=True, logprob_token_ids=[1, 16], max_tokens=4),
    chat("logprobs of n", "Say hello.", logprobs=True, top_logprobs=1, n=2, temperature=1.2, seed=11, max_tokens=6),
    chat("prompt_logprobs", "Say hello.", prompt_logprobs=2, max_tokens=2),
    # The contract refuses any number in a stream, vLLM all but 0, which gives nothing there.
    chat("prompt_logprobs 0", "Say hello.", prompt_logprobs=0, max_tokens=2, modes=(UNARY,)),
    chat("return_token_ids", "Write UTF-8.", return_token_ids=True),
    chat("return_token_ids of n", "Say hello.", return_token_ids=True, n=2, temperature=1.2, seed=2, max_tokens=6),
    chat("token ids in logprobs", "Write UTF-8.", return_tokens_as_token_ids=True, logprobs=True, top_logprobs=2,
         max_tokens=12),
    chat("return_prompt_text", "Say hello.", return_prompt_text=True),
    chat("continuous usage", "Say hello.", stream_options={"continuous_usage_stats": True}),
    chat("continuous usage of n", "Say hello.", stream_options={"continuous_usage_stats": True}, n=2, temperature=0.9,
         seed=4, max_tokens=8),
    chat("stream_interval", "Count to one hundred.", stream_interval=7, return_token_ids=True, max_tokens=30),
]

TOOLS = [
    chat("a tool call", "Weather in Paris?", tools=[WEATHER], servers=BOTH),
    chat("two tool calls", "Weather in Paris and Tokyo?", tools=[WEATHER], servers=BOTH),
    chat("a tool that is not called", "Say hello.", tools=[WEATHER]),
    chat("several tools, strict", "Weather in Paris?", tools=[WEATHER, CLOCK], max_tokens=40),
    chat("tool choice auto", "Weather in Paris?", tools=[WEATHER], tool_choice="auto"),
    chat("tool choice required", "Weather in Paris?", tools=[WEATHER], tool_choice="required"),
    chat("tool choice required, two calls", "Weather in Paris and Tokyo?", tools=[WEATHER], tool_choice="required",
         max_tokens=80),
    chat("tool choice named", "Weather in Paris?", tools=[WEATHER],
         tool_choice={"type": "function", "function": {"name": "get_weather"}}),
    chat("tool choice none", "Weather in Paris?", tools=[WEATHER], tool_choice="none"),
    chat("one call at most", "Weather in Paris and Tokyo?", tools=[WEATHER], parallel_tool_calls=False),
    chat("parallel calls allowed", "Weather in Paris and Tokyo?", tools=[WEATHER], parallel_tool_calls=True),
    chat("tool call cut off", "Weather in Paris?", tools=[WEATHER], max_tokens=16),
    chat("required call cut off", "Weather in Paris?", tools=[WEATHER], tool_choice="required", max_tokens=18),
    chat("tool calls of n", "Weather in Paris?", tools=[WEATHER], n=2, temperature=0.2, seed=9),
    chat("tool calls with logprobs and ids", "Weather in Paris?", tools=[WEATHER], logprobs=True, top_logprobs=1,
         return_token_ids=True),
    chat("tool results",
         [user("Weather in Paris?"), {"role": "assistant", "content": None, "tool_calls": [CALL]},
          {"role": "tool", "tool_call_id": "call-1", "content": '{"celsius": 22}'}],
         tools=[WEATHER], servers=BOTH),
    chat("tool results in parts",
         [user("Weather in Paris?"), {"role": "assistant", "tool_calls": [CALL]},
          {"role": "tool", "tool_call_id": "call-1", "content": [{"type": "text", "text": '{"celsius": 22}'}]}],
         tools=[WEATHER]),
]

STRUCTURED = [
    chat("json_schema", "Write a person.", max_tokens=60,
         response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}, servers=BOTH),
    chat("json_schema cut off", "Write a person.", max_tokens=5,
         response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}),
    chat("json_object", "Write JSON.", max_tokens=60, response_format={"type": "json_object"}),
    chat("regex", "Say hello.", structured_outputs={"regex": "[0-9]{3}-[a-f]{4}"}),
    chat("choice", "Say hello.", structured_outputs={"choice": ["red", "green", "blue"]}, servers=BOTH),
    chat("grammar", "Say hello.", structured_outputs={"grammar": 'root ::= "yes" | "no"'}),
    chat("structural tag", "Say hello.", max_tokens=20,
         response_format={"type": "structural_tag", "format": {"type": "const_string", "value": "abc"}}),
    chat("structural tag, older form", "Say hello.", max_tokens=20,
         response_format={"type": "structural_tag", "triggers": ["<p>"],
                          "structures": [{"begin": "<p>", "schema": PERSON, "end": "</p>"}]}),
    completion("completion by regex", structured_outputs={"regex": "[0-9]{2}x"}),
    completion("completion by schema", max_tokens=60,
               response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}),
]

REASONING = [
    chat("thinking, unparsed or apart", "Think about 2+2.", servers=BOTH),
    chat("reasoning left out", "Think about 2+2.", include_reasoning=False, servers=REASON),
    chat("reasoning left out, with logprobs", "Think about 2+2.", include_reasoning=False, logprobs=True,
         return_token_ids=True, servers=REASON),
    chat("reasoning with logprobs and ids", "Think about 2+2.", logprobs=True, top_logprobs=1, return_token_ids=True,
         servers=REASON),
    chat("reasoning and a tool call", "Think, then weather in Tokyo?", tools=[WEATHER], servers=BOTH),
    chat("reasoning and a choice", "Think about 2+2.", structured_outputs={"choice": ["four", "five"]}, servers=REASON),
    chat("reasoning cut off", "Think about 2+2.", max_tokens=5, servers=REASON),
    chat("reasoning of n", "Think about 2+2.", n=2, temperature=0.3, seed=6, servers=REASON),
    chat("reasoning and usage so far", "Think about 2+2.", stream_options={"continuous_usage_stats": True},
         servers=REASON),
    chat("reasoning_effort", "Think about 2+2.", reasoning_effort="low", servers=BOTH),
    chat("reasoning_effort none", "Think about 2+2.", reasoning_effort="none", max_tokens=20, servers=BOTH),
    chat("thinking budget", "Think about 2+2.", thinking_token_budget=3, max_tokens=24, servers=BOTH),
    chat("answer without thinking", "Say hello.", servers=REASON),
    completion("completion beside a reasoning parser", servers=REASON),
]

PARTS = [
    chat("another role", [{"role": "critic", "content": "Too long.", "name": "c"}, user("Say hello.")]),
    chat("a developer's tools",
         [{"role": "developer", "content": "Be brief.", "tools": [WEATHER]}, user("Say hello.")]),
    chat("a turn with a task", [user("Say hello.", task="judge")]),
    chat("thinking and refusal as parts", [
        {"role": "assistant",
         "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "refusal", "refusal": "No."}]},
        user("Say hello."),
    ]),
    chat("further members of a part",
         [user([{"type": "text", "text": "Say hello.", "cache_control": {"type": "ephemeral"}, "fps": 2}])]),
    chat("deferred tool and a reference to it", [user([{"type": "text", "text": "Weather in Paris?"},
         {"type": "tool_reference", "name": "get_weather"}])],
         tools=[{"type": "function", "function": {**WEATHER["function"], "defer_loading": True}}]),
    chat("tensor of a picture", [user([{"type": "image_embeds", "image_embeds": "AAAA"}])]),
    chat("echo with logprobs", [user("Say hello."), {"role": "assistant", "content": "Hello"}], echo=True,
         logprobs=True, max_tokens=2),
    chat("echo with top_logprobs", "Say hello.", echo=True, logprobs=True, top_logprobs=2, max_tokens=2),
]

SEVERAL = [
    completion("completions of several texts", ["1 2 3", "Say hello.", "a"]),
    completion("completion of a list of one", ["1 2 3"]),
    completion("completions of several token ids", [[19, 277, 273], [19]], return_token_ids=True),
    completion("completions of n of several texts", ["1 2 3", "a b"], n=2, temperature=1.1, seed=3, logprobs=1,
               return_token_ids=True),
    completion("several texts with prompt_logprobs", ["1 2 3", "a b"], prompt_logprobs=0, modes=(UNARY,)),
    completion("several texts with usage so far", ["1 2 3", "a b"], stream_options={"continuous_usage_stats": True}),
    completion("several texts with echo", ["1 2 3", "a b"], echo=True, logprobs=0, return_token_ids=True),
    completion("several texts by beam search", ["1 2 3", "a b"], n=2, use_beam_search=True),
    completion("an empty text among several", ["1 2 3", ""]),
    completion("too many texts", ["a"] * 1025),
    completion("a wrong token among several", [[19], [100000]]),
    batch("batch of chats", "Say hello.", [{"role": "system", "content": "Be brief."}, user("1 2 3")]),
    batch("batch of one", "Say hello."),
    batch("batch with reasoning", "Think about 2+2.", "Say hello.", servers=REASON),
    batch("batch without reasoning", "Think about 2+2.", "Say hello.", include_reasoning=False, servers=REASON),
    batch("batch with logprobs", "Say hello.", "1 2 3", logprobs=True, top_logprobs=2, max_tokens=3,
          return_token_ids=True),
    batch("batch with a form", "Say hello.", "1 2 3", structured_outputs={"choice": ["four", "five"]}),
    batch("batch with fields that vLLM does not list", "Say hello.", "1 2 3", stop_token_ids=[285, 16],
          bad_words=["The"], min_tokens=2, truncate_prompt_tokens=9, truncation_side="left", reasoning_effort="low",
          ignore_eos=True, max_tokens=9, session_id="s"),
    batch("batch for an unknown model", "Say hello.", model="nobody"),
    batch("batch of n", "Say hello.", n=2, temperature=1),
    batch("batch by beam search", "Say hello.", use_beam_search=True),
    batch("batch with a bad regex", "Say hello.", structured_outputs={"regex": "["}),
]

COMPLETIONS = [
    completion("completion of text"),
    completion("completion of token ids", [19, 277, 273]),
    completion("completion without a limit", max_tokens=None),
    completion("echo", echo=True),
    completion("echo with logprobs", echo=True, logprobs=1),
    completion("echo alone", echo=True, max_tokens=0, logprobs=1),
    completion("completion with logprobs 0", logprobs=0),
    completion("completion with logprobs", logprobs=3),
    completion("completion with logprob_token_ids", logprobs=1, logprob_token_ids=[16]),
    completion("completion with prompt_logprobs", prompt_logprobs=1),
    completion("completions of n", n=2, temperature=1.2, seed=8, logprobs=1),
    completion("completion by beam search", n=2, use_beam_search=True),
    completion("completion with a stop text", stop=[" 6"]),
    completion("completion with a stop token", stop_token_ids=[285, 16], max_tokens=8),
    completion("completion with a seed", temperature=1.1, seed=17, top_p=0.95, top_k=50, min_p=0.01),
    completion("completion with penalties", frequency_penalty=0.3, presence_penalty=0.2, repetition_penalty=1.1),
    completion("completion with logit_bias", logit_bias={"16": 100.0}, max_tokens=3),
    completion("completion with token ids", return_token_ids=True),
    completion("completions of n with token ids", return_token_ids=True, n=2, temperature=1.1, seed=1),
    completion("completion with token ids in logprobs", return_tokens_as_token_ids=True, logprobs=2),
    completion("completion with usage so far", stream_options={"continuous_usage_stats": True}),
    completion("completion of a truncated prompt", "1 2 3 " * 20, truncate_prompt_tokens=5, truncation_side="left"),
    completion("completion without special tokens", add_special_tokens=False, skip_special_tokens=True),
    completion("completion to the end", ignore_eos=True, min_tokens=4),
    completion("completion by interval", stream_interval=3, max_tokens=20),
    completion("completion with the rest", user="u", cache_salt="c", session_id="s", bad_words=[" 4"],
               allowed_token_ids=[16, 19, 277]),
]

EXTRA = [
    chat("extra body that is accepted", "Say hello.", extra={"vllm_xargs": {"colour": "blue"}}),
    chat("extra body that is refused", "Say hello.", extra={"chat_template": "{{ messages }}"}),
    chat("extension of the answer", "Say hello.", extensions=("metrics",)),
]

LONG = "word " * 2100

ERRORS = [
    chat("unknown model", "Say hello.", model="nobody"),
    completion("unknown model of a completion", model="nobody"),
    chat("context too long", LONG, servers=BOTH),
    completion("completion too long", LONG),
    completion("token ids too long", [19] * 2100),
    completion("token id outside the vocabulary", [100000]),
    chat("max_tokens too large", "Say hello.", max_tokens=100000),
    chat("max_tokens 0", "Say hello.", max_tokens=0),
    chat("temperature too high", "Say hello.", temperature=2.5),
    chat("temperature below 0", "Say hello.", temperature=-1.0),
    chat("top_p 0", "Say hello.", top_p=0.0),
    chat("top_k -2", "Say hello.", top_k=-2),
    chat("min_p too high", "Say hello.", min_p=1.5),
    chat("frequency_penalty too high", "Say hello.", frequency_penalty=3.0),
    chat("presence_penalty too low", "Say hello.", presence_penalty=-3.0),
    chat("repetition_penalty 0", "Say hello.", repetition_penalty=0.0),
    chat("n 0", "Say hello.", n=0),
    chat("n at temperature 0", "Say hello.", n=2),
    chat("min_tokens over max_tokens", "Say hello.", min_tokens=9, max_tokens=4),
    chat("five stop texts", "Say hello.", stop=["a", "b", "c", "d", "e"]),
    chat("empty stop text", "Say hello.", stop=["a", ""]),
    chat("empty bad word", "Say hello.", bad_words=[""]),
    chat("stop token outside the vocabulary", "Say hello.", stop_token_ids=[100000]),
    chat("logit_bias outside the vocabulary", "Say hello.", logit_bias={"100000": 1.0}),
    chat("allowed_token_ids outside the vocabulary", "Say hello.", allowed_token_ids=[100000]),
    chat("top_logprobs without logprobs", "Say hello.", top_logprobs=2),
    chat("top_logprobs over the limit", "Say hello.", logprobs=True, top_logprobs=21),
    chat("all top_logprobs", "Say hello.", logprobs=True, top_logprobs=-1),
    completion("logprobs over the limit", logprobs=21),
    chat("logprob_token_ids without logprobs", "Say hello.", logprob_token_ids=[1]),
    chat("truncation to -2", "Say hello.", truncate_prompt_tokens=-2),
    chat("generation prompt and continued answer", [user("Say hello."), {"role": "assistant", "content": "Hello"}],
         continue_final_message=True, add_generation_prompt=True),
    chat("cache_salt with a slash", "Say hello.", cache_salt="a/b"),
    # The contract gives it no effect on a unary call.
    chat("stream_interval 0", "Say hello.", stream_interval=0, modes=(STREAMED,)),
    chat("unknown reasoning_effort", "Say hello.", reasoning_effort="tremendous"),
    chat("tool choice without tools", "Say hello.", tool_choice="auto"),
    chat("unknown function chosen", "Say hello.", tools=[WEATHER],
         tool_choice={"type": "function", "function": {"name": "get_nothing"}}),
    chat("bad regex", "Say hello.", structured_outputs={"regex": "["}, servers=BOTH),
    chat("bad schema", "Say hello.", structured_outputs={"json": {"type": "nonsense"}}),
    chat("bad schema as response_format", "Say hello.",
         response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}),
    chat("bad grammar", "Say hello.", structured_outputs={"grammar": "root ::= "}),
    chat("bad structural tag", "Say hello.", response_format={"type": "structural_tag", "format": {"type": "nothing"}}),
    completion("suffix for a model that does not fill in", suffix="."),
    chat("wrong key of the operator", "Say hello.", servers=("wrong key",)),
    chat("image", [user([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PNG}}])]),
    chat("image with detail", [user([{"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}])]),
    chat("audio", [user([{"type": "audio_url", "audio_url": {"url": WAV}}])]),
    chat("video", [user([{"type": "video_url", "video_url": {"url": MP4}}])]),
]

CASES = [
    *MESSAGES, *PARTS, *SEVERAL, *SAMPLING, *ENDS, *TOKENS, *TOOLS, *STRUCTURED, *REASONING, *COMPLETIONS, *EXTRA,
    *ERRORS,
]  # fmt: skip
