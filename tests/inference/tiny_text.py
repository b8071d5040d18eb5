"""Very small models of each seed family, with random weights, made in a second.

They have the classes, tokenizer kinds, special tokens and chat templates of the real ones, and say
nonsense. A tokenizer knows bytes and the special tokens only. python -m tests.inference.tiny_text
FOLDER makes them all.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

# What the templates do of what matters here: roles, tools, calls, thoughts.
QWEN3 = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n\\nYou may call one or more functions.\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools>\\nAnswer with <tool_call>\\n{...}\\n</tool_call><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>assistant\\n' + message.content }}
        {%- for call in message.tool_calls or [] %}
            {%- set call = call.function %}
            {{- '\\n<tool_call>\\n{"name": "' + call.name + '", "arguments": ' }}
            {%- if call.arguments is string %}{{- call.arguments }}
            {%- else %}{{- call.arguments | tojson }}{%- endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content }}
        {{- '\\n</tool_response><|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
GEMMA3 = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first = messages[0]['content'] + '\\n\\n' -%}{%- set rest = messages[1:] -%}
{%- else -%}
    {%- set first = '' -%}{%- set rest = messages -%}
{%- endif -%}
{%- for message in rest -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (first if loop.first else '') }}
    {{- message['content'] | trim }}{{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"""
DEEPSEEK = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}{{- message['content'] }}
    {%- elif message['role'] == 'user' %}{{- '<｜User｜>' + message['content'] }}
    {%- elif message['role'] == 'assistant' and message['tool_calls'] %}
        {{- '<｜Assistant｜><｜tool▁calls▁begin｜>' }}
        {%- for tool in message['tool_calls'] %}
            {{- '<｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' }}
            {{- tool['function']['name'] }}
            {{- '\\n```json\\n' + tool['function']['arguments'] + '\\n```<｜tool▁call▁end｜>' }}
        {%- endfor %}
        {{- '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' }}
    {%- elif message['role'] == 'assistant' %}
        {{- '<｜Assistant｜>' + message['content'].split('</think>')[-1] }}
        {{- '<｜end▁of▁sentence｜>' }}
    {%- elif message['role'] == 'tool' %}
        {{- '<｜tool▁outputs▁begin｜>' + message['content'] + '<｜tool▁outputs▁end｜>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<｜Assistant｜><think>\\n' }}{%- endif %}"""

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 2048,
    "initializer_range": 0.5,
}
QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN_WORDS = ["<tool_call>", "</tool_call>", "<think>", "</think>"]
DEEPSEEK_SPECIAL = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"]
DEEPSEEK_WORDS = [
    "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>",
    "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>",
]  # fmt: skip
GEMMA_SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]


def make(family: str, folder: Path) -> Path:
    """A tiny model of "qwen3", "gemma3", "deepseek-qwen" or "deepseek-llama" in `folder`."""
    torch.manual_seed(0)
    reader = tokenizer(family)
    save(family, MAKERS[family](len(reader)), reader, folder)
    return folder


def save(family: str, model: Any, reader: Any, folder: Path) -> None:
    """Lay a model and its tokenizer out as the hub does."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    reader.save_pretrained(folder)
    ends = reader.convert_tokens_to_ids(ENDS[family])
    GenerationConfig(eos_token_id=ends).save_pretrained(folder)


def tokenizer(family: str, size: int = 0) -> Any:
    """The tokenizer of such a model; with `size`, words that no text has fill it up to that."""
    return TOKENIZERS[family](size)


def _filled(pieces: list[str], size: int, space: str, others: int) -> dict[str, int]:
    words = [f"{space}word{number}" for number in range(size - len(pieces) - others)]
    return {piece: number for number, piece in enumerate([*pieces, *words])}


def _byte_level(
    special: list[str], words: list[str], template: str, size: int, **names: str
) -> Any:
    """A tokenizer of bytes, as GPT-2's, Qwen's and DeepSeek's are without their merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = _filled(alphabet, size, "Ġ", len(special) + len(words))
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return _finished(backend, special, words, template, names)


def _sentence_piece(special: list[str], template: str, size: int, **names: str) -> Any:
    """A tokenizer as Gemma's: spaces are letters, and unknown letters are bytes."""
    letters = [f"<0x{byte:02X}>" for byte in range(256)] + ["▁", *map(chr, range(33, 127))]
    vocab = _filled([*special, *letters], size, "▁", 0)
    backend = Tokenizer(
        models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return _finished(backend, special, [], template, names)


def _finished(
    backend: Any, special: list[str], words: list[str], template: str, names: dict[str, str]
) -> Any:
    backend.add_special_tokens([AddedToken(token, special=True) for token in special])
    backend.add_tokens([AddedToken(word, special=False) for word in words])
    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=template, **names)


TOKENIZERS: dict[str, Any] = {
    "qwen3": lambda size: _byte_level(
        QWEN_SPECIAL, QWEN_WORDS, QWEN3, size, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    ),
    "gemma3": lambda size: _sentence_piece(
        GEMMA_SPECIAL, GEMMA3, size, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    ),
    "deepseek-qwen": lambda size: _byte_level(
        DEEPSEEK_SPECIAL, DEEPSEEK_WORDS, DEEPSEEK, size,
        bos_token=DEEPSEEK_SPECIAL[0], eos_token=DEEPSEEK_SPECIAL[1],
    ),
}  # fmt: skip
TOKENIZERS["deepseek-llama"] = TOKENIZERS["deepseek-qwen"]
# The tokens that end an answer.
ENDS = {
    "qwen3": ["<|im_end|>", "<|endoftext|>"],
    "gemma3": ["<eos>", "<end_of_turn>"],
    "deepseek-qwen": DEEPSEEK_SPECIAL[1:],
    "deepseek-llama": DEEPSEEK_SPECIAL[1:],
}


def _gemma3(size: int) -> Any:
    # Every other layer sees 24 tokens back, so that the window matters.
    kinds = ["sliding_attention", "full_attention"]
    config = Gemma3TextConfig(
        vocab_size=size, sliding_window=24, layer_types=kinds, query_pre_attn_scalar=8, **SIZES
    )
    return Gemma3ForCausalLM(config)


MAKERS: dict[str, Any] = {
    "qwen3": lambda size: Qwen3ForCausalLM(Qwen3Config(vocab_size=size, **SIZES)),
    "gemma3": _gemma3,
    "deepseek-qwen": lambda size: Qwen2ForCausalLM(Qwen2Config(vocab_size=size, **SIZES)),
    "deepseek-llama": lambda size: LlamaForCausalLM(LlamaConfig(vocab_size=size, **SIZES)),
}


if __name__ == "__main__":
    for name in MAKERS:
        print(make(name, Path(sys.argv[1]) / name))
