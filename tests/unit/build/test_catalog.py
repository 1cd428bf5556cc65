"""The catalog that ships, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from build.catalog import CatalogError, HubSource, PathSource, WheelSource, load_catalog

CHAT = """
[[models]]
id = "me/tiny:q4"
kind = "chat"
engine = "llama_cpp"
family = "tiny"
context_length = 64
owned_by = "me"
license = "mit"
created = 2024-01-02
[[models.files]]
name = "tiny.gguf"
role = "weights"
size = 10
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
sources = [ { path = "files/tiny.gguf" } ]
"""


def load(tmp_path: Path, text: str) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(text)
    load_catalog(path)


def test_the_catalog_that_ships() -> None:
    catalog = load_catalog()
    assert [entry.id for entry in catalog.defaults()] == [
        "qwen/qwen2.5-coder-0.5b-instruct",
        "sentence-transformers/all-minilm-l6-v2",
    ]
    assert [entry.name for entry in catalog.entries] == [
        "qwen2.5-coder-0.5b-instruct",
        "qwen2.5-coder-1.5b-instruct",
        "smollm2-135m-instruct",
        "all-minilm-l6-v2",
        "llama-3.1-8b-instruct",
        "llama-3.3-70b-instruct",
        "qwen2.5-7b-instruct",
        "nvidia-llama-3.1-8b-instruct-fp8",
        "qwen2.5-vl-7b-instruct",
        "gpt-oss-20b",
    ]
    chat = catalog.get("qwen/qwen2.5-coder-0.5b-instruct")
    assert chat.settings["slots"] == 4 and chat.context_length == 8192 and chat.weights.size == 491_400_064
    embedding = catalog.get("sentence-transformers/all-minilm-l6-v2")
    assert (embedding.dimensions, embedding.context_length) == (384, 256)
    for entry in catalog.entries:
        for file in entry.files:  # works with the hub, and where only a package index is reachable
            assert [type(source) for source in file.sources] == [HubSource, WheelSource]


def test_defaults_of_an_entry(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(CHAT)
    entry = load_catalog(path).entries[0]
    assert entry.name == "tiny-q4"
    assert entry.created == 1704153600  # 2024-01-02T00:00:00Z
    assert entry.settings == {"slots": 4, "threads": 0, "batch_size": 128, "max_queue_size": 256}
    assert entry.weights.sources == (PathSource(tmp_path / "files" / "tiny.gguf"),)
    assert not entry.default and entry.tool_parser == ""
    assert entry.modalities == ("text",)


def test_a_projector_and_modalities_go_together(tmp_path: Path) -> None:
    projector = CHAT.partition("[[models.files]]")[2].replace('"weights"', '"mmproj"').replace("tiny.gguf", "p.gguf")
    text = f"{CHAT}[[models.files]]{projector}"
    with pytest.raises(CatalogError, match="modalities: a file of role mmproj is there"):
        load(tmp_path, text)
    load(tmp_path, text.replace("created", 'modalities = ["text", "audio"]\ncreated'))
    with pytest.raises(CatalogError, match="one file of role mmproj"):
        load(tmp_path, text.replace("created", 'modalities = ["text", "audio"]\ncreated').replace("p.gguf", "p.bin"))


VISION = """
[[models]]
id = "me/sees"
kind = "chat"
engine = "tensorrt_llm_api"
family = "tiny"
context_length = 64
owned_by = "me"
license = "mit"
created = 2024-01-02
modalities = ["text", "image"]
engine_dir = "checkpoint"
tokenizer_dir = "tokenizer"
"""


def test_images_for_a_gpu_need_the_engine_that_takes_them(tmp_path: Path) -> None:
    load(tmp_path, VISION)
    with pytest.raises(CatalogError, match=r"modalities: tensorrt_llm takes text only: .*; tensorrt_llm_api takes"):
        load(tmp_path, VISION.replace("_api", ""))
    with pytest.raises(CatalogError, match="modalities: tensorrt_llm_api takes text and images only"):
        load(tmp_path, VISION.replace('"image"', '"image", "audio"'))


def test_what_a_checkpoint_takes_is_what_its_engine_takes() -> None:
    catalog = load_catalog()
    assert catalog.get("qwen/qwen2.5-vl-7b-instruct").modalities == ("text", "image")
    with pytest.raises(CatalogError, match="quantization: fp8 is not offered"):
        catalog.get("qwen/qwen2.5-vl-7b-instruct:fp8")
    seeing = catalog.get("qwen/qwen2.5-vl-7b-instruct")
    with pytest.raises(CatalogError, match="modalities: tensorrt_llm takes text only"):
        seeing.changed({"engine": "tensorrt_llm"})


WEIGHTS = CHAT.replace('"chat"', '"reranker"').replace("llama_cpp", "onnxruntime").replace("tiny.gguf", "t.safetensors")
RERANKER = WEIGHTS + "".join(
    "[[models.files]]"
    + WEIGHTS.partition("[[models.files]]")[2]
    .replace('"t.safetensors"', f'"{role}.json"')
    .replace('"weights"', f'"{role}"')
    for role in ("config", "tokenizer")
)


def test_a_reranker(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(RERANKER)
    entry = load_catalog(path).entries[0]
    assert (entry.kind, entry.engine, entry.dimensions, entry.score_activation) == ("reranker", "onnxruntime", 0, "")
    assert entry.settings["max_batch_size"] == 64
    path.write_text(RERANKER.replace("created", 'score_activation = "sigmoid"\ncreated'))
    assert load_catalog(path).entries[0].score_activation == "sigmoid"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('score_activation = "softmax"', "score_activation: .*'sigmoid'"),
        ("dimensions = 3", "dimensions, matryoshka, pooling: only for embedding models"),
        ('fim = ["a", "b", "c"]', "fim: only for chat models"),
    ],
)
def test_a_reranker_that_makes_no_sense(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        load(tmp_path, RERANKER.replace("created", f"{line}\ncreated"))


def test_a_reranker_needs_its_files(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"files: (config|tokenizer)\.json is missing"):
        load(tmp_path, WEIGHTS)


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(CatalogError, match=r"no model 'gpt-4'.*qwen/qwen2\.5-coder-0\.5b-instruct, qwen/"):
        load_catalog().get("gpt-4")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('family = "tiny"\n', "", "me/tiny:q4: family: Field required"),
        ('family = "tiny"', 'familly = "tiny"', "me/tiny:q4: familly: Unexpected keyword"),
        ("context_length = 64", 'context_length = "64"', "me/tiny:q4: context_length: .*integer"),
        ("context_length = 64", "context_length = 0", "me/tiny:q4: context_length: .*greater than 0"),
        ('kind = "chat"', 'kind = "speech"', "me/tiny:q4: kind: .*'chat', 'embedding' or 'reranker'"),
        ('engine = "llama_cpp"', 'engine = "onnxruntime"', "me/tiny:q4: engine: for chat one of llama_cpp"),
        ("created = 2024-01-02", 'created = "today"', "me/tiny:q4: created: a date is needed"),
        ('id = "me/tiny:q4"', 'id = "me tiny"', "me tiny: id: .*pattern"),
        ('id = "me/tiny:q4"', "id = 7", "7: id: .*string"),
        ("0000000000", "xyz", "me/tiny:q4: files.0.sha256: .*pattern"),
        ("size = 10", "size = -1", "me/tiny:q4: files.0.size: .*greater than 0"),
        ('role = "weights"', 'role = "tokenizer"', "files.0: name: a tokenizer file is one of tokenizer.json"),
        ('name = "tiny.gguf"', 'name = "../tiny.gguf"', "files.0.name: .*pattern"),
        ('name = "tiny.gguf"', 'name = "tiny.bin"', "me/tiny:q4: files: exactly one file of role weights, a .gguf"),
        ('{ path = "files/tiny.gguf" }', "", "files.0.sources: .*at least 1"),
        ('{ path = "files/tiny.gguf" }', '{ url = "x" }', "sources.0: a source has one of the keys `hub`"),
        ('{ path = "files/tiny.gguf" }', '{ wheels = [{ wheel = "x", member = "y" }] }', "wheel: .*pattern"),
        ('{ path = "files/tiny.gguf" }', '{ hub = "x", revision = "1", file = "f" }', "hub: .*pattern"),
        ('{ path = "files/tiny.gguf" }', '{ hub = "a/b", file = "f" }', "revision: Field required"),
        ('license = "mit"', 'license = "mit"\nmodalities = ["text", "image"]', "files: .*one file of role mmproj"),
        ('license = "mit"', 'license = "mit"\nmodalities = ["image"]', "modalities: text is one of them"),
        ('license = "mit"', 'license = "mit"\nmodalities = ["text", "video"]', "modalities.1: .*'image'"),
        ('license = "mit"', 'license = "mit"\ndimensions = 3', "dimensions, matryoshka, pooling: only for embedding"),
        ('license = "mit"', 'license = "mit"\nscore_activation = "none"', "score_activation: only for rerankers"),
        ('license = "mit"', 'license = "mit"\nengine_dir = "x"', "engine_dir: only for tensorrt_llm"),
        ('license = "mit"', 'license = "mit"\nsettings = { slot = 1 }', "settings.slot: unknown; llama_cpp has slots"),
        ('license = "mit"', 'license = "mit"\nsettings = { slots = "1" }', "settings.slots: int is needed"),
        ('license = "mit"', 'license = "mit"\nsettings = { slots = true }', "settings.slots: int is needed"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_id_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in CHAT
    with pytest.raises(CatalogError, match=message):
        load(tmp_path, CHAT.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[models]\n", "catalog .*catalog.toml: "),
        ("models = 3\n", "holds"),
        ("", "here is nothing"),
        (CHAT + "[other]\n", "other"),
        ("models = [3]\n", "entry 1: "),
        (CHAT + CHAT, "id: 'me/tiny:q4' is there twice"),
        (CHAT + CHAT.replace("me/tiny", "you/tiny"), "you/tiny:q4: name: 'tiny-q4' is there twice"),
    ],
)
def test_a_wrong_catalog_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        load(tmp_path, text)


def test_a_catalog_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.toml"):
        load_catalog(tmp_path / "none.toml")


def test_what_embedding_models_need(tmp_path: Path) -> None:
    text = CHAT.replace('kind = "chat"', 'kind = "embedding"').replace("llama_cpp", "onnxruntime")
    text = text.replace("tiny.gguf", "tiny.safetensors")
    with pytest.raises(CatalogError, match="dimensions: missing"):
        load(tmp_path, text)
    with pytest.raises(CatalogError, match=r"files: config\.json is missing"):
        load(tmp_path, text.replace('license = "mit"', 'license = "mit"\ndimensions = 3'))


def test_a_compiled_engine_names_its_folders(tmp_path: Path) -> None:
    head = CHAT[: CHAT.index("[[models.files]]")].replace("llama_cpp", "tensorrt_llm")
    with pytest.raises(CatalogError, match="engine_dir: missing"):
        load(tmp_path, head)
    (tmp_path / "catalog.toml").write_text(head + 'engine_dir = "engine"\ntokenizer_dir = "/tokenizer"\n')
    entry = load_catalog(tmp_path / "catalog.toml").entries[0]
    assert (entry.engine_dir, entry.tokenizer_dir) == (tmp_path / "engine", Path("/tokenizer"))
    with pytest.raises(CatalogError, match="an engine for a GPU is built"):
        load(tmp_path, CHAT.replace("llama_cpp", "tensorrt_llm"))
