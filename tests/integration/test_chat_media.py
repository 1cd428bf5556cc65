"""Images and audio in chat messages, through the adapter to a real projector (its weights are random)."""

from __future__ import annotations

import base64
import io
import threading
import wave
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image

from launcher.state import StateLock
from launcher.triton_server import TritonServer
from tests.support.adapter_process import AdapterProcess
from tests.support.own_adapter import client_of
from tests.support.own_models import MEDIA, media_repository

IMAGE_TOKENS, CLIP_TOKENS = 30, 150


def png(color: str, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 24), color).save(file, form)
    return file.getvalue()


def wav(frequency: float) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16000)
        writer.writeframes((np.sin(np.arange(8000) * frequency) * 9000).astype("<i2").tobytes())
    return file.getvalue()


def image(data: bytes, kind: str = "image/png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{base64.b64encode(data).decode()}"}}


def clip(data: bytes) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": "wav"}}


@pytest.fixture(scope="module")
def media_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("chat-media")
    repository = media_repository(folder, {"slots": 2, "batch_size": 32})
    state = folder / "state"
    with StateLock(state), TritonServer([repository], state) as server:
        yield server


@pytest.fixture(scope="module")
def client(media_triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    log = tmp_path_factory.mktemp("adapter") / "adapter.log"
    with AdapterProcess(media_triton.grpc_url, log) as adapter, client_of(adapter) as client:
        yield client


def ask(client: openai.OpenAI, *parts: dict[str, Any], **more: Any) -> Any:
    content: Any = [{"type": "text", "text": "What is this?"}, *parts]
    return client.chat.completions.create(
        model=MEDIA,
        messages=[{"role": "user", "content": content}],
        temperature=0,
        max_tokens=4,
        logprobs=True,
        **more,
    )


def seen(completion: Any) -> list[tuple[str, float]]:
    return [(item.token, round(item.logprob, 4)) for item in completion.choices[0].logprobs.content]


def test_the_model_sees_the_image(client: openai.OpenAI) -> None:
    plain = ask(client)
    red, red_again, blue = (ask(client, image(png(color))) for color in ("red", "red", "blue"))
    assert red.usage.prompt_tokens >= plain.usage.prompt_tokens + IMAGE_TOKENS
    assert seen(red) == seen(red_again)
    assert seen(red) != seen(blue) != seen(plain)


def test_the_order_of_images_matters(client: openai.OpenAI) -> None:
    first = ask(client, image(png("red")), image(png("blue")))
    second = ask(client, image(png("blue")), image(png("red")))
    assert first.usage.prompt_tokens == second.usage.prompt_tokens
    assert seen(first) != seen(second)


def test_other_formats_show_the_same(client: openai.OpenAI) -> None:
    webp = image(png("white", "WEBP"), "image/webp")
    assert seen(ask(client, webp)) == seen(ask(client, image(png("white"))))


def test_the_model_hears_the_clip(client: openai.OpenAI) -> None:
    low, high = ask(client, clip(wav(0.05))), ask(client, clip(wav(0.9)))
    assert low.usage.prompt_tokens >= ask(client).usage.prompt_tokens + CLIP_TOKENS
    assert seen(low) != seen(high)


def test_streamed_equals_final(client: openai.OpenAI) -> None:
    parts = (image(png("green")), clip(wav(0.3)))
    whole = ask(client, *parts, n=2)
    texts, usage = ["", ""], None
    for chunk in ask(client, *parts, n=2, stream=True):
        usage = chunk.usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in whole.choices]
    assert usage is not None and usage.total_tokens == whole.usage.total_tokens


@pytest.mark.parametrize(
    ("part", "param", "code"),
    [
        (image(b"GIF89a nothing", "image/gif"), "image_url.url", "image_parse_error"),
        (image(b""), "image_url.url", "empty_image_file"),
        (image(png("red"), "image/jpeg"), "image_url.url", "invalid_image_format"),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, "image_url.url", "invalid_image_url"),
        ({"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}, "image_url.url", "invalid_image_url"),
        (
            {"type": "input_audio", "input_audio": {"data": "!", "format": "wav"}},
            "input_audio.data",
            "invalid_base64_audio",
        ),
    ],
)
def test_what_cannot_be_used(client: openai.OpenAI, part: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, part)
    assert (caught.value.param, caught.value.code) == (f"messages[0].content[1].{param}", code)


class _Picture(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = png("red")
        self.send_response(200)
        self.send_header("content-type", "image/png")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_an_image_by_url(
    client: openai.OpenAI, media_triton: TritonServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From a private address, as the operator has allowed it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Picture) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        part = {"type": "image_url", "image_url": {"url": f"http://127.0.0.1:{port}/red.png"}}
        log = tmp_path_factory.mktemp("adapter") / "adapter.log"
        with (
            AdapterProcess(
                media_triton.grpc_url, log, media_allowed_hosts="127.0.0.1", media_ports=str(port)
            ) as adapter,
            client_of(adapter) as allowed,
        ):
            assert seen(ask(allowed, part)) == seen(ask(client, image(png("red"))))
        server.shutdown()
