"""Browser: what a page of another site may not do here, and what is told a browser about every answer (S3)."""

import pytest

from app.core.hosts import CONTENT_POLICY

SCRIPT = "<script>alert('1')</script><img src=x onerror=alert(1)>{{7*7}}${7*7}'; DROP TABLE model; --"
CHANGES = [
    ("POST", "/api/models/nobody/promote"),
    ("POST", "/api/models/nobody/predict"),
    ("POST", "/api/system/keys"),
    ("PATCH", "/api/models/nobody"),
    ("PUT", "/api/models/nobody/route"),
    ("DELETE", "/api/models/nobody"),
]
FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost.evil.example"},
    {"origin": "http://localhost:1"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://localhost", "sec-fetch-site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_a_change_that_another_sites_page_sends_is_refused(shared_client, method, path, headers):
    answer = await shared_client.request(method, path, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["type"] == "/problems/cross-site"


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_our_own_pages_and_programs_are_not_taken_for_another_site(shared_client, method, path):
    for headers in ({}, {"origin": "http://localhost", "sec-fetch-site": "same-origin"}):
        answer = await shared_client.request(method, path, headers=headers)
        assert answer.status_code != 403


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "[::1"]
)
@pytest.mark.parametrize("path", ["/api/models", "/livez", "/api/models/nobody/predict"])
async def test_a_foreign_host_name_is_refused(shared_client, host, path):
    answer = await shared_client.get(path, headers={"host": host})
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/foreign-host"


@pytest.mark.parametrize("path", ["/api/models", "/api/models/nobody", "/nowhere", "/api/models?limit=0"])
async def test_every_answer_carries_the_policy_that_confines_it(shared_client, path):
    answer = await shared_client.get(path)
    assert answer.headers["content-security-policy"] == CONTENT_POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_what_looks_like_markup_comes_back_as_data_and_never_as_a_page(shared_client):
    for path in ("/api/models/" + SCRIPT.replace("/", "%2F"), f"/api/models?search={SCRIPT}&metric={SCRIPT}"):
        answer = await shared_client.get(path)
        assert answer.status_code < 500
        assert answer.headers["content-type"].endswith("json")


async def test_a_request_id_can_not_bring_a_header_or_a_line_of_its_own(shared_client):
    for hostile in ("a b", "x" * 200, "a\tb", "<script>"):
        answer = await shared_client.get("/api/models", headers={"x-request-id": hostile})
        assert answer.headers["x-request-id"] != hostile
