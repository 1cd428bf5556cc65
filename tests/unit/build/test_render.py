"""Templates become configurations that Triton's own schema takes, or an error that says where."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from build.render import RenderError, render_config


def render(tmp_path: Path, template: str, parameters: dict[str, str] | None = None, **variables: object) -> ModelConfig:
    path = tmp_path / "config.pbtxt"
    path.write_text(template, encoding="utf-8")
    config = ModelConfig()
    text_format.Parse(render_config(path, variables, parameters or {}), config)
    return config


def test_values_of_every_type(tmp_path: Path) -> None:
    config = render(
        tmp_path,
        'name: "${name}" max_batch_size: ${size} model_transaction_policy { decoupled: ${yes} }'
        ' parameters { key: "f" value { string_value: "${fraction}" } }',
        name="a",
        size=3,
        yes=True,
        fraction=0.9,
    )
    assert (config.name, config.max_batch_size, config.model_transaction_policy.decoupled) == ("a", 3, True)
    assert config.parameters["f"].string_value == "0.9"


@pytest.mark.parametrize("value", ['quo"te', "back\\slash", "new\nline", "späce and 日本", "${name}", "'", "a # b"])
def test_strings_come_out_as_they_went_in(tmp_path: Path, value: str) -> None:
    template = 'parameters { key: "k" value { string_value: "${value}" } }'
    config = render(tmp_path, template, {"added": value}, value=value)
    assert config.parameters["k"].string_value == value
    assert config.parameters["added"].string_value == value


def test_empty_parameters_are_left_out(tmp_path: Path) -> None:
    template = 'parameters { key: "k" value { string_value: "${value}" } }'
    config = render(tmp_path, template, {"none": "", "some": "x"}, value="")
    assert dict.fromkeys(config.parameters) == {"some": None}


def test_tensors_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_text('input [{ name: "a" }, { name: "b" }]\noutput [{ name: "b" }, { name: "c" }]')
    config = ModelConfig()
    text_format.Parse(render_config(path, {}, {}, without=("b", "x")), config)
    assert [tensor.name for tensor in (*config.input, *config.output)] == ["a", "c"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ('name: "${nmae}"', r"config\.pbtxt: unknown variable \$\{nmae\}; known are name"),
        ('name: "$name"', r"a `\$` that begins no"),
        ('name: "${}"', r"a `\$` that begins no"),
        ('name: "${a b}"', r"a `\$` that begins no"),
        ("nmae: 1", "not a ModelConfig: .*nmae"),
        ('name: "${name}" max_batch_size: "3"', "not a ModelConfig"),
        ('parameters { key: "served_model_id" value { string_value: "x" } }', "added by the assembler"),
    ],
)
def test_a_wrong_template_is_refused(tmp_path: Path, template: str, message: str) -> None:
    with pytest.raises(RenderError, match=message):
        render(tmp_path, template, {"served_model_id": "y"}, name="a")
