"""Writes recorded.json: what openai-harmony reads in made-up answers of gpt-oss, token by token, and what it renders.

Needs the vocabulary o200k: TIKTOKEN_ENCODINGS_BASE names a folder with `o200k_base.tiktoken`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from openai_harmony import (
    Author,
    Conversation,
    DeveloperContent,
    HarmonyEncoding,
    HarmonyEncodingName,
    Message,
    ReasoningEffort,
    Role,
    StreamableParser,
    SystemContent,
    ToolDescription,
    load_harmony_encoding,
)

HERE = Path(__file__).parent
CONVERSATIONS = 60
TOOLS = ["get_weather", "now", "a.b-c"]
WORDS = [
    "The",
    " weather",
    "\n\n",
    " 😀",
    "é",
    " <b>",
    "{",
    '"',
    " to=functions.now",
    " assistant",
    "<|",
    "|>",
    " final",
]
WORDS += [" 日本語", "<", "</", "analysis", "\\n", " don't", " "]


def words(source: random.Random) -> str:
    return "".join(source.choices(WORDS, k=source.randint(0, 10)))


def arguments(source: random.Random) -> str:
    values: list[Any] = [words(source), 1, None, [words(source)], {"x": words(source)}]
    made = {key: source.choice(values) for key in source.sample(["a", "b", "city"], source.randint(0, 2))}
    return json.dumps(made, ensure_ascii=source.random() < 0.5, indent=source.choice([None, 2]))


def message(source: random.Random) -> tuple[str, str]:
    """A message after `<|start|>assistant`, and the token that ends it."""
    kind = source.choice(["analysis", "commentary", "final", "", "call", "call"])
    recipient = f" to=functions.{source.choice(TOOLS)}"
    if kind == "call" and source.random() < 0.5:
        channel = source.choice(["commentary", "commentary", "analysis"])
        form = source.choice([" <|constrain|>json", "<|constrain|>json", " json", ""])
        return f"<|channel|>{channel}{recipient}{form}<|message|>{arguments(source)}", "<|call|>"
    if kind == "call":
        form = source.choice([" <|constrain|>json", " json", ""])
        return f"{recipient}<|channel|>commentary{form}<|message|>{arguments(source)}", "<|call|>"
    return (f"<|channel|>{kind}" if kind else "") + f"<|message|>{words(source)}", "<|end|>"


def answer(source: random.Random) -> str:
    written = [message(source) for _ in range(source.randint(1, 4))]
    text = "<|start|>assistant".join(begin + end for begin, end in written)
    end = written[-1][1]
    return text.removesuffix(end) + source.choice([end, "<|return|>", ""])


def read(encoding: HarmonyEncoding, ids: list[int]) -> dict[str, Any]:
    """tokens: [text, index of the message, what the parser adds to it], or [text] where it adds nothing."""
    parser = StreamableParser(encoding, Role.ASSISTANT)
    messages: list[list[str | None]] = []
    tokens: list[list[Any]] = []
    bytes_left = b""
    for token in ids:
        parser.process(token)
        bytes_left += bytes(encoding._inner.decode_bytes([token]))
        try:
            text, bytes_left = bytes_left.decode(), b""
        except UnicodeDecodeError:
            text = ""
        delta = parser.last_content_delta
        if delta:
            index = len(parser.messages)
            if index >= len(messages):
                messages += [[None, None]] * (index + 1 - len(messages))
            messages[index] = [parser.current_channel, parser.current_recipient]
            tokens.append([text, index, delta])
        else:
            tokens.append([text])
    return {"messages": messages, "tokens": tokens}


def answers(encoding: HarmonyEncoding) -> list[dict[str, Any]]:
    source = random.Random(1)
    made: list[dict[str, Any]] = []
    while len(made) < CONVERSATIONS:
        ids = encoding.encode(answer(source), allowed_special="all")
        if source.random() < 0.4:  # the length is reached, but not within the first header
            first = ids.index(encoding.encode("<|message|>", allowed_special="all")[0])
            ids = ids[: source.randint(first + 1, len(ids))]
        recorded = read(encoding, ids)
        if recorded["tokens"][-1][0]:  # not in the middle of a char
            made.append(recorded)
    return made


def said(role: Role, text: str, channel: str = "", recipient: str = "", form: str = "", name: str = "") -> Message:
    made = Message.from_author_and_content(Author(role=role, name=name or None), text)
    made.channel, made.recipient, made.content_type = channel or None, recipient or None, form or None
    return made


def rendered(encoding: HarmonyEncoding) -> str:
    """The conversation of the test, as the library renders it; results are JSON strings, as the template has them."""
    weather = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where"},
            "days": {"type": "integer"},
            "unit": {"type": "string", "enum": ["C", "F"]},
        },
        "required": ["city"],
    }
    clock = {"type": "object", "properties": {"zone": {"type": "string"}}}
    system = SystemContent.new().with_reasoning_effort(ReasoningEffort.LOW).with_conversation_start_date("2026-01-02")
    tools = [
        ToolDescription.new("get_weather", "Weather of a place", weather),
        ToolDescription.new("now", "What time it is", clock),
    ]
    developer = DeveloperContent.new().with_instructions("Be brief.\n\nBe kind.").with_function_tools(tools)
    calls, results = ("commentary", "functions."), ("commentary", "assistant", "")
    messages = [
        Message.from_role_and_content(Role.SYSTEM, system),
        Message.from_role_and_content(Role.DEVELOPER, developer),
        said(Role.USER, "Hello"),
        said(Role.ASSISTANT, "Hi.", "final"),
        said(Role.USER, "Rain in Bern, and when is it?"),
        said(Role.ASSISTANT, "Two things.", "analysis"),
        said(Role.ASSISTANT, '{"city": "Bern"}', calls[0], calls[1] + "get_weather", "json"),
        said(Role.TOOL, json.dumps('{"sky": "grün"}', ensure_ascii=False), *results, "functions.get_weather"),
        said(Role.ASSISTANT, '{"zone": "CET"}', calls[0], calls[1] + "now", "json"),
        said(Role.TOOL, json.dumps("12:00"), *results, "functions.now"),
    ]
    return encoding.decode(
        encoding.render_conversation_for_completion(Conversation.from_messages(messages), Role.ASSISTANT)
    )


def main() -> None:
    encoding = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)
    lines = ",\n".join(json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in answers(encoding))
    text = f'{{"rendered": {json.dumps(rendered(encoding), ensure_ascii=False)},\n"answers": [\n{lines}\n]}}\n'
    (HERE / "recorded.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
