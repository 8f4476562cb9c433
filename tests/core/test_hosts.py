"""Browser: foreign Host headers and cross-site changes are refused, and every answer is confined."""

import base64
import hashlib

import httpx
import pytest

from app.core.config import Settings
from app.core.hosts import HostRules, docs_policy

OWN_POLICY = docs_policy("start()")
PROXIED = {"allowed_hosts": ("models.example.org", "other.example.org:8443")}


async def page(scope, receive, send):
    """An application whose documentation page brings a policy of its own."""
    own = [(b"content-security-policy", OWN_POLICY.encode())] if scope["path"] == "/docs" else []
    await send({"type": "http.response.start", "status": 200, "headers": own})
    await send({"type": "http.response.body", "body": b"here"})


async def ask(method="GET", to="localhost:8000", *headers, path="/", **settings):
    rules = HostRules(page, Settings(**settings))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(rules), base_url="http://x") as client:
        return await client.request(method, path, headers=[("host", to), *headers])


@pytest.mark.parametrize("to", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]", "[::1]:8000"])
async def test_bound_to_loopback_its_names_are_answered_with_any_port(to):
    assert (await ask(to=to)).status_code == 200


@pytest.mark.parametrize(
    "to",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "::1", ""),
        *(":8000", "localhost:", "localhost:x", "user@localhost", "localhost:8000:8000"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_foreign_host_name_is_refused_so_that_dns_rebinding_reads_nothing(to, method):
    answer = await ask(method, to)
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/foreign-host"
    assert "default-src 'self'" in answer.headers["content-security-policy"]


async def test_two_host_headers_are_refused():
    assert (await ask("GET", "localhost", ("host", "localhost"))).status_code == 400


@pytest.mark.parametrize("bound", ["0.0.0.0", "127.0.0.1"])
async def test_allowed_hosts_are_answered_wherever_the_service_is_bound(bound):
    for to in ("Models.Example.org", "models.example.org:443", "other.example.org:8443"):
        assert (await ask("GET", to, host=bound, **PROXIED)).status_code == 200
    for to in ("example.org", "other.example.org", "evil.example"):
        assert (await ask("GET", to, host=bound, **PROXIED)).status_code == 400


async def test_bound_elsewhere_without_allowed_hosts_any_name_is_answered_because_a_key_is_needed_anyway():
    assert (await ask(to="10.1.2.3:8000", host="0.0.0.0")).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "MOVE"])
@pytest.mark.parametrize(
    "headers",
    [
        [("origin", "https://evil.example")],
        [("origin", "http://localhost:3000")],
        [("origin", "http://localhost")],
        [("origin", "null")],
        [("origin", "")],
        [("origin", "localhost:8000")],
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("origin", "http://localhost:8000"), ("sec-fetch-site", "cross-site")],
    ],
)
async def test_a_change_that_another_sites_page_asks_for_is_refused(method, headers):
    answer = await ask(method, "localhost:8000", *headers)
    assert answer.status_code == 403
    assert answer.json()["type"] == "/problems/cross-site"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("origin", "http://localhost:8000")],
        [("origin", "http://LOCALHOST:8000"), ("sec-fetch-site", "same-origin")],
        [("sec-fetch-site", "same-origin")],
        [("sec-fetch-site", "none")],
    ],
)
async def test_its_own_pages_and_programs_may_change_things(headers):
    assert (await ask("POST", "localhost:8000", *headers)).status_code == 200


async def test_an_origin_that_is_none_does_not_match_a_host_that_is_none():
    answer = await ask("POST", "", ("origin", "null"), host="0.0.0.0")
    assert answer.status_code == 403


async def test_behind_a_proxy_that_renames_the_host_an_allowed_host_is_the_same_site():
    origin = ("origin", "https://models.example.org")
    assert (await ask("POST", "127.0.0.1:8000", origin, **PROXIED)).status_code == 200
    other_port = ("origin", "https://models.example.org:9999")
    assert (await ask("POST", "127.0.0.1:8000", other_port, **PROXIED)).status_code == 403


async def test_reading_from_another_site_is_answered_but_not_for_its_scripts():
    answer = await ask("GET", "localhost", ("origin", "https://evil.example"))
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_every_answer_is_confined():
    headers = (await ask()).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    for directive in ("default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "object-src 'none'"):
        assert directive in policy.split("; ")


async def test_a_page_that_brings_its_own_policy_keeps_it_and_runs_only_the_scripts_it_names():
    headers = (await ask(path="/docs")).headers
    assert headers.get_list("content-security-policy") == [OWN_POLICY]
    assert headers["x-content-type-options"] == "nosniff"
    digest = base64.b64encode(hashlib.sha256(b"start()").digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}'" in OWN_POLICY
    assert "unsafe" not in OWN_POLICY.partition("script-src")[2].partition(";")[0]
