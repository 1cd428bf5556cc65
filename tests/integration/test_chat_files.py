"""Files in chat messages: their text arrives in the prompt, whole and in its place."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support import models
from tests.support.own_models import smollm2_prompt, tokenizer_of
from tests.support.pdf import pdf


def file(content: bytes, filename: str, kind: str | None = "application/pdf") -> dict[str, Any]:
    data = base64.b64encode(content).decode()
    return {"type": "file", "file": {"filename": filename, "file_data": f"data:{kind};base64,{data}" if kind else data}}


def ask(client: openai.OpenAI, *parts: Any, **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": list(parts)}]
    return client.chat.completions.create(model=models.CHAT, messages=messages, temperature=0, max_tokens=8, **more)


PAGES = ("The ferry leaves at seven.", "It costs four crowns (return).")
SHOWN = (
    'Sum up.\n<file name="ferry.pdf">\nThe ferry leaves at seven.\n\nIt costs four crowns (return).\n</file>\n'
    '<file name="notes.txt">\nGr\xfc\xdfe!\n</file>'
)


def test_a_pdf_and_a_text_file(openai_client: openai.OpenAI, repository: Path) -> None:
    text: Any = {"type": "text", "text": "Sum up."}
    answer = ask(openai_client, text, file(pdf(*PAGES), "ferry.pdf"), file("Gr\xfc\xdfe!".encode(), "notes.txt", None))
    typed = ask(openai_client, {"type": "text", "text": SHOWN})
    prompt = smollm2_prompt(("user", SHOWN))
    expected = len(tokenizer_of(repository, models.CHAT).encode(prompt, add_special_tokens=False).ids)
    assert answer.usage.prompt_tokens == typed.usage.prompt_tokens == expected
    assert answer.choices[0].message.content == typed.choices[0].message.content


@pytest.mark.parametrize(
    ("part", "param", "code"),
    [
        (file(b"\x89PNG\r\n\x1a\n\0\0", "a.pdf"), "file_data", "unsupported_file"),
        (file(pdf(*PAGES)[:90], "a.pdf"), "file_data", "file_parse_error"),
        (file(pdf(""), "scan.pdf"), "file_data", "file_without_text"),
        ({"type": "file", "file": {"filename": "a.pdf"}}, "file_data", "missing_required_parameter"),
    ],
)
def test_what_cannot_be_used(openai_client: openai.OpenAI, part: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(openai_client, {"type": "text", "text": "x"}, part, stream=True)
    assert (caught.value.param, caught.value.code) == (f"messages[0].content[1].file.{param}", code)
