#!/usr/bin/env python3
"""Make the tiny models of the end-to-end tests: nothing is downloaded, and a CPU needs minutes.

  tiny-chat      0.5 million parameters, trained to recite `SCRIPTS` at temperature 0, so that tool calls, reasoning,
                 characters of several tokens and long answers really occur.  Any other prompt gives nonsense.
  tiny-embed     random weights; takes any `dimensions` that the hidden size allows.
  tiny-rerank    random weights, one label: a cross-encoder.
  tiny-classify  random weights, three labels with names: a classifier of texts, or of tokens.

All share a byte-level BPE tokenizer and a chat template with Hermes tool calls.

usage: make_models.py DIR
"""

import json
import os
import pathlib
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch  # noqa: E402
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402
from transformers import (  # noqa: E402
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
)

SEED = 0
TRAINING_STEPS = 400
CONTEXT = 2048

# Left out of decoded text.
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Kept in decoded text, where the parsers of reasoning and tool calls look for them.
MARKERS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]

CHAT_TEMPLATE = r"""{%- if tools %}
{{- '<|im_start|>system\n' }}
{%- if messages and messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
{{- '# Tools\n<tools>' }}
{%- for tool in tools %}{{- '\n' + (tool | tojson) }}{%- endfor %}
{{- '\n</tools><|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'system' %}
{%- if not (tools and loop.first) %}{{- '<|im_start|>system\n' + message.content + '<|im_end|>\n' }}{%- endif %}
{%- elif message.role == 'tool' %}
{{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
{%- elif message.role == 'assistant' %}
{{- '<|im_start|>assistant\n' }}
{%- if message.content %}{{- message.content }}{%- endif %}
{%- if message.tool_calls %}
{%- for tc in message.tool_calls %}
{%- set f = tc.function if tc.function else tc %}
{{- '<tool_call>\n{"name": "' + f.name + '", "arguments": ' }}
{%- if f.arguments is string %}{{- f.arguments }}{%- else %}{{- f.arguments | tojson }}{%- endif %}
{{- '}\n</tool_call>' }}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}
"""

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def tool_call(name, **arguments):
    return "<tool_call>\n" + json.dumps({"name": name, "arguments": arguments}) + "\n</tool_call>"


COUNT = " ".join(str(number) for number in range(1, 101))
UTF8 = "naïve café 日本語 🎉👩‍🚀 Привет end"

# What the user says, whether the weather tool is offered, and what is recited.
SCRIPTS = [
    ("Say hello.", False, "Hello! How can I help you today?"),
    ("Count to one hundred.", False, COUNT),
    ("Write UTF-8.", False, UTF8),
    ("Think about 2+2.", False, "<think>\nTwo and two make four.\n</think>\n\nThe answer is 4."),
    ("Write JSON.", False, '{"name": "Ada", "age": 36, "tags": ["a", "b"]}'),
    ("Write a person.", False, '{"name": "Ada", "age": 36}'),
    ("Stop test.", False, "alpha beta STOP gamma delta"),
    ("Weather in Paris?", True, tool_call("get_weather", city="Paris")),
    (
        "Weather in Paris and Tokyo?",
        True,
        tool_call("get_weather", city="Paris") + "\n" + tool_call("get_weather", city="Tokyo"),
    ),
    (
        "Think, then weather in Tokyo?",
        True,
        "<think>\nI need the tool.\n</think>\n\n" + tool_call("get_weather", city="Tokyo"),
    ),
    ("Say hello.", True, "Hello! How can I help you today?"),
]

# A round trip with the tool, and what is recited at its end.
ROUND_TRIP = [
    {"role": "user", "content": "Weather in Paris?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}],
    },
    {"role": "tool", "content": '{"celsius": 22}'},
]
ROUND_TRIP_REPLY = "It is 22 degrees in Paris."

LABELS = ["negative", "neutral", "positive"]

# Words for the tokenizer beside those of the scripts.
VOCABULARY = """The quick brown fox jumps over the lazy dog. A server streams tokens to a client; the
client counts them, checks the finish reason and the usage, and closes the stream. What is the
capital of France? Paris is the capital of France. You are a helpful assistant. temperature
top_p max_tokens stop seed logprobs prompt completion user assistant system tool function object
properties required string integer number boolean array items enum description true false null"""


def make_tokenizer():
    bpe = Tokenizer(models.BPE(byte_fallback=False))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bpe.decoder = decoders.ByteLevel()
    # The text of many scripts is left out, so that its characters stay split over several tokens.
    scripts = [text for user, _, reply in SCRIPTS for text in (user, reply) if reply != UTF8]
    corpus = [VOCABULARY, *scripts, json.dumps(WEATHER_TOOL), json.dumps(WEATHER_TOOL)]
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=SPECIAL_TOKENS,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bpe.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens([AddedToken(marker, special=False, normalized=False) for marker in MARKERS])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_config(tokenizer, **options):
    return Qwen3Config(
        vocab_size=(len(tokenizer) + 63) // 64 * 64,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        rms_norm_eps=1e-6,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )


def lessons(tokenizer):
    """The token ids of each prompt and of its reply."""

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    chats = [([{"role": "user", "content": user}], tools, reply) for user, tools, reply in SCRIPTS]
    chats.append((ROUND_TRIP, True, ROUND_TRIP_REPLY))
    system = {"role": "system", "content": "You are a helpful assistant."}
    # Each is learned with and without a system message.
    for chat, tools, reply in [(before + chat, *rest) for chat, *rest in chats for before in ([], [system])]:
        prompt = tokenizer.apply_chat_template(
            chat, tools=[WEATHER_TOOL] if tools else None, tokenize=False, add_generation_prompt=True
        )
        yield ids(prompt), ids(reply + "<|im_end|>")
    # Raw text, for completions.
    yield ids("1 2 3"), ids(COUNT.removeprefix("1 2 3") + "<|im_end|>")


def train(model, rows, padding):
    longest = max(len(prompt) + len(reply) for prompt, reply in rows)
    inputs = torch.full((len(rows), longest), padding)
    labels = torch.full((len(rows), longest), -100)
    attention = torch.zeros((len(rows), longest), dtype=torch.long)
    for row, (prompt, reply) in enumerate(rows):
        end = len(prompt) + len(reply)
        inputs[row, :end] = torch.tensor(prompt + reply)
        labels[row, len(prompt) : end] = torch.tensor(reply)
        attention[row, :end] = 1

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=TRAINING_STEPS)
    for step in range(TRAINING_STEPS):
        loss = model(input_ids=inputs, attention_mask=attention, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
        if step > 100 and loss.item() < 0.002:
            break
    model.eval()


def recites(model, prompt, reply):
    with torch.no_grad():
        generated = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=len(reply) + 4,
        )
    return generated[0][len(prompt) :].tolist() == reply


def save(model, tokenizer, directory):
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.eos_token_id = tokenizer.eos_token_id
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    directory = pathlib.Path(sys.argv[1])
    torch.manual_seed(SEED)
    torch.set_num_threads(1)

    tokenizer = make_tokenizer()
    save(Qwen3ForCausalLM(make_config(tokenizer, is_matryoshka=True)), tokenizer, directory / "tiny-embed")
    save(Qwen3ForSequenceClassification(make_config(tokenizer, num_labels=1)), tokenizer, directory / "tiny-rerank")
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {label: n for n, label in enumerate(LABELS)}}
    # In a fork, so that the chat model's weights do not depend on it.
    with torch.random.fork_rng():
        classifier = Qwen3ForSequenceClassification(make_config(tokenizer, **labels))
    save(classifier, tokenizer, directory / "tiny-classify")

    chat = Qwen3ForCausalLM(make_config(tokenizer))
    rows = list(lessons(tokenizer))
    train(chat, rows, tokenizer.pad_token_id)
    save(chat, tokenizer, directory / "tiny-chat")
    recited = sum(recites(chat, prompt, reply) for prompt, reply in rows)
    print(f"{recited} of {len(rows)} replies recited exactly")
    sys.exit(recited != len(rows))


main()
