"""Where an MCP server may be, and what goes to it: addresses, names, redirects, headers, secrets."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl

import pytest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from adapter.encoding.response_writer import PendingCall
from adapter.schema.mcp_tools import McpServer
from adapter.security.addresses import AllowedHosts, IPAddress
from adapter.tools.mcp import McpToolbox
from adapter.tools.mcp_session import McpConnector
from adapter.tools.tool_names import ToolNames
from adapter.tools.toolbox import CallOutcome, ToolboxUnavailable
from tests.support.mcp_server import TLS, mcp_server

LOOPBACK = AllowedHosts.parse("127.0.0.0/8")
NOWHERE = "names a host that has no address on the public internet"


class Names:
    """A name server: each look-up takes the next answer, and the last one again and again."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[IPAddress]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer:
            raise OSError("no such name")
        return [ipaddress.ip_address(part) for part in answer.split()]


async def listing(connector: McpConnector, server: McpServer) -> list[str]:
    """Names of the server's tools. Raises ToolboxUnavailable."""
    box = McpToolbox(server, connector, ToolNames())
    try:
        listed = await asyncio.wait_for(box.open(box.announcement([])), 20)
    finally:
        await box.aclose()
    assert listed is not None
    return [tool["name"] for tool in listed["tools"]]


async def refusal(connector: McpConnector, url: str) -> str:
    with pytest.raises(ToolboxUnavailable) as error:
        await listing(connector, McpServer("tools[0]", "inner", url))
    return str(error.value)


INNER = ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "[fd00::1]", "0.0.0.0"]


@pytest.mark.parametrize("host", INNER)
async def test_inner_addresses_are_refused(host: str) -> None:
    with mcp_server() as server:
        connector = McpConnector(AllowedHosts(), frozenset({server.port}))
        said = await refusal(connector, f"http://{host}:{server.port}/mcp")
        assert said == f"The MCP server 'inner' {NOWHERE}."
        assert not server.heads
        connector.close()


async def test_names_are_looked_up_once_and_pinned() -> None:
    with mcp_server() as server:
        names = Names("127.0.0.1", "10.0.0.1")
        connector = McpConnector(LOOPBACK, frozenset({server.port}), names)
        url = f"http://inner.example:{server.port}/mcp"
        assert "status 421" in await refusal(connector, url)  # the server's own protection: it goes by another name
        assert {head["host"] for head in server.heads} == {f"inner.example:{server.port}"}
        assert names.asked == ["inner.example"]
        seen = len(server.heads)
        assert NOWHERE in await refusal(connector, url)  # a new response looks again
        assert len(server.heads) == seen


@pytest.mark.parametrize("answer", ["", "127.0.0.1", "93.184.216.34 127.0.0.1", "93.184.216.34 fe80::1"])
async def test_one_inner_address_of_a_name_is_enough(answer: str) -> None:
    connector = McpConnector(AllowedHosts(), frozenset({80}), Names(answer))
    assert NOWHERE in await refusal(connector, "http://some.example/mcp")


async def test_ports_and_credentials_in_the_url() -> None:
    with mcp_server() as server:
        connector = McpConnector(LOOPBACK)
        assert "names a port that this server does not fetch from" in await refusal(connector, server.url)
        connector = McpConnector(LOOPBACK, frozenset({server.port}))
        said = await refusal(connector, server.url.replace("//", "//user:secret@"))
        assert "credentials" in said and "secret" not in said
        assert not server.heads


async def test_redirects() -> None:
    with mcp_server() as server:
        connector = McpConnector(LOOPBACK, frozenset({server.port}))
        url = server.url.removesuffix("/mcp")
        assert "temperature" in await listing(connector, McpServer("tools[0]", "inner", f"{url}/moved"))
        heads = len(server.heads)
        said = await refusal(connector, f"{url}/elsewhere")
        assert said == "The MCP server 'inner' redirects to another place, which is not followed."
        assert all("localhost" not in head["host"] for head in server.heads[heads:])


async def test_authorization_and_headers() -> None:
    with mcp_server(token="s3cret-token") as server:
        connector = McpConnector(LOOPBACK, frozenset({server.port}))
        assert "asks for an authorization that this request has not" in await refusal(connector, server.url)
        allowed = McpServer(
            "tools[0]",
            "inner",
            server.url,
            authorization="s3cret-token",
            headers={"X-Team": "weather ", "X-Latin": "\xfcber", "Accept-Encoding": "gzip"},
        )
        server.heads.clear()
        assert "temperature" in await listing(connector, allowed)
        for head in server.heads:
            assert head["authorization"] == "Bearer s3cret-token"
            assert (head["x-team"], head["x-latin"], head["accept-encoding"]) == ("weather", "\xfcber", "identity")
            assert head["user-agent"] == "tritongate"


async def test_an_expired_authorization_is_an_outcome_of_the_call() -> None:
    with mcp_server(token="s3cret-token") as server:
        connector = McpConnector(LOOPBACK, frozenset({server.port}))
        asked = McpServer("tools[0]", "inner", server.url, authorization="s3cret-token")
        box = McpToolbox(asked, connector, ToolNames())
        await box.open(box.announcement([]))
        server.answer = JSONResponse({"error": "expired"}, 401)
        outcome = await _call(box)
        message = "The MCP server 'inner' asks for an authorization that this request has not."
        assert outcome.item["error"] == {"type": "http_error", "code": 401, "message": message}
        server.answer = None
        assert not (await _call(box)).failed
        await box.aclose()


async def test_secrets_are_in_no_log_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.CRITICAL, "mcp")  # as the logs' configuration has it
    with mcp_server(token="s3cret-token") as server:
        connector = McpConnector(LOOPBACK, frozenset({server.port}))
        right = McpServer("tools[0]", "a", server.url, authorization="s3cret-token", headers={"x-key": "s3cret-key"})
        wrong = McpServer("tools[0]", "a", server.url, authorization="s3cret-other", headers={"x-key": "s3cret-key"})
        await listing(connector, right)
        with pytest.raises(ToolboxUnavailable) as error:
            await listing(connector, wrong)
    assert "s3cret" not in str(error.value) and "s3cret" not in repr(right)
    assert not [
        record for record in caplog.records if "s3cret" in record.getMessage() and record.levelno > logging.DEBUG
    ]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Response("no", 500), "answered with status 500"),
        (Response("no", 403), "does not allow this request"),
        (Response("{}", 404, media_type="application/json"), "answered with status 404"),
        (Response("hello", media_type="text/plain"), "Unexpected content type: text/plain"),
        (Response("{", media_type="application/json"), "gave no answer that can be read"),
        (Response("[]", media_type="application/json"), "gave no answer that can be read"),
        (Response(status_code=202), "202 Accepted"),
        (Response("x", headers={"content-encoding": "gzip"}), "in a content encoding that was not asked for"),
        (Response(b"a" * (5 << 20), media_type="application/json"), "the answer has more than 4,194,304 bytes"),
        (Response(b"a" * (5 << 20), 500), "answered with status 500"),
        (Response(status_code=302, headers={"location": "http://10.0.0.1/secret"}), "redirects to another place"),
        (Response("", media_type="text/event-stream"), "closed the connection before it had answered"),
    ],
)
async def test_servers_that_are_none(answer: Response, said: str) -> None:
    with mcp_server() as server:
        server.answer = answer
        text = await refusal(McpConnector(LOOPBACK, frozenset({server.port})), server.url)
        assert text.startswith("The MCP server 'inner' ") and said in text
        assert "10.0.0.1" not in text


async def test_a_stream_without_end_is_cut() -> None:
    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b": " + b"x" * 65_536 + b"\n\n", "more_body": True})

    with mcp_server() as server:
        server.answer = endless
        text = await refusal(McpConnector(LOOPBACK, frozenset({server.port})), server.url)
        assert "the answer has more than 4,194,304 bytes" in text


async def test_tls_is_for_the_name_and_goes_to_the_address() -> None:
    trusted = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    with mcp_server(tls=True) as server:
        ports = frozenset({server.port})
        connector = McpConnector(LOOPBACK, ports, Names("127.0.0.1"), trusted)
        asked = McpServer("tools[0]", "inner", f"https://localhost:{server.port}/mcp")
        assert "temperature" in await listing(connector, asked)
        seen = len(server.heads)
        assert "no valid certificate" in await refusal(connector, f"https://other.example:{server.port}/mcp")
        untrusting = McpConnector(LOOPBACK, ports, Names("127.0.0.1"))
        assert "no valid certificate" in await refusal(untrusting, f"https://localhost:{server.port}/mcp")
        assert len(server.heads) == seen


async def _call(box: McpToolbox) -> CallOutcome:
    item = {"type": "mcp_call", "id": "mcp_1", "name": "temperature", "status": "in_progress"}
    return await box.call(PendingCall(item, "mcp", "temperature", '{"city": "Ulm"}'))
