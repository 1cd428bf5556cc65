"""What the adapter can be told: environment variables `TRITONGATE_*`, or arguments of `tritongate serve`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapter.security.addresses import AllowedHosts
from adapter.triton.targets import parse_targets

_A_DAY = 86_400.0  # a gRPC timeout has at most eight digits, here of milliseconds


class StreamUsage(str, Enum):
    """What a streamed chat completion says of usage when the request has no `stream_options`."""

    CONTINUOUS = "continuous"  # every chunk carries the running usage (the reference service)
    FINAL = "final"  # one last chunk with empty `choices` (as `include_usage: true`)
    NONE = "none"  # none


class Settings(BaseSettings):
    """The adapter's settings; every field is an environment variable `TRITONGATE_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="TRITONGATE_", extra="ignore")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    triton_url: str = Field(
        default="grpc://127.0.0.1:8001",
        description="grpc://host:port, grpcs:// for TLS, grpc+dns:// for each address of a name; a list with commas",
    )
    triton_authorities: Path | None = Field(
        default=None, description="certificates (PEM) to trust for grpcs://; unset: the system's"
    )
    api_keys: str = Field(default="", description="comma-separated bearer keys")
    api_keys_file: Path | None = Field(default=None, description="file of hashed bearer keys, one a line")
    tokenizers: Path | None = Field(
        default=None, description="folder with a tokenizer folder per model, for a Triton that does not hand them out"
    )
    cache_dir: Path | None = Field(default=None, description="where downloaded tokenizers are kept")
    max_body_bytes: int = Field(default=16 << 20, gt=0, description="largest request body, in bytes")
    max_file_bytes: int = Field(default=64 << 20, gt=0, le=64 << 20, description="largest file of /v1/files, in bytes")
    max_concurrent_requests: int = Field(default=512, gt=0, description="requests in flight; more get 503")
    request_timeout: float = Field(default=600.0, gt=0, le=_A_DAY, description="longest generation, in seconds")
    shutdown_timeout: float = Field(
        default=10.0, gt=0, le=_A_DAY, description="seconds that open answers have at a stop"
    )
    discovery_interval: float = Field(
        default=5.0, gt=0, le=_A_DAY, description="seconds between two looks at Triton's models"
    )
    media_remote: bool = Field(default=True, description="whether images named by http(s) URL are fetched")
    media_allowed_hosts: str = Field(
        default="",
        description="comma-separated hosts and networks (CIDR) to fetch from although they are not public",
    )
    media_ports: str = Field(
        default="80,443",
        pattern=r"^[0-9]{1,5}(,[0-9]{1,5})*$",
        description="comma-separated ports that images are fetched from",
    )
    media_timeout: float = Field(
        default=20.0, gt=0, le=_A_DAY, description="longest fetch of an image with its redirects, in seconds"
    )
    max_media: int = Field(default=32, gt=0, description="images and audio clips in one request")
    max_media_bytes: int = Field(default=20 << 20, gt=0, description="largest image or audio clip, in bytes")
    max_media_total_bytes: int = Field(
        default=128 << 20, gt=0, description="all images (as the engine gets them) and audio of a request, in bytes"
    )
    max_image_pixels: int = Field(
        default=50_000_000, gt=0, le=89_000_000, description="largest image, width times height"
    )
    max_image_edge: int = Field(
        default=4096, ge=16, description="longest side of an image for the engine; larger ones are scaled down"
    )
    max_audio_seconds: float = Field(default=1800.0, gt=0, le=_A_DAY, description="longest audio clip, in seconds")
    store_url: str = Field(
        default="",
        repr=False,  # it may hold a password
        description="sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME; unset: SQLite below ~/.local/state",
    )
    store_url_file: Path | None = Field(
        default=None, description="file with the store's URL in place of TRITONGATE_STORE_URL, such as a mounted secret"
    )
    store_ttl: float = Field(default=30 * _A_DAY, gt=0, description="seconds that responses and files are kept")
    store_max_bytes: int = Field(
        default=2 << 30, ge=1 << 20, description="all that is kept, in bytes; the oldest responses go first"
    )
    background_timeout: float = Field(
        default=3600.0, gt=0, le=_A_DAY, description="longest response in the background, in seconds"
    )
    max_background: int = Field(default=64, gt=0, description="responses in the background; more get 503")
    tool_timeout: float = Field(
        default=60.0, gt=0, le=_A_DAY, description="longest call of a tool that this server runs, in seconds"
    )
    embedding_model: str = Field(
        default="", description="embedding model of new vector stores; unset: the first that Triton has"
    )
    mcp_allowed_hosts: str = Field(
        default="",
        description="comma-separated hosts and networks (CIDR) whose MCP servers are used although they are not public",
    )
    mcp_ports: str = Field(
        default="80,443",
        pattern=r"^[0-9]{1,5}(,[0-9]{1,5})*$",
        description="comma-separated ports that MCP servers may have",
    )
    web_search_url: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="search page of a SearXNG, such as http://127.0.0.1:8888/search; unset: no web search",
    )
    web_search_key: str = Field(default="", repr=False, description="bearer token for the web search, if it wants one")
    prompts: Path | None = Field(default=None, description="folder of prompt templates for responses")
    stream_usage: StreamUsage = Field(
        default=StreamUsage.CONTINUOUS, description="streaming usage without stream_options"
    )
    reasoning_field: str = Field(
        default="reasoning_content",
        pattern="^(reasoning_content|reasoning)$",
        description="name of the field that shows a model's reasoning: reasoning_content or reasoning",
    )
    log_level: str = Field(
        default="info", pattern="^(?i:debug|info|warning|error)$", description="debug, info, warning or error"
    )
    log_format: str = Field(default="json", pattern="^(json|text)$", description="json or text")

    @field_validator("triton_url")
    @classmethod
    def _check_triton_url(cls, value: str) -> str:
        parse_targets(value)
        return value

    @field_validator("store_url_file")
    @classmethod
    def _check_store_url_file(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("store_url"):
            raise ValueError("TRITONGATE_STORE_URL says it too: give one of the two")
        if value is not None:
            _read_url(value)
        return value

    @field_validator("media_allowed_hosts", "mcp_allowed_hosts")
    @classmethod
    def _check_allowed_hosts(cls, value: str) -> str:
        AllowedHosts.parse(value)
        return value

    def database_url(self) -> str:
        """The URL of the store, from its file where that is set; "" if neither is.

        Raises:
            ValueError: the file has become unreadable or empty.
        """
        return self.store_url if self.store_url_file is None else _read_url(self.store_url_file)


def _read_url(file: Path) -> str:
    """One line. Messages never hold any of it: it has a password in it."""
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: {getattr(error, 'strerror', None) or 'no text'}") from None
    if not text or len(text.split()) != 1:
        raise ValueError(f"{file}: not one line with a URL")
    return text
