"""Requests to addresses that others chose: resolved once, connected to that very address, no redirect, little time.

A name that resolves to a public address when it is checked and to a private one when it is used ("DNS rebinding")
gains nothing, because there is one look-up. Networks that are not public are refused unless the configuration names them.
"""

import asyncio
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import httpx

from app.alerts.addresses import Address, Network, is_allowed
from app.alerts.deliveries import Failure
from app.alerts.errors import TargetRefused
from app.alerts.trust import mistrust_of, trusting
from app.core.errors import FieldProblem

SECONDS = 10.0
_HOST = re.compile(rb"[A-Za-z0-9._:-]+")
GONE = 410
"""Standard Webhooks: the receiver wants no more messages."""


class NotDeliveredError(Exception):
    """A message did not arrive; `failure` says why."""

    def __init__(self, problem: str, *, is_final: bool = False, asked_seconds: float = 0) -> None:
        super().__init__(problem)
        self.failure = Failure(problem, is_final=is_final, asked_seconds=asked_seconds)


def read_target(address: str, allowed: Sequence[Network] = ()) -> httpx.URL:
    """An address over HTTP that somebody wants messages sent to.

    Raises:
        FieldProblem: it is none.
        TargetRefused: it names, without a look-up, a machine that the service may not connect to.
    """
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, ValueError) as error:
        raise FieldProblem("url", f"is no address: {error}") from error
    if url.scheme not in {"http", "https"} or not _HOST.fullmatch(url.raw_host):
        raise FieldProblem("url", "begins with https:// (or http://) and names a host")
    if url.port is not None and not 0 < url.port < 65536:
        raise FieldProblem("url", f"names the port {url.port}; ports lie between 1 and 65535")
    _refuse_literal(url.host, allowed)
    return url


def _refuse_literal(host: str, allowed: Sequence[Network]) -> None:
    named = "127.0.0.1" if host.rstrip(".") == "localhost" or host.endswith(".localhost") else host
    try:
        literal = ip_address(named)
    except ValueError:
        return  # a name: looked up, once, when there is something to send
    if not is_allowed(literal, allowed):
        raise TargetRefused(host, str(literal))


@dataclass(frozen=True)
class Egress:
    """The way out: which networks beyond the public ones it may lead to, and how long it may take."""

    allowed: Sequence[Network] = ()
    seconds: float = SECONDS

    async def post(self, url: httpx.URL, body: bytes, headers: Mapping[str, str]) -> None:
        """Send one message; any answer of the two hundreds means that it arrived.

        Raises:
            NotDeliveredError: in words that tell nothing of the address, which may be a secret.
        """
        try:
            async with asyncio.timeout(self.seconds):
                status, wait = await self._post(url, body, headers)
        except TimeoutError:
            raise NotDeliveredError(f"no answer within {self.seconds:g} s") from None
        _require_success(status, wait)

    async def _post(self, url: httpx.URL, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        for address in await self._resolve(url):
            try:
                return await _post_to(address, url, body, headers, self.seconds)
            except httpx.ConnectError as error:
                mistrust = mistrust_of(error, "the host's")
                if mistrust is not None:
                    raise NotDeliveredError(mistrust) from None
            except httpx.HTTPError as error:
                raise NotDeliveredError(f"the connection broke: {type(error).__name__}") from None
        raise NotDeliveredError("the host can't be connected to")

    async def _resolve(self, url: httpx.URL) -> list[Address]:
        port = url.port or (443 if url.scheme == "https" else 80)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise NotDeliveredError("the host's name can't be resolved") from None
        addresses = [ip_address(place[0]) for *_, place in found]
        for address in addresses:
            if not is_allowed(address, self.allowed):
                raise NotDeliveredError(str(TargetRefused(url.host, str(address))), is_final=True)
        return list(dict.fromkeys(addresses))


async def _post_to(
    address: Address, url: httpx.URL, body: bytes, headers: Mapping[str, str], seconds: float
) -> tuple[int, str]:
    """The status of the answer, and what it says of when to come back; its body is not read, however long it is."""
    pinned = url.copy_with(host=str(address))
    named = {**headers, "Host": url.netloc.decode("ascii")}
    async with (
        httpx.AsyncClient(
            trust_env=False, follow_redirects=False, timeout=seconds, verify=trusting()
        ) as client,
        client.stream(
            "POST", pinned, content=body, headers=named, extensions={"sni_hostname": url.host}
        ) as answer,
    ):
        return answer.status_code, answer.headers.get("retry-after", "")


def _require_success(status: int, wait: str) -> None:
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise NotDeliveredError(f"answered {status}, and redirects are not followed")
    asked = float(wait) if wait.isascii() and wait.isdigit() else 0.0
    raise NotDeliveredError(f"answered {status}", is_final=status == GONE, asked_seconds=asked)
