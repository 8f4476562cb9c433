"""What a browser may be used for: foreign host names and cross-site changes are refused, answers are confined.

A page of another site can make a visitor's browser send requests here, and by DNS rebinding even read the
answers. The first is told by `Origin` and `Sec-Fetch-Site`, the second by `Host`.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.config import Settings
from app.core.errors import Forbidden, Malformed, Refusal
from app.core.problems import answer_refusal

CONTENT_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)
_POLICY_HEADER = b"content-security-policy"
_OTHER_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # `no-referrer` would make our own forms' Origin `null`
    (b"cross-origin-resource-policy", b"same-origin"),
)
CONFINED = ((_POLICY_HEADER, CONTENT_POLICY.encode()), *_OTHER_HEADERS)
"""The headers of every answer that brings no policy of its own."""
_MOST_SEEN = 1000  # spellings of hosts: where any name is answered, a caller can think of endless ones
_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})


@dataclass(eq=False)
class ForeignHost(Malformed):
    """The request names a host that this service does not serve.

    Only requests to the names in `SWITCHYARD_ALLOWED_HOSTS` are answered, on loopback also those to
    `localhost`, `127.0.0.1` and `[::1]`: otherwise any page could point a name of its own at this service,
    and read here with its visitor's browser. `host` is what the request named.
    """

    host: str

    def detail(self) -> str:
        return f"Host: this service does not answer to {self.host!r}; SWITCHYARD_ALLOWED_HOSTS names what it does."


class CrossSite(Forbidden):
    """Another site's page asked for this change.

    By `Origin` or `Sec-Fetch-Site` a browser says whose page wants a change. This page is of another site
    than the `Host` of the request, and could be using its visitor's rights without being asked; nothing was
    changed.
    """

    def detail(self) -> str:
        return "A browser sent this on behalf of another site's page; changes are taken from this service's own pages and from programs."


def docs_policy(*inline_scripts: str) -> str:
    """The Content-Security-Policy for a page of API documentation with exactly these inline scripts.

    An answer that brings its own policy keeps it.
    """
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in inline_scripts
    ]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in hashes)])
    return (
        f"{CONTENT_POLICY}; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; worker-src 'self' blob:"
    )


class HostRules:
    """The ASGI middleware that keeps browsers to what they may do here."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._policy = HostPolicy(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that breaks the rules with a problem, and confine every answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_confined(message: Message) -> None:
            if message["type"] == "http.response.start":
                _confine(message)
            await send(message)

        problem = self._policy.find_problem(scope)
        app = answer_refusal(problem) if problem else self._app
        await app(scope, receive, send_confined)


class HostPolicy:
    """Which hosts are answered, and which changes a browser may ask for."""

    def __init__(self, settings: Settings) -> None:
        self._allowed = frozenset(host.lower().encode() for host in settings.allowed_hosts)
        self._names = self._allowed | (_LOOPBACK_NAMES if settings.is_loopback else frozenset())
        self._seen: set[bytes] = set()

    def is_plainly_fine(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether no browser sent this, to a host that is ours; where not, `find_problem` tells."""
        host = headers.get(b"host", b"")
        if host not in self._seen:
            if self._names and not self._is_ours(host.lower()):
                return False
            if len(self._seen) < _MOST_SEEN:
                self._seen.add(host)
        return b"origin" not in headers and b"sec-fetch-site" not in headers

    def find_problem(self, scope: Scope) -> Refusal | None:
        """Why a request is not answered, or None."""
        hosts, origin, site = [], None, b""
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value)
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
        host = hosts[0].lower() if len(hosts) == 1 else b""
        if self._names and not self._is_ours(host):
            return ForeignHost(b", ".join(hosts).decode("latin-1"))
        if scope["method"] in _HARMLESS or self._is_same_site(origin, site, host):
            return None
        return CrossSite()

    def _is_ours(self, host: bytes) -> bool:
        return host in self._names or _without_port(host) in self._names

    def _is_same_site(self, origin: bytes | None, site: bytes, host: bytes) -> bool:
        if origin is None:
            return site in {b"", b"same-origin", b"none"}
        authority = origin.lower().partition(b"://")[2]
        return (
            site != b"cross-site" and authority != b"" and (authority == host or authority in self._allowed)
        )


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host


def _confine(message: Message) -> None:
    headers = message.setdefault("headers", [])
    own_policy = any(name == _POLICY_HEADER for name, _ in headers)
    message["headers"] = [*headers, *(_OTHER_HEADERS if own_policy else CONFINED)]
