"""A model that Triton serves, as its configuration describes it.

The keys of `parameters` and the names of the Triton models are described in docs/model_repository.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from tritonclient.grpc import model_config_pb2

from adapter.parsing.formats import REASONING_PARSERS, TOOL_FORMATS
from tokentext import TextTokenizer

_NUMBER = re.compile(r"[0-9]{1,16}\Z")
_ADAPTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_LARGEST = 2**31 - 1  # of a count or a token id: they travel as INT32
_LARGEST_VOCABULARY = 1 << 24  # a request with `logit_bias` makes a tensor of this length


_GUIDE_TYPES = "json,json_schema,regex,ebnf_grammar"  # TensorRT-LLM's backend; it passes over any other


class Kind(str, Enum):
    """What a model is for."""

    CHAT = "chat"
    EMBEDDING = "embedding"
    RERANKER = "reranker"


class ModelConfigError(Exception):
    """A configuration claims to describe a served model, but cannot be understood."""


@dataclass(frozen=True)
class ModelDescription:
    """What the configuration of one Triton model says, before its tokenizer is there.

    `inputs` and `outputs` are the names of the tensors it declares: they are its capabilities. `batched`: tensors carry
    a leading batch dimension. `draws_seed`: the engine draws a seed for a request without one. `fingerprint` is
    OpenAI's `system_fingerprint`. `score_activation`: what belongs over a reranker's logit, `sigmoid` or `none`.
    `adapters`: the LoRA adapters that the engine has: task id, name, and what their answers depend on. A model that is
    one of them has the `parent` whose adapter it is, and its task id as `lora_task_id`; else these are "" and 0.
    """

    id: str
    kind: Kind
    triton_name: str
    owned_by: str
    created: int
    family: str
    context_length: int
    vocab_size: int
    end_ids: tuple[int, ...]
    draws_seed: bool
    inputs: frozenset[str]
    outputs: frozenset[str]
    batched: bool
    max_batch_size: int
    dimensions: int
    matryoshka: bool
    score_activation: str
    tokenizer_dir: str
    tokenizer_sha256: str
    tokenizer_model: str
    engine: str
    fingerprint: str
    tool_parser: str
    reasoning_parser: str
    guide_types: frozenset[str]
    modalities: frozenset[str]
    fim: tuple[str, str, str] | None  # the tokens before prefix, suffix and middle, for filling in the middle
    adapters: tuple[tuple[int, str, str], ...]
    parent: str
    lora_task_id: int


@dataclass(frozen=True)
class ServedModel(ModelDescription):
    """A described model whose tokenizer is loaded: ready for requests."""

    tokenizer: TextTokenizer


def describe(config: model_config_pb2.ModelConfig) -> ModelDescription | None:
    """Reads a configuration; None when the model is not one to serve (it has no `served_model_id`).

    Raises:
        ModelConfigError: a key is missing or has a value that makes no sense.
    """
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    served_id = parameters.get("served_model_id")
    if not served_id:
        return None
    reader = _Reader(config.name, parameters)
    kind = reader.kind()
    chat = kind is Kind.CHAT
    return ModelDescription(
        id=served_id,
        kind=kind,
        triton_name=config.name,
        owned_by=parameters.get("served_owned_by") or "tritongate",
        created=reader.integer("served_created", minimum=0, maximum=2**53, default=0),
        family=parameters.get("family", ""),
        context_length=reader.integer("context_length", minimum=1),
        vocab_size=reader.integer("vocab_size", minimum=1, maximum=_LARGEST_VOCABULARY) if chat else 0,
        end_ids=reader.integers("end_ids") if chat else (),
        draws_seed=parameters.get("draws_seed", "").lower() == "true",
        inputs=frozenset(tensor.name for tensor in config.input),
        outputs=frozenset(tensor.name for tensor in config.output),
        batched=config.max_batch_size > 0,
        max_batch_size=max(1, config.max_batch_size),
        dimensions=reader.integer("dimensions", minimum=1) if kind is Kind.EMBEDDING else 0,
        matryoshka=parameters.get("matryoshka", "").lower() == "true",
        score_activation=reader.score_activation(),
        tokenizer_dir=parameters.get("tokenizer_dir", ""),
        tokenizer_sha256=parameters.get("tokenizer_sha256", ""),
        tokenizer_model=parameters.get("tokenizer_model", ""),
        engine=parameters.get("engine", ""),
        fingerprint=_fingerprint(config.name, parameters),
        tool_parser=reader.parser("tool_parser", TOOL_FORMATS) if chat else "",
        reasoning_parser=reader.parser("reasoning_parser", REASONING_PARSERS) if chat else "",
        guide_types=frozenset(parameters.get("guide_types", _GUIDE_TYPES).replace(" ", "").split(",")),
        modalities=frozenset(parameters.get("modalities", "text").replace(" ", "").split(",")),
        fim=reader.fim(),
        adapters=reader.adapters({tensor.name for tensor in config.input}) if chat else (),
        parent="",
        lora_task_id=0,
    )


def with_adapters(model: ModelDescription) -> list[ModelDescription]:
    """The model, and each of its LoRA adapters as a model `id:name`."""
    return [model] + [
        replace(
            model,
            id=f"{model.id}:{name}",
            parent=model.id,
            lora_task_id=task,
            fingerprint=_digest(f"{model.fingerprint}\n{task}\n{version}"),
        )
        for task, name, version in model.adapters
    ]


def _fingerprint(name: str, parameters: Mapping[str, str]) -> str:
    """Changes with the engine, its version and the weights; equal seeds give equal text only where it is equal."""
    return _digest("\n".join((name, parameters.get("engine", ""), parameters.get("weights_sha256", ""))))


def _digest(origin: str) -> str:
    return "fp_" + hashlib.sha256(origin.encode()).hexdigest()[:10]


class _Reader:
    def __init__(self, model: str, parameters: Mapping[str, str]) -> None:
        self._model = model
        self._parameters = parameters

    def kind(self) -> Kind:
        value = self._parameters.get("served_kind", "")
        try:
            return Kind(value)
        except ValueError:
            raise self._error("served_kind", value, "one of " + ", ".join(kind.value for kind in Kind)) from None

    def integer(self, key: str, *, minimum: int, maximum: int = _LARGEST, default: int | None = None) -> int:
        value = self._parameters.get(key, "")
        if not value and default is not None:
            return default
        if not _NUMBER.match(value) or not minimum <= int(value) <= maximum:
            raise self._error(key, value, f"a whole number from {minimum} to {maximum}")
        return int(value)

    def integers(self, key: str) -> tuple[int, ...]:
        value = self._parameters.get(key, "")
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not all(_NUMBER.match(part) and int(part) <= _LARGEST for part in parts):
            raise self._error(key, value, "token ids, comma-separated")
        return tuple(int(part) for part in parts)

    def score_activation(self) -> str:
        value = self._parameters.get("score_activation") or "sigmoid"
        if value not in ("sigmoid", "none"):
            raise self._error("score_activation", value, "sigmoid or none")
        return value

    def parser(self, key: str, known: Collection[str]) -> str:
        value = self._parameters.get(key, "")
        if value and value not in known:
            raise self._error(key, value, f"one of {', '.join(sorted(known))}, or none of them,")
        return value

    def adapters(self, inputs: Collection[str]) -> tuple[tuple[int, str, str], ...]:
        """`{"1": {"name": "sql", ...}}`; of what else is said of an adapter, digest and scale make it what it is."""
        value = self._parameters.get("lora_adapters", "")
        if not value:
            return ()
        try:
            found = [
                (int(task), str(said["name"]), f"{said.get('sha256', '')} {said.get('scale', '')}")
                for task, said in json.loads(value).items()
            ]
        except (ValueError, TypeError, KeyError, AttributeError):
            found = []
        names = {name for _, name, _ in found}
        if not found or len(names) != len(found) or not all(map(_ADAPTER.match, names)):
            raise self._error("lora_adapters", value, "a JSON object of task ids, each with a name of its own,")
        if not all(0 < task < 2**64 for task, _, _ in found):
            raise self._error("lora_adapters", value, "task ids over 0 that fit 64 bits: nothing else")
        if "lora_task_id" not in inputs:
            raise self._error("lora_adapters", value, "beside it an input lora_task_id")
        return tuple(sorted(found))

    def fim(self) -> tuple[str, str, str] | None:
        prefix, suffix, middle = (self._parameters.get(f"fim_{part}", "") for part in ("prefix", "suffix", "middle"))
        if prefix and suffix and middle:
            return prefix, suffix, middle
        if prefix or suffix or middle:
            raise self._error("fim_prefix, fim_suffix, fim_middle", "", "either all three or none of them")
        return None

    def _error(self, key: str, value: str, wanted: str) -> ModelConfigError:
        found = f"{value!r}" if value else "missing"
        return ModelConfigError(f"Triton model {self._model}: parameter {key} is {found}, {wanted} is needed")
