"""Names of MCP tools for the model: its own where it can be, and never one that another tool has."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from adapter.tools.tool_names import ToolNames


def test_its_own_name_where_it_is_free() -> None:
    names = ToolNames(["search", "git_push"])
    assert names.take("git", "status") == "status"
    assert names.take("git", "search") == "git_search"
    assert names.take("hub", "status") == "hub_status"
    assert names.take("git", "push") == "push"
    assert names.take("hg", "push") == "hg_push"
    assert names.take("git", "push") == "git_push_2"


def test_names_that_no_function_may_have() -> None:
    names = ToolNames()
    assert names.take("git", "pull/request") == "git_pull_request"
    assert names.take("git", "pull request") == "git_pull_request_2"
    long = names.take("git", "x" * 100)
    assert long == "git_" + "x" * 60
    assert names.take("git", "x" * 101) == "git_" + "x" * 58 + "_2"


@given(st.lists(st.text(min_size=1, max_size=80), max_size=12), st.lists(st.sampled_from(["a", "a_a", "b"])))
def test_names_are_valid_and_unlike(tools: list[str], taken: list[str]) -> None:
    names = ToolNames(taken)
    chosen = [names.take(label, tool) for label in ("a", "b") for tool in tools]
    assert len({*chosen, *taken}) == len(chosen) + len(set(taken))
    assert all(re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", name) for name in chosen)
