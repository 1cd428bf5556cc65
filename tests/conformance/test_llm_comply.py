"""`llm-comply`, a public test of OpenAI-compatible servers, against the adapter; its table is always printed.

A check that the tested model, or OpenAI's own API, cannot pass is in `NOT_PASSED` with its reason. For each of them the
server has to refuse the tool's own request with the 400 that says so: a pass, another refusal or another failed check
breaks the test.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from typing import Any, NamedTuple

import httpx
import pytest
from llm_comply.config import ComplianceConfig
from llm_comply.tests import get_tests
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from tests.support import models
from tests.support.adapter_process import AdapterProcess

ENDPOINTS = {"openai-chat": "/chat/completions", "open-responses": "/responses"}
FORMATS = list(ENDPOINTS)
ONE_ANSWER = 240  # seconds; the model, which is small, may write 32 calls where one is enough
WHOLE_RUN = 400  # seconds


class NotPassed(NamedTuple):
    """Why a check is not passed, what the tool makes of it, and the server's 400 for its request."""

    reason: str
    status: str
    param: str
    code: str
    says: str


NOT_PASSED = {
    "openai-chat": {
        "chat-image-input": NotPassed(
            reason="the tested model takes text only",
            status="failed",
            param="messages[0].content[1]",
            code="unsupported_content_type",
            says="this model takes text only",
        ),
        "chat-reasoning-summary": NotPassed(
            reason="the tool skips it by the model's name; it sends 'reasoning', which Chat Completions does not have",
            status="skipped",
            param="reasoning",
            code="unknown_parameter",
            says="'reasoning'",
        ),
    },
    "open-responses": {
        "image-input": NotPassed(
            reason="the tested model takes text only",
            status="failed",
            param="input[0].content[1]",
            code="unsupported_content_type",
            says="this model takes text only",
        ),
        "reasoning-summary": NotPassed(
            reason="the tool skips it by the model's name; the tested model does not reason",
            status="skipped",
            param="reasoning.effort",
            code="unsupported_parameter",
            says="its chat template knows no such thing",
        ),
    },
}


@pytest.fixture(scope="module", params=FORMATS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def results(adapter: AdapterProcess, form: str) -> dict[str, dict[str, Any]]:
    """Check id -> what the tool, run as its users run it, says about it."""
    options = ["--model", models.GOOD_CHAT, "--format", form, "--timeout", str(ONE_ANSWER), "--json"]
    run = subprocess.run(
        [sys.executable, "-m", "llm_comply.cli", "--base-url", adapter.base_url, "--api-key", "any", *options],
        capture_output=True,
        text=True,
        timeout=WHOLE_RUN,
    )
    # 1 says that a check failed; anything else, that the tool did.
    assert run.returncode in (0, 1), run.stderr
    report = json.loads(run.stdout)
    return {result["id"]: result for result in report["results"]}


def table(form: str, results: dict[str, dict[str, Any]]) -> str:
    """A line for every check, with what the tool complains of."""
    lines = [f"llm-comply {version('llm-comply')} --format {form}, {models.GOOD_CHAT}"]
    for name, result in results.items():
        lines.append(f"  {result['status']:<8} {name:<24} {result['duration_ms']:>8.0f} ms")
        if name in NOT_PASSED[form]:
            lines.append(f"           expected: {NOT_PASSED[form][name].reason}")
        else:
            lines += [f"           {entry}" for entry in result.get("errors", []) + result.get("warnings", [])]
    counts = {kind: sum(1 for result in results.values() if result["status"] == kind) for kind in STATUSES}
    lines.append("  " + ", ".join(f"{number} {kind}" for kind, number in counts.items()))
    return "\n".join(lines)


STATUSES = ("passed", "failed", "skipped")


@pytest.mark.timeout(WHOLE_RUN + 180)  # its fixtures start Triton
def test_every_check_passes(form: str, results: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("\n" + table(form, results))
    assert set(results) == {check.id for check in get_tests(form)}
    known = NOT_PASSED[form]
    expected = {name: known[name].status if name in known else "passed" for name in results}
    assert {name: result["status"] for name, result in results.items()} == expected, table(form, results)
    # A warning is a field that OpenAI sends and the server does not.
    warned = {name: result["warnings"] for name, result in results.items() if result.get("warnings")}
    assert set(warned) <= set(known), warned


@pytest.mark.parametrize(("form", "name"), [(form, name) for form in FORMATS for name in NOT_PASSED[form]])
def test_what_is_not_passed_is_refused_by_name(adapter: AdapterProcess, form: str, name: str) -> None:
    expected = NOT_PASSED[form][name]
    check = next(check for check in get_tests(form) if check.id == name)
    config = ComplianceConfig(base_url=adapter.base_url, api_key="any", model=models.GOOD_CHAT)
    body = check.build_request(config)
    answer = httpx.post(f"{adapter.base_url}{ENDPOINTS[form]}", json=body, timeout=60.0, trust_env=False)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (expected.param, expected.code), error
    assert expected.says in error["message"]


def test_the_reasoning_check_is_wrong_about_the_api() -> None:
    """`reasoning` is of the Responses API. When OpenAI's types know it here too, it is no longer to be refused."""
    assert "reasoning" not in CompletionCreateParamsBase.__annotations__
