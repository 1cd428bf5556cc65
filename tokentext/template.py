"""A model's chat template: messages in, prompt text out.

Format: Jinja as `transformers` runs it: blocks trimmed, loop controls, `raise_exception`, `strftime_now`, a `tojson`
that keeps non-ASCII text and key order, and the `{% generation %}` marker. Templates come with the weights, so they run
in Jinja's immutable sandbox, and how long they may run and
how much they may produce is bounded.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

MAX_PROMPT_CHARACTERS = 64 << 20
# Turns of loops and calls in one rendering: a few seconds at most. A real template takes a few dozen per message.
MAX_STEPS = 10_000_000


class TemplateError(Exception):
    """The template refused the messages, or failed on them; the message is its own, for the client."""


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %} ... {% endgeneration %}` marks the assistant's part for training; here it is plain text."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _Steps:
    """What one rendering has used up of `MAX_STEPS`."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_STEPS

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise TemplateError(f"the chat template takes more than {MAX_STEPS:,} steps")


_steps: ContextVar[_Steps] = ContextVar("steps")


@jinja2.pass_context  # keeps the compiler from running a loop over constants ahead of time
def _counted(_: jinja2.runtime.Context, items: Iterable[Any]) -> Iterator[Any]:
    steps = _steps.get()
    for item in items:
        steps.take()
        yield item


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """The sandbox, with every call and every turn of a loop counted: what a template repeats, it repeats by these."""

    def call(self, context: jinja2.runtime.Context, callee: Any, /, *args: Any, **kwargs: Any) -> Any:
        _steps.get().take()
        return super().call(context, callee, *args, **kwargs)

    def template(self, source: str) -> jinja2.Template:
        tree = self.parse(source)
        for loop in tree.find_all(jinja2.nodes.For):
            loop.iter = jinja2.nodes.Filter(loop.iter, "counted", [], [], None, None, lineno=loop.lineno)
        return self.template_class.from_code(self, self.compile(tree), self.make_globals(None))


def _environment() -> _Environment:
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.filters["counted"] = _counted
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


class ChatTemplate:
    """A compiled chat template. Safe to use from several threads.

    Args:
        source: Jinja source.
        tools_source: another one, used when there are tools; None: `source` serves for both.
        tokens: special tokens that templates name (`bos_token`, `eos_token`, ...); None values are the empty string.

    Raises:
        TemplateError: the source is not valid Jinja.
    """

    def __init__(self, source: str, *, tools_source: str | None = None, tokens: Mapping[str, str | None] | None = None):
        self.source = source
        self._tokens = {name: token or "" for name, token in (tokens or {}).items()}
        environment = _environment()
        try:
            self._template = environment.template(source)
            self._tools_template = environment.template(tools_source) if tools_source else self._template
        except Exception as error:  # also Python's own limits on nesting, as it compiles what Jinja wrote
            raise TemplateError(f"the chat template is not valid: {_words(error)}") from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """The prompt.

        Args:
            messages: as OpenAI's API has them, with `content` a string, or parts where the template takes them.
                Arguments of tool calls that are JSON objects in a string are handed on as objects, as templates
                expect; keys whose value is None are left out, as many templates would write the word None.
            tools: OpenAI tool definitions; an empty list counts as None.
            variables: further variables of the template, such as `enable_thinking`.

        Raises:
            TemplateError: with the template's own words, or what it stumbled on.
        """
        template = self._tools_template if tools else self._template
        names = {
            **self._tokens,
            **variables,
            "messages": [_as_templates_expect(message) for message in messages],
            "tools": list(tools) if tools else None,
            "add_generation_prompt": add_generation_prompt,
        }
        pieces: list[str] = []
        size = 0
        token = _steps.set(_Steps())
        try:
            for piece in template.generate(names):
                size += len(piece)
                if size > MAX_PROMPT_CHARACTERS:
                    raise TemplateError(f"the prompt is longer than {MAX_PROMPT_CHARACTERS:,} characters")
                pieces.append(piece)
        except TemplateError:
            raise
        except jinja2.TemplateError as error:
            raise TemplateError(_words(error)) from error
        except Exception as error:  # what a template does wrong is a template error, whatever it is
            raise TemplateError(f"the chat template cannot take these messages: {_words(error)}") from error
        finally:
            _steps.reset(token)
        return "".join(pieces)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _as_templates_expect(message: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in message.items() if value is not None}
    calls = plain.get("tool_calls")
    if isinstance(calls, list):
        plain["tool_calls"] = [_call_with_object(call) for call in calls]
    return plain


def _call_with_object(call: Any) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    arguments = function.get("arguments") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(arguments, str):
        return call
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": parsed}} if isinstance(parsed, dict) else call
