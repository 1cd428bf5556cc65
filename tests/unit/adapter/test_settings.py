"""Settings from the environment; what makes no sense is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from adapter.settings import Settings, StreamUsage


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TRITONGATE_{name.upper()}", raising=False)


def test_defaults() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.triton_url) == ("127.0.0.1", 8000, "grpc://127.0.0.1:8001")
    assert (settings.api_keys, settings.api_keys_file) == ("", None)
    assert settings.stream_usage is StreamUsage.CONTINUOUS
    assert settings.log_format == "json"


VALUES = {
    "HOST": ("0.0.0.0", "0.0.0.0"),
    "PORT": ("9000", 9000),
    "TRITON_URL": ("grpcs://triton.example:443", "grpcs://triton.example:443"),
    "TRITON_AUTHORITIES": ("/ca.pem", Path("/ca.pem")),
    "API_KEYS": ("a,b", "a,b"),
    "API_KEYS_FILE": ("/keys", Path("/keys")),
    "TOKENIZERS": ("/tokenizers", Path("/tokenizers")),
    "CACHE_DIR": ("/cache", Path("/cache")),
    "MAX_BODY_BYTES": ("1000", 1000),
    "MAX_FILE_BYTES": ("1000", 1000),
    "MAX_CONCURRENT_REQUESTS": ("7", 7),
    "REQUEST_TIMEOUT": ("1.5", 1.5),
    "SHUTDOWN_TIMEOUT": ("2", 2.0),
    "DISCOVERY_INTERVAL": ("0.5", 0.5),
    "MEDIA_REMOTE": ("false", False),
    "MEDIA_ALLOWED_HOSTS": ("minio.internal,10.0.0.0/8", "minio.internal,10.0.0.0/8"),
    "MEDIA_PORTS": ("80,9000", "80,9000"),
    "MEDIA_TIMEOUT": ("3", 3.0),
    "MAX_MEDIA": ("3", 3),
    "MAX_MEDIA_BYTES": ("1000", 1000),
    "MAX_MEDIA_TOTAL_BYTES": ("2000", 2000),
    "MAX_IMAGE_PIXELS": ("1000", 1000),
    "MAX_IMAGE_EDGE": ("100", 100),
    "MAX_AUDIO_SECONDS": ("60", 60.0),
    "STORE_URL": ("sqlite:///x", "sqlite:///x"),
    "STORE_TTL": ("60", 60.0),
    "STORE_MAX_BYTES": ("2000000", 2_000_000),
    "BACKGROUND_TIMEOUT": ("9", 9.0),
    "MAX_BACKGROUND": ("3", 3),
    "TOOL_TIMEOUT": ("4", 4.0),
    "PROMPTS": ("/prompts", Path("/prompts")),
    "EMBEDDING_MODEL": ("minilm", "minilm"),
    "MCP_ALLOWED_HOSTS": ("10.0.0.0/8", "10.0.0.0/8"),
    "MCP_PORTS": ("443,8443", "443,8443"),
    "WEB_SEARCH_URL": ("https://searx.example/search", "https://searx.example/search"),
    "WEB_SEARCH_KEY": ("key", "key"),
    "STREAM_USAGE": ("final", StreamUsage.FINAL),
    "REASONING_FIELD": ("reasoning", "reasoning"),
    "LOG_LEVEL": ("DEBUG", "DEBUG"),
    "LOG_FORMAT": ("text", "text"),
}


def test_every_setting_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    # STORE_URL_FILE does not go together with STORE_URL; its tests are below.
    assert {*VALUES, "STORE_URL_FILE"} == {name.upper() for name in Settings.model_fields}
    for name, (text, _) in VALUES.items():
        monkeypatch.setenv(f"TRITONGATE_{name}", text)
    settings = Settings()
    for name, (_, value) in VALUES.items():
        assert getattr(settings, name.lower()) == value, name


def test_arguments_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITONGATE_PORT", "9000")
    assert Settings(port=9001).port == 9001


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "http"),
        ("TRITON_URL", "localhost:8001"),
        ("TRITON_URL", "http://localhost:8001"),
        ("TRITON_URL", "grpc://localhost"),
        ("TRITON_URL", "grpc://localhost:8001/"),
        ("TRITON_URL", "grpc://a:8001,b:8001"),
        ("TRITON_URL", "dns://a:8001"),
        ("MAX_BODY_BYTES", "0"),
        ("MAX_CONCURRENT_REQUESTS", "0"),
        ("REQUEST_TIMEOUT", "0"),
        ("REQUEST_TIMEOUT", "nan"),
        ("REQUEST_TIMEOUT", "inf"),
        ("REQUEST_TIMEOUT", "100000"),
        ("SHUTDOWN_TIMEOUT", "inf"),
        ("DISCOVERY_INTERVAL", "inf"),
        ("MEDIA_ALLOWED_HOSTS", "http://minio"),
        ("MEDIA_PORTS", "http"),
        ("MAX_IMAGE_PIXELS", "900000000"),
        ("STREAM_USAGE", "sometimes"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_what_makes_no_sense(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TRITONGATE_{name}", value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert [error["loc"] for error in caught.value.errors()] == [(name.lower(),)]


def test_the_stores_url_can_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "store_url"
    file.write_text("postgresql://user:secret@host/name\n")
    monkeypatch.setenv("TRITONGATE_STORE_URL_FILE", str(file))
    assert Settings().database_url() == "postgresql://user:secret@host/name"
    monkeypatch.setenv("TRITONGATE_STORE_URL", "sqlite:////a.sqlite")
    with pytest.raises(ValidationError, match="TRITONGATE_STORE_URL says it too"):
        Settings()


@pytest.mark.parametrize("content", [None, b"", b"\n", b"postgresql://u:secret@h/n\nsecret", b"\xffsecret"])
def test_a_file_without_a_url_is_refused_and_its_content_is_not_told(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "store_url"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("TRITONGATE_STORE_URL_FILE", str(file))
    with pytest.raises(ValidationError, match="store_url") as refused:
        Settings()
    assert str(file) in str(refused.value)
    assert "secret" not in str(refused.value)


def test_the_stores_url_of_the_environment_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().database_url() == ""
    monkeypatch.setenv("TRITONGATE_STORE_URL", "sqlite:////a.sqlite")
    assert Settings().database_url() == "sqlite:////a.sqlite"
