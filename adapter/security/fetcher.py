"""The one way by which this server fetches what a client names by URL.

A client could otherwise have the server read from the network that it stands in. So each URL, and each redirect of it:

- is http or https, without credentials, on one of the allowed ports;
- has its host resolved here, once. If a single address is not public, nothing is fetched, unless the operator allows;
- is connected to at exactly an address that was looked at. The name is only in the Host header and in TLS, where the
  certificate is verified against it, so that a name server which changes its mind changes nothing;
- goes through no proxy, brings no cookies, and gives no connection on to another fetch.

What is told of a failure must not map the network behind this server. A name that does not exist, one that resolves to
an address that is not public, and a name server without an answer all are one and the same message. Only for
addresses that may be fetched from anyway do messages tell connecting, TLS, status and time apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx

from adapter.errors import overloaded
from adapter.security.addresses import AllowedHosts
from adapter.security.destinations import CONNECT_TIMEOUT, Destinations, RefusedDestination
from adapter.security.resolver import Resolve

_MOST_REDIRECTS = 5
_LONGEST_URL = 8192  # characters
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SCHEMES = frozenset({"http", "https"})


class FetchError(Exception):
    """Nothing was fetched; the message is a predicate of the URL ("answered with status 404")."""


class RefusedURL(FetchError):
    """The URL, or one that it redirects to, is not one that this server fetches."""


class FetchFailed(FetchError):
    """The host could not be reached, or did not answer as it should."""


class ContentTooLarge(FetchError):
    """More than the caller takes."""


@dataclass(frozen=True)
class FetchPolicy:
    """enabled: whether anything is fetched at all. timeout: seconds for one fetch with all of its redirects.

    concurrent: fetches at a time; more wait their turn.
    """

    enabled: bool = True
    allowed: AllowedHosts = field(default_factory=AllowedHosts)
    ports: frozenset[int] = frozenset({80, 443})
    timeout: float = 20.0
    concurrent: int = 16


@dataclass(frozen=True)
class Fetched:
    """media_type: of the Content-Type header, lower-case, without parameters; None without the header."""

    content: bytes
    media_type: str | None


class Fetcher:
    """Fetches over http and https under a policy.

    Args:
        resolve: names to addresses; the system's resolver if None.
        tls: what certificates are trusted; the usual authorities, or those of SSL_CERT_FILE, if None.
    """

    def __init__(self, policy: FetchPolicy, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._policy = policy
        self._destinations = Destinations(policy.allowed, policy.ports, resolve)
        self._tls = tls or httpx.create_ssl_context()
        self._slots = asyncio.Semaphore(policy.concurrent)

    async def fetch(self, url: str, limit: int, accept: str = "*/*") -> Fetched:
        """The content at `url`.

        Args:
            limit: bytes of content that are taken at most.
            accept: the Accept header.

        Raises:
            FetchError: one of the three kinds above.
            APIError: 503, too many fetches are waiting.
        """
        if not self._policy.enabled:
            raise RefusedURL("cannot be fetched: this server takes media as data URLs only (data:<type>;base64,...)")
        target = _parse(url)
        try:
            await asyncio.wait_for(self._slots.acquire(), self._policy.timeout)
        except asyncio.TimeoutError:
            raise overloaded("Too much remote media is being fetched at the moment.") from None
        try:
            return await asyncio.wait_for(self._follow(target, limit, accept), self._policy.timeout)
        except asyncio.TimeoutError:
            raise FetchFailed(f"could not be downloaded within {self._policy.timeout:g} seconds") from None
        finally:
            self._slots.release()

    async def aclose(self) -> None:
        self._destinations.close()

    async def _follow(self, url: httpx.URL, limit: int, accept: str) -> Fetched:
        redirected = False
        for _ in range(_MOST_REDIRECTS + 1):
            try:
                async with self._get(url, accept) as response:
                    if response.status_code not in _REDIRECTS:
                        return await _read(response, limit)
                    redirected = True
                    url = _parse(_location(url, response))
            except RefusedURL as error:
                if redirected:  # the client knows the URL it sent; where that leads may be another's secret
                    raise RefusedURL("redirects to a place that this server does not fetch from") from error
                raise
            except httpx.HTTPError as error:
                raise FetchFailed("gave no proper HTTP answer") from error
        raise FetchFailed(f"redirects more than {_MOST_REDIRECTS} times")

    @contextlib.asynccontextmanager
    async def _get(self, url: httpx.URL, accept: str) -> AsyncIterator[httpx.Response]:
        """The answer to a GET of `url`, from an address that was looked at; its body is still to be read."""
        host = url.raw_host.decode("ascii").rstrip(".")  # a certificate is for the name without the root's dot
        try:
            addresses = await self._destinations.addresses(url.scheme, host, url.port)
        except RefusedDestination as error:
            raise RefusedURL(str(error)) from None
        failure: httpx.HTTPError | None = None
        for address in addresses:
            async with contextlib.AsyncExitStack() as stack:
                # A pool of its own: a connection that was verified for one name must not serve another on that address.
                transport = httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False)
                client = httpx.AsyncClient(
                    transport=transport, trust_env=False, timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT)
                )
                await stack.enter_async_context(client)
                headers = {
                    "host": url.netloc.decode("ascii"),
                    "user-agent": "tritongate",
                    "accept": accept,
                    "accept-encoding": "identity",
                }
                pinned = url.copy_with(host=str(address))
                answer = client.stream("GET", pinned, headers=headers, extensions={"sni_hostname": host})
                try:
                    response = await stack.enter_async_context(answer)
                except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                    failure = error
                    continue
                yield response
                return
        assert failure is not None
        if _has_cause(failure, ssl.SSLError):
            raise FetchFailed("could not be downloaded: its host has no valid certificate for TLS") from failure
        raise FetchFailed("could not be downloaded: its host cannot be connected to") from failure


def _parse(text: str) -> httpx.URL:
    """Raises RefusedURL for what no fetch can begin with."""
    if len(text) > _LONGEST_URL:
        raise RefusedURL(f"is longer than {_LONGEST_URL:,} characters")
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise RefusedURL("is no valid URL") from error
    if url.scheme not in _SCHEMES:
        raise RefusedURL(
            "is not of a kind that this server fetches: https://, http://, or data: with the content itself"
        )
    if not url.raw_host:
        raise RefusedURL("names no host")
    if url.userinfo:
        raise RefusedURL("holds credentials, and this server sends none")
    return url


def _location(url: httpx.URL, response: httpx.Response) -> str:
    location = response.headers.get("location")
    if location is None:
        raise FetchFailed(f"answered with status {response.status_code} and no place to go to")
    try:
        return str(url.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise RefusedURL("is no valid URL") from error


async def _read(response: httpx.Response, limit: int) -> Fetched:
    if response.status_code != 200:
        raise FetchFailed(f"answered with status {response.status_code}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise FetchFailed("answered in a content encoding that was not asked for")
    too_large = ContentTooLarge(f"leads to more than {limit:,} bytes")
    length = response.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:  # the HTTP parser has bounded its digits
        raise too_large
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > limit:
            raise too_large
    media_type = response.headers.get("content-type")
    if media_type is not None:
        media_type = media_type.partition(";")[0].strip().lower()
    return Fetched(bytes(content), media_type)


def _has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False
