"""What a catalog entry's models are made of on this machine: weights, tokenizer, and facts read from them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from build import (
    bert_graph,
    embedding_graph,
    gguf_tokenizer,
    onnx_graph,
    pooling_graph,
    pretokenizers,
    reranker_graph,
    t5_graph,
)
from build.catalog import ModelEntry
from build.derived import derived
from build.engine_settings import GPU_ENGINES, Setting
from build.gguf_tokenizer import TokenizerFacts, write_tokenizer
from build.hf_checkpoint import language_config
from build.lora_adapters import lora_files
from build.transfer import sha256_of
from tokentext.files import TOKENIZER_FILES, tokenizer_digest

PLAN = "model.plan"  # the file that Triton's TensorRT backend opens
PROJECTOR = "mmproj.gguf"  # among the weights of a model that takes images or audio
GGUF_BUILDERS = (Path(gguf_tokenizer.__file__), Path(pretokenizers.__file__))
BERT_BUILDERS = (Path(bert_graph.__file__), Path(onnx_graph.__file__))
EMBEDDING_BUILDERS = (
    Path(embedding_graph.__file__),
    Path(pooling_graph.__file__),
    Path(t5_graph.__file__),
    *BERT_BUILDERS,
)


class PartsError(ValueError):
    """A part of a model is missing or of no use; the message names entry and file."""


@dataclass(frozen=True)
class Draft:
    """A draft model: its compiled engine, or its checkpoint, and the settings that it is served with."""

    engine_dir: Path
    settings: Mapping[str, Setting]


@dataclass(frozen=True)
class Parts:
    """All that is needed to assemble one entry.

    Args:
        tokenizer: folder with tokenizer.json and its companions.
        weights: files for the version folder of the engine or encoder, by name; the first one is what the engine opens.
        engine_dir: a compiled engine, or None.
        engine: name and version, for the `engine` parameter.
        weights_sha256: what `system_fingerprint` is made of.
        facts: of chat models.
        score_activation: of rerankers: `sigmoid` or `none`.
        tokenizer_info: file for a compiled engine's guided decoding, or None.
        loras: the files of LoRA adapters, by their place in the engine's folder.
        draft: the draft model; None: there is none.
    """

    tokenizer: Path
    tokenizer_sha256: str
    weights: Mapping[str, Path]
    engine_dir: Path | None
    engine: str
    weights_sha256: str
    facts: TokenizerFacts | None
    score_activation: str = ""
    tokenizer_info: Path | None = None
    loras: Mapping[str, Path] = field(default_factory=dict)
    draft: Draft | None = None


def make_parts(entry: ModelEntry, files: Mapping[str, Path], cache: Path) -> Parts:
    """Makes what is not in the cache yet.

    Args:
        files: the entry's fetched files, by name.
    Raises:
        PartsError, TokenizerError, GraphError: a file is not what the engine takes.
    """
    try:
        loras = lora_files(entry, files)
    except FileNotFoundError as error:
        raise PartsError(str(error)) from error
    return replace(_of_engine(entry, files, cache), loras=loras)


def _of_engine(entry: ModelEntry, files: Mapping[str, Path], cache: Path) -> Parts:
    if entry.engine in GPU_ENGINES:
        return _for_gpu(entry)
    if entry.kind == "embedding":
        return _embedding(entry, files, cache)
    if entry.kind == "reranker":
        return _reranker(entry, files, cache)
    return _gguf(entry, files, cache)


def _gguf(entry: ModelEntry, files: Mapping[str, Path], cache: Path) -> Parts:
    weights = files[entry.weights.name]

    def make(folder: Path) -> None:
        (folder / "tokenizer").mkdir()
        facts = write_tokenizer(weights, folder / "tokenizer")
        (folder / "facts.json").write_text(json.dumps(asdict(facts)))

    made = derived(cache, "gguf-tokenizer", [entry.weights.sha256], GGUF_BUILDERS, make)
    facts = json.loads((made / "facts.json").read_text())
    _check_length(entry, facts["trained_length"])
    own = entry.of_role("tokenizer")
    opened = {"model.gguf": weights}
    for projector in entry.of_role("mmproj"):
        opened[PROJECTOR] = files[projector.name]
    tokenizer = _own_tokenizer(entry, files, cache) if own else made / "tokenizer"
    return Parts(
        tokenizer=tokenizer,
        tokenizer_sha256=tokenizer_digest(tokenizer),
        weights=opened,
        engine_dir=None,
        engine=_with_version("llama_cpp", "xllamacpp"),
        weights_sha256=_digest_with_projector(entry),
        facts=TokenizerFacts(facts["vocab_size"], tuple(facts["end_ids"]), facts["pad_id"], facts["trained_length"]),
    )


def _digest_with_projector(entry: ModelEntry) -> str:
    digests = [file.sha256 for file in (entry.weights, *entry.of_role("mmproj"))]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _embedding(entry: ModelEntry, files: Mapping[str, Path], cache: Path) -> Parts:
    config = files["config.json"]
    dense = next((files[file.name] for file in entry.of_role("dense")), None)
    found = embedding_graph.dimensions(config, dense)
    if found != entry.dimensions:
        raise PartsError(f"{entry.id}: dimensions: the catalog says {entry.dimensions}, the weights {found}")

    def write(weights: Path, config: Path, folder: Path) -> Path:
        return embedding_graph.write_graph(weights, config, folder, pooling=entry.pooling, dense_weights=dense)

    longest = embedding_graph.read_encoder(config).longest
    return _encoder(entry, files, cache, longest, EMBEDDING_BUILDERS, write)


def _reranker(entry: ModelEntry, files: Mapping[str, Path], cache: Path) -> Parts:
    encoder, _ = bert_graph.read_config(files["config.json"], reranker_graph.FAMILIES)
    builders = (Path(reranker_graph.__file__), *BERT_BUILDERS)
    parts = _encoder(entry, files, cache, encoder.longest, builders, reranker_graph.write_graph)
    return replace(
        parts, score_activation=entry.score_activation or reranker_graph.score_activation(files["config.json"])
    )


def _encoder(
    entry: ModelEntry,
    files: Mapping[str, Path],
    cache: Path,
    longest: int,
    builders: Sequence[Path],
    write_graph: Callable[[Path, Path, Path], Path],
) -> Parts:
    """The parts of a model whose weights become an ONNX graph.

    Args:
        longest: tokens that the model has room for; 0: no bound.
        write_graph: writes it into a folder, from weights and `config.json`. builders: the files of its code.
    """
    _check_length(entry, longest)

    def make(folder: Path) -> None:
        write_graph(files[entry.weights.name], files["config.json"], folder)

    digests = [file.sha256 for file in entry.files if file.role in ("weights", "config", "dense")]
    if entry.pooling != "mean":
        digests.append(entry.pooling)
    graph = derived(cache, f"{entry.kind}-graph", digests, builders, make)
    tokenizer = _own_tokenizer(entry, files, cache)
    weights = {path.name: path for path in sorted(graph.iterdir())}
    if entry.engine == "tensorrt" and entry.engine_dir is not None:
        weights = {PLAN: entry.engine_dir / PLAN}
    return Parts(
        tokenizer=tokenizer,
        tokenizer_sha256=tokenizer_digest(tokenizer),
        weights=weights,
        engine_dir=None,
        engine="tensorrt" if entry.engine == "tensorrt" else _with_version("onnxruntime", "onnxruntime"),
        weights_sha256=entry.weights.sha256,
        facts=None,
    )


def _check_length(entry: ModelEntry, longest: int) -> None:
    if longest and entry.context_length > longest:
        raise PartsError(f"{entry.id}: context_length: {entry.context_length}; the model was made for {longest}")


def _own_tokenizer(entry: ModelEntry, files: Mapping[str, Path], cache: Path) -> Path:
    """The entry's own tokenizer files in one folder.

    Truncation and padding that a training script left in tokenizer.json are taken out: whoever reads the file would
    cut and pad texts without a word.
    """

    def make(folder: Path) -> None:
        for file in entry.of_role("tokenizer"):
            if file.name == "tokenizer.json":
                content = json.loads(files[file.name].read_text(encoding="utf-8"))
                content.update(truncation=None, padding=None)
                (folder / file.name).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
            else:
                shutil.copyfile(files[file.name], folder / file.name)

    digests = [f"{file.name}:{file.sha256}" for file in entry.of_role("tokenizer")]
    return derived(cache, "tokenizer", digests, [Path(__file__)], make)


def _for_gpu(entry: ModelEntry) -> Parts:
    """A compiled TensorRT-LLM engine, or the checkpoint that its LLM API serves.

    An engine's `config.json` holds `version` and `pretrained_config.vocab_size`, a checkpoint's `vocab_size`.
    """
    assert entry.engine_dir is not None and entry.tokenizer_dir is not None  # the catalog's reader sees to it
    compiled = entry.engine == "tensorrt_llm"
    config = _read_json(entry, entry.engine_dir / "config.json")
    key = "pretrained_config.vocab_size" if compiled else "vocab_size"
    vocab_size = (config.get("pretrained_config", {}) if compiled else language_config(config)).get("vocab_size")
    if not isinstance(vocab_size, int):
        raise PartsError(f"{entry.id}: {entry.engine_dir / 'config.json'} has no {key}")
    if not (entry.tokenizer_dir / "tokenizer.json").is_file():
        raise PartsError(f"{entry.id}: tokenizer_dir: there is no tokenizer.json in {entry.tokenizer_dir}")
    if entry.tokenizer_info is not None and not entry.tokenizer_info.is_file():
        raise PartsError(f"{entry.id}: tokenizer_info: there is no {entry.tokenizer_info}")
    end_ids, pad_id = _end_ids(entry, entry.tokenizer_dir)
    engine = f"{entry.engine} {config['version']}" if compiled and config.get("version") else entry.engine
    return Parts(
        tokenizer=entry.tokenizer_dir,
        tokenizer_sha256=tokenizer_digest(entry.tokenizer_dir),
        weights={},
        engine_dir=entry.engine_dir,
        engine=engine if compiled else _with_version(engine, "tensorrt-llm"),
        weights_sha256=_folder_digest(entry.engine_dir),
        facts=TokenizerFacts(vocab_size, end_ids, end_ids[0] if pad_id is None else pad_id),
        tokenizer_info=entry.tokenizer_info,
    )


def _end_ids(entry: ModelEntry, folder: Path) -> tuple[tuple[int, ...], int | None]:
    """End ids and padding id of a Hugging Face tokenizer folder's generation_config.json."""
    path = folder / "generation_config.json"
    config = _read_json(entry, path)
    found = config.get("eos_token_id")
    ids = found if isinstance(found, list) else [found]
    if not ids or not all(isinstance(token_id, int) for token_id in ids):
        raise PartsError(f"{entry.id}: {path} names no eos_token_id")
    pad = config.get("pad_token_id")
    return tuple(ids), pad if isinstance(pad, int) else None


def with_draft(parts: Parts, draft: ModelEntry) -> Parts:
    """The parts of a model with those of its draft model, whose build is finished. Raises PartsError.

    Which tokens an answer with a seed has depends on both, so `weights_sha256` is made from both.
    """
    assert draft.engine_dir is not None
    if not (draft.engine_dir / "config.json").is_file():
        raise PartsError(f"{draft.id}: there is no {draft.engine_dir / 'config.json'}")
    digests = parts.weights_sha256 + _folder_digest(draft.engine_dir)
    return replace(
        parts,
        draft=Draft(draft.engine_dir, draft.settings),
        weights_sha256=hashlib.sha256(digests.encode()).hexdigest(),
    )


def _read_json(entry: ModelEntry, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PartsError(f"{entry.id}: {path}: {error}") from error
    if not isinstance(content, dict):
        raise PartsError(f"{entry.id}: {path}: an object is expected")
    return content


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode() + b"\0" + bytes.fromhex(sha256_of(path)))
    return digest.hexdigest()


def _with_version(engine: str, distribution: str) -> str:
    try:
        return f"{engine} {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:  # assembled for another machine
        return engine


def tokenizer_files(folder: Path) -> dict[str, Path]:
    """The tokenizer files that exist in a folder, by name."""
    return {name: folder / name for name in TOKENIZER_FILES if (folder / name).is_file()}
