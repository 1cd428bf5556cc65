#!/usr/bin/env python3
"""Renders a deployable Triton repository: `python build/assemble.py --output DIR [MODEL_ID ...]`.

Sources and template variables: `model_repository/README.md`. Names and parameters of the models:
`docs/model_repository.md`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a script: the folder above holds the package
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from build.catalog import CATALOG, CatalogError, ModelEntry, load_catalog
from build.embedding_plan import finished_plan
from build.engine_settings import GPU_ENGINES, Setting
from build.fetch import fetch
from build.fim import fim_tokens
from build.gguf_tokenizer import TokenizerError
from build.hub import Hub
from build.llm_plan import engines_folder, finished_draft, finished_entry
from build.lora_adapters import FOLDER as LORA_FOLDER
from build.lora_adapters import lora_parameter
from build.manifest import ManifestError
from build.onnx_graph import GraphError
from build.parts import PROJECTOR, Draft, Parts, PartsError, make_parts, tokenizer_files, with_draft
from build.render import RenderError, render_config
from build.repository import Built, Content, ModelFolder, RepositoryError, publish
from build.transfer import FetchError, Notify
from build.trtllm_commands import TOKENIZER_INFO
from tokentext.cache import cache_folder

MEDIA_TENSORS = ("media", "prompt_tokens")  # of engines that take images or audio
LORA_TENSORS = ("lora_task_id",)  # of our own engines, where adapters are loaded
SOURCES = Path(__file__).resolve().parent.parent / "model_repository"

# Everything that `prepare` may raise for a reason that a person can mend.
BUILD_ERRORS = (
    CatalogError,
    FetchError,
    ManifestError,
    PartsError,
    TokenizerError,
    GraphError,
    RenderError,
    RepositoryError,
)


def prepare(
    ids: Sequence[str],
    output: Path,
    cache: Path,
    notify: Notify = lambda line: None,
    *,
    catalog: Path = CATALOG,
    copy: bool = False,
    root: Path | None = None,
    given: Path | None = None,
    keep: bool = False,
    work: Path | None = None,
) -> Path:
    """Fetches, derives and assembles; a fraction of a second when everything is there.

    Args:
        ids: served ids; none: the catalog's defaults.
        output: the repository. Models that were assembled there earlier and are not asked for now are removed,
            unless `keep`.
        cache: see `build/fetch.py`.
        notify: called with a line of text about what takes time and what changed.
        copy: weights and tokenizers are copied, not linked.
        root: `output` as Triton will see it, when that is another path (a container's mount).
        given: a folder to look for the files in first.
        work: where `build/llm_engine.py` has built the engines for GPUs; by default in the cache.
    Returns: `output`, absolute.
    Raises:
        one of BUILD_ERRORS; the repository is as it was.
    """
    known = load_catalog(catalog)
    entries = [known.get(model_id) for model_id in dict.fromkeys(ids)] or list(known.defaults())
    root = root or output.absolute()
    folders: list[ModelFolder] = []
    hub = Hub()  # one for all: an unreachable one costs its time once
    for entry in entries:
        draft: ModelEntry | None = None
        if entry.engine in GPU_ENGINES and entry.engine_dir is None:
            entry = finished_entry(entry, work or engines_folder(cache))
            if entry.build.draft:
                draft = finished_draft(entry, known, work or engines_folder(cache))
        elif entry.engine == "tensorrt" and entry.engine_dir is None:
            entry = finished_plan(entry, work or engines_folder(cache))
        files = fetch(entry, cache, notify=notify, given=given, hub=hub)
        parts = make_parts(entry, files, cache)
        folders += model_folders(entry, with_draft(parts, draft) if draft else parts, root)
    for line in publish(output, folders, copy=copy, keep=keep):
        notify(line)
    return output.absolute()


def add_entry(
    entry: ModelEntry,
    output: Path,
    cache: Path,
    notify: Notify = lambda line: None,
    *,
    copy: bool = False,
    root: Path | None = None,
) -> None:
    """Adds one entry, which need not stand in a catalog like this, to a repository and leaves the rest of it.

    Raises:
        one of BUILD_ERRORS; the repository is as it was.
    """
    parts = make_parts(entry, fetch(entry, cache, notify=notify), cache)
    for line in publish(output, model_folders(entry, parts, root or output.absolute()), copy=copy, keep=True):
        notify(line)


def model_folders(entry: ModelEntry, parts: Parts, root: Path) -> list[ModelFolder]:
    """The Triton models of one entry.

    Raises:
        RenderError: a template is missing or wrong.
    """
    return _chat(entry, parts, root) if entry.kind == "chat" else _encoder(entry, parts, root)


def _chat(entry: ModelEntry, parts: Parts, root: Path) -> list[ModelFolder]:
    assert parts.facts is not None
    roles = ("preprocessing", "engine", "postprocessing", "target", "draft")
    names = {role: f"{entry.name}_{role}" for role in roles}
    # Two compiled engines stand behind one model that has the one check what the other writes.
    drafted = parts.draft if entry.engine == "tensorrt_llm" else None
    place = root / names["target" if drafted else "engine"]
    tokenizer_dir = root / names["preprocessing"] / "tokenizer"
    variables: dict[str, Setting] = {
        **entry.settings,
        "tokenizer_dir": str(tokenizer_dir),
        "context_length": entry.context_length,
        "preprocessing": names["preprocessing"],
        "engine_model": names["engine"],
        "postprocessing": names["postprocessing"],
        "vocab_size": parts.facts.vocab_size,
        "end_ids": ",".join(map(str, parts.facts.end_ids)),
        "end_id": parts.facts.end_ids[0],
        "pad_id": parts.facts.pad_id,
    }
    engine_files: dict[str, Content] = {f"1/{name}": path for name, path in parts.weights.items()}
    if parts.engine_dir is not None:
        variables["engine_dir"] = str(place / "engine")
        engine_files = _files_of(parts.engine_dir, "engine")
        variables["xgrammar_tokenizer_info_path"] = ""
        if parts.tokenizer_info is not None:
            engine_files[TOKENIZER_INFO] = Built(parts.tokenizer_info)
            variables["xgrammar_tokenizer_info_path"] = str(place / TOKENIZER_INFO)
    else:
        version = root / names["engine"] / "1"
        variables["weights"] = str(version / next(iter(parts.weights)))
        variables["mmproj"] = str(version / PROJECTOR) if PROJECTOR in parts.weights else ""
    loras = lora_parameter(entry, place)
    engine_files.update(parts.loras)
    parameters = {
        **_parameters(entry, parts, tokenizer_dir, names["preprocessing"]),
        "vocab_size": str(parts.facts.vocab_size),
        "end_ids": str(variables["end_ids"]),
        "tool_parser": entry.tool_parser,
        "reasoning_parser": entry.reasoning_parser,
        "modalities": ",".join(entry.modalities) if len(entry.modalities) > 1 else "",
        **_fim(entry, parts),
    }
    without = MEDIA_TENSORS if len(entry.modalities) == 1 else ()
    if entry.engine == "tensorrt_llm_api":
        variables.update(_llm_arguments(entry))
        variables.update(speculative_model_dir="", max_draft_len="")
        if parts.draft is not None:
            variables.update(speculative_model_dir=str(place / "draft"), max_draft_len=entry.build.max_draft_len)
            engine_files.update(_files_of(parts.draft.engine_dir, "draft"))
    parameters["lora_adapters"] = loras
    if entry.engine == "tensorrt_llm":
        if loras:
            variables["lora_prefetch_dir"] = str(place / LORA_FOLDER)
    elif not loras:
        without = (*without, *LORA_TENSORS)
    return [
        _folder(entry.name, "ensemble", entry.engine, variables, without=without),
        _folder(
            names["preprocessing"],
            "preprocessing",
            entry.engine,
            variables,
            extra=_tokenizer_links(parts.tokenizer, built=parts.engine_dir is not None),
        ),
        *(
            _draft_target(names, drafted, variables, parameters, engine_files, entry.build.max_draft_len, root)
            if drafted
            else [_folder(names["engine"], entry.engine, entry.engine, variables, parameters, engine_files, without)]
        ),
        _folder(names["postprocessing"], "postprocessing", entry.engine, variables),
    ]


def _draft_target(
    names: Mapping[str, str],
    draft: Draft,
    variables: Mapping[str, Setting],
    parameters: Mapping[str, str],
    engine_files: Mapping[str, Content],
    max_draft_len: int,
    root: Path,
) -> list[ModelFolder]:
    """The model that callers know, and the two compiled engines behind it."""
    engine = "tensorrt_llm"
    rounds = {
        **variables,
        "target_model": names["target"],
        "draft_model": names["draft"],
        "max_draft_len": max_draft_len,
    }
    # The model in front holds no more requests than its own queue; without a bound here, none of its rounds is refused.
    behind: dict[str, Setting] = {**variables, "max_queue_size": 0}
    theirs = {
        **variables,
        **draft.settings,
        "max_queue_size": 0,
        "engine_dir": str(root / names["draft"] / "engine"),
        "xgrammar_tokenizer_info_path": "",
    }
    return [
        _folder(names["engine"], "draft_target", engine, rounds, parameters),
        _folder(names["target"], engine, engine, behind, extra=engine_files),
        _folder(names["draft"], engine, engine, theirs, extra=_files_of(draft.engine_dir, "engine")),
    ]


def _files_of(folder: Path, place: str) -> dict[str, Content]:
    """What a build has made, under `place`."""
    return {f"{place}/{path.name}": Built(path) for path in sorted(folder.iterdir()) if path.is_file()}


def _llm_arguments(entry: ModelEntry) -> dict[str, Setting]:
    """Settings of `tensorrt_llm_api` as they are where the entry leaves them to its `build`."""
    build = entry.build
    built: dict[str, Setting] = {
        "tensor_parallel_size": build.tensor_parallel,
        "pipeline_parallel_size": build.pipeline_parallel,
        "max_batch_size": build.max_batch_size,
        "max_num_tokens": build.max_num_tokens,
        "kv_cache_dtype": build.kv_cache_dtype,
    }
    made = {key: entry.settings[key] or value for key, value in built.items()}
    return {**made, "enable_chunked_prefill": build.chunked_context, "max_lora_rank": build.max_lora_rank}


def _encoder(entry: ModelEntry, parts: Parts, root: Path) -> list[ModelFolder]:
    """Embedding models and rerankers: an ensemble of a tokenizer and an encoder."""
    tokenizer, encoder = f"{entry.name}_tokenizer", f"{entry.name}_encoder"
    tokenizer_dir = root / tokenizer / "tokenizer"
    variables: dict[str, Setting] = {
        **entry.settings,
        "tokenizer_dir": str(tokenizer_dir),
        "context_length": entry.context_length,
        "tokenizer_model": tokenizer,
        "encoder": encoder,
        "dimensions": entry.dimensions,
        "weights": str(root / encoder / "1" / next(iter(parts.weights))),
    }
    parameters = {
        **_parameters(entry, parts, tokenizer_dir, tokenizer),
        "dimensions": str(entry.dimensions or ""),
        "matryoshka": "true" if entry.matryoshka else "",
        "score_activation": parts.score_activation,
    }
    built = entry.engine == "tensorrt"
    weights: dict[str, Content] = {f"1/{name}": Built(path) if built else path for name, path in parts.weights.items()}
    return [
        _folder(entry.name, entry.kind, entry.kind, variables),
        _folder(tokenizer, "encoder_tokenizer", entry.kind, variables, extra=_tokenizer_links(parts.tokenizer)),
        _folder(encoder, "encoder", _variant(entry), variables, parameters, weights, code=not built),
    ]


def _variant(entry: ModelEntry) -> str:
    return f"{entry.kind}.tensorrt" if entry.engine == "tensorrt" else entry.kind


def _parameters(entry: ModelEntry, parts: Parts, tokenizer_dir: Path, tokenizer_model: str) -> dict[str, str]:
    """The parameters that every kind has."""
    return {
        "served_model_id": entry.id,
        "served_kind": entry.kind,
        "served_owned_by": entry.owned_by,
        "served_created": str(entry.created),
        "family": entry.family,
        "context_length": str(entry.context_length),
        "tokenizer_dir": str(tokenizer_dir),
        "tokenizer_sha256": parts.tokenizer_sha256,
        "tokenizer_model": tokenizer_model,
        "engine": parts.engine,
        "weights_sha256": parts.weights_sha256,
    }


def _fim(entry: ModelEntry, parts: Parts) -> dict[str, str]:
    tokens = entry.fim or fim_tokens(parts.tokenizer) or ("", "", "")
    return {f"fim_{part}": token for part, token in zip(("prefix", "suffix", "middle"), tokens, strict=True)}


def _tokenizer_links(folder: Path, built: bool = False) -> dict[str, Content]:
    """Args: built: whether a build has made it, so that the next one will replace it."""
    return {f"tokenizer/{name}": Built(path) if built else path for name, path in tokenizer_files(folder).items()}


def _folder(
    name: str,
    source: str,
    variant: str,
    variables: Mapping[str, Setting],
    parameters: Mapping[str, str] | None = None,
    extra: Mapping[str, Content] | None = None,
    without: Collection[str] = (),
    code: bool = True,
) -> ModelFolder:
    """One model from its source folder: the rendered configuration, the code, and `extra` files.

    Args:
        variant: a template for it alone, `config.VARIANT.pbtxt`, goes before the one for all: the engine of a chat
            model, the kind of another.
        code: whether the model runs the folder's code; a plan is run by Triton's own backend.
    """
    folder = SOURCES / source
    templates = [folder / f"config.{variant}.pbtxt", folder / "config.pbtxt"]
    template = next((path for path in templates if path.is_file()), None)
    if template is None:
        raise RenderError(f"there is no {templates[-1]}")
    config = render_config(template, {**variables, "name": name}, parameters or {}, without=without)
    files: dict[str, Content] = {"config.pbtxt": config.encode()}
    if code:
        files.update((str(path.relative_to(folder)), path.read_bytes()) for path in _code(folder))
    return ModelFolder(name, {**files, **(extra or {})})


def _code(folder: Path) -> Iterable[Path]:
    return sorted(path for path in (folder / "1").rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="build/assemble.py", description="Renders a deployable Triton repository.")
    parser.add_argument("models", nargs="*", metavar="MODEL_ID", help="ids of the catalog (none: the default models)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the repository to write")
    parser.add_argument("--catalog", type=Path, default=CATALOG, help="another catalog file")
    parser.add_argument("--keep", action="store_true", help="leave the models that were assembled there earlier")
    parser.add_argument("--copy", action="store_true", help="copy weights and tokenizers instead of linking them")
    parser.add_argument("--root", type=Path, metavar="PATH", help="DIR as Triton will see it, if that is another path")
    parser.add_argument("--from", dest="given", type=Path, metavar="DIR", help="look here first for the weights")
    options = parser.parse_args(arguments)
    try:
        prepare(
            options.models,
            options.output,
            cache_folder(),
            lambda line: print(line, file=sys.stderr),
            catalog=options.catalog,
            copy=options.copy,
            root=options.root,
            given=options.given,
            keep=options.keep,
        )
    except (*BUILD_ERRORS, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(options.output.absolute())
    return 0


if __name__ == "__main__":
    sys.exit(main())
