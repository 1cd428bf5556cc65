"""Which tool format a model has: by its catalog entry's `tool_parser`, by its chat template, or the plain one."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from adapter.parsing import (
    deepseek,
    glm,
    granite,
    harmony,
    hermes,
    kimi_k2,
    llama_json,
    mistral,
    phi4_mini,
    pythonic,
    qwen3_coder,
)
from adapter.parsing.template_format import derived_format
from adapter.parsing.thinking import REASONING_FORMATS
from adapter.parsing.tool_format import ToolFormat
from adapter.parsing.tool_prompt import PLAIN
from tokentext import ChatTemplate

TOOL_FORMATS: dict[str, ToolFormat] = {
    "hermes": hermes.Hermes(),
    "qwen": hermes.Hermes(),
    "llama3_json": llama_json.LlamaJson(),
    "mistral": mistral.Mistral(),
    "granite": granite.Granite(),
    "phi4_mini": phi4_mini.Phi4Mini(),
    "deepseek_v3": deepseek.DeepSeekV3(),
    "deepseek_r1": deepseek.DeepSeekV3(),
    "deepseek_v31": deepseek.DeepSeekV31(),
    "kimi_k2": kimi_k2.KimiK2(),
    "harmony": harmony.Harmony(),
    "glm": glm.Glm(),
    "qwen3_coder": qwen3_coder.Qwen3Coder(),
    "pythonic": pythonic.Pythonic(),
    "llama4_pythonic": pythonic.Pythonic(),
    "lfm2": pythonic.Lfm2(),
}
"""The values of `tool_parser`."""

REASONING_PARSERS = frozenset(REASONING_FORMATS) | {"none", "harmony"}
"""The values of `reasoning_parser`: these two are no format of their own."""

# What stands in the chat templates of a family and in no other's; the first line all of whose texts are there counts.
_MARKERS: tuple[tuple[tuple[str, ...], ToolFormat], ...] = (
    (("<|channel|>", "<|message|>"), TOOL_FORMATS["harmony"]),
    (("<|tool_calls_section_begin|>",), TOOL_FORMATS["kimi_k2"]),
    (("<arg_key>", "<arg_value>"), TOOL_FORMATS["glm"]),
    (("<tool_call>", "<function="), TOOL_FORMATS["qwen3_coder"]),
    (("<｜tool▁calls▁begin｜>", "```json"), TOOL_FORMATS["deepseek_v3"]),
    (("<｜tool▁calls▁begin｜>",), TOOL_FORMATS["deepseek_v31"]),
    (("[TOOL_CALLS]", "[ARGS]"), mistral.MistralNamed()),
    (("[TOOL_CALLS]",), TOOL_FORMATS["mistral"]),
    (("<|start_of_role|>", "<tool_call>"), granite.Granite4()),
    (("<|start_of_role|>", "<|tool_call|>"), TOOL_FORMATS["granite"]),
    (("<|tool_call|>", "<|/tool_call|>"), TOOL_FORMATS["phi4_mini"]),
    (("<|tool_list_start|>",), TOOL_FORMATS["lfm2"]),
    (("<|tool_call_start|>",), TOOL_FORMATS["lfm2"]),
    (("[func_name1(params_name1=",), TOOL_FORMATS["pythonic"]),
    (("<|start_header_id|>", '"parameters": '), TOOL_FORMATS["llama3_json"]),
)

_recognised: WeakKeyDictionary[ChatTemplate, ToolFormat] = WeakKeyDictionary()


def format_for(tool_parser: str, template: ChatTemplate | None) -> ToolFormat:
    """The tool format of a model.

    Args:
        tool_parser: a key of `TOOL_FORMATS`; empty: to be found from the template.
        template: the model's chat template.
    """
    if tool_parser:
        return TOOL_FORMATS[tool_parser]
    if template is None:
        return PLAIN
    found = _recognised.get(template)
    if found is None:
        found = _recognised[template] = _by_markers(template.source) or derived_format(template) or PLAIN
    return found


def _by_markers(source: str) -> ToolFormat | None:
    for texts, tool_format in _MARKERS:
        if all(text in source for text in texts):
            return tool_format
    if "<tool_call>" in source and ('{"name": ' in source or '"name": "' in source):
        return TOOL_FORMATS["hermes"]
    return None
