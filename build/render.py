"""A model's `config.pbtxt` from its template: substitution, checked against Triton's own schema.

The schema is `ModelConfig` of Triton's model_config.proto, as the `tritonclient` package carries it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from build.engine_settings import Setting

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\})?")


class RenderError(ValueError):
    """The template does not become a model configuration; the message names the template and what is wrong."""


def render_config(
    template: Path,
    variables: Mapping[str, Setting],
    parameters: Mapping[str, str],
    *,
    without: Collection[str] = (),
) -> str:
    """The text of a valid model configuration.

    Args:
        template: a `config.pbtxt` with `${variable}`s.
        variables: their values; strings are escaped, booleans become true and false.
        parameters: added to the configuration's `parameters`. Empty values, here and in the template, are left out.
        without: names of inputs and outputs to leave out; an ensemble's steps then do without such an input too.
    Raises:
        RenderError: an unknown variable, a lone `$`, text that is no ModelConfig, or a parameter that is there twice.
    """
    from google.protobuf import text_encoding, text_format  # type: ignore[import-untyped]
    from tritonclient.grpc import model_config_pb2

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            raise RenderError(f"{template}: a `$` that begins no ${{variable}}")
        if name not in variables:
            raise RenderError(f"{template}: unknown variable ${{{name}}}; known are {', '.join(sorted(variables))}")
        found = variables[name]
        if isinstance(found, bool):
            return "true" if found else "false"
        return text_encoding.CEscape(found, as_utf8=True) if isinstance(found, str) else str(found)

    text = _VARIABLE.sub(value, template.read_text(encoding="utf-8"))
    config: Any = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise RenderError(f"{template}: not a ModelConfig: {error}") from error
    for tensors in (config.input, config.output):
        for tensor in [tensor for tensor in tensors if tensor.name in without]:
            tensors.remove(tensor)
    for step in config.ensemble_scheduling.step:  # none where it is no ensemble
        for key in [key for key, tensor in step.input_map.items() if tensor in without]:
            del step.input_map[key]
    for key in [key for key, parameter in config.parameters.items() if not parameter.string_value]:
        del config.parameters[key]
    for key, content in parameters.items():
        if key in config.parameters:
            raise RenderError(f"{template}: parameter {key} is added by the assembler; the template must not set it")
        if content:
            config.parameters[key].string_value = content
    return str(text_format.MessageToString(config, as_utf8=True))
