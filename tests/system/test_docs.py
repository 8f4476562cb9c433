"""Pages for people (S5): they need nothing from elsewhere, run no inline code, and explain every problem."""

import dataclasses
import re
from pathlib import Path

import pytest

import app
from app.core.errors import kinds_of_refusal
from app.core.problems import known_problems, slug
from app.system.docs import HERE
from app.system.problem_pages import WAYS_OUT, list_problems
from app.system.ways_out import OWN_WAYS_OUT

PAGES = ["/docs", "/redoc"]
APP = Path(app.__file__).parent
NEVER_ANSWERED = {
    "malformed", "unauthenticated", "forbidden", "conflict", "stale", "too-large", "invalid",
    "precondition-required", "too-many", "timed-out", "no-space",
}  # fmt: skip
"""A status each, for rooms to derive from: nothing raises them by themselves, so no caller is led to their pages."""


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_of_documentation_uses_only_files_that_are_here(client, page):
    text = (await client.get(page)).text
    used = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert used
    assert all(each.startswith("/static/") for each in used)
    assert {(await client.get(each)).status_code for each in used} == {200}


@pytest.mark.parametrize("page", [*PAGES, "/problems", "/problems/gate-closed"])
async def test_a_page_holds_no_inline_code(client, page):
    text = (await client.get(page)).text
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|javascript:", text) == []


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_of_documentation_is_confined_to_this_service(client, page):
    policy = (await client.get(page)).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "script-src 'self';" in policy
    assert "http" not in policy


async def test_own_scripts_ask_nobody_else():
    for script in (HERE / "static").glob("*.js"):
        assert "://" not in script.read_text()


async def test_files_are_kept_by_browsers_and_asked_for_again_only_when_they_changed(client):
    first = await client.get("/static/vendor/redoc.standalone.js")
    assert first.headers["cache-control"] == "public, max-age=86400"
    again = await client.get(
        "/static/vendor/redoc.standalone.js", headers={"If-None-Match": first.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/static/nothing.js", "/static/%2e%2e/docs.py", "/static/..%2fdocs.py", "/static/vendor", "/static/"],
)
async def test_nothing_else_can_be_read(client, path):
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/not-found"


async def test_people_who_come_to_the_root_are_shown_the_documentation(client):
    answer = await client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


def test_every_problem_has_a_way_out():
    assert {kind.status for kind in kinds_of_refusal()} <= WAYS_OUT.keys()
    assert {slug for slug, *_ in known_problems()} <= list_problems().keys()
    assert OWN_WAYS_OUT.keys() <= list_problems().keys()


def test_every_page_says_what_happened_why_and_what_to_do():
    pages = [page for page in list_problems().values() if page.slug not in NEVER_ANSWERED]
    assert [page.slug for page in pages if len(page.meaning) < 40 or page.slug not in OWN_WAYS_OUT] == []


def test_a_kind_that_has_no_page_of_its_own_is_only_there_to_be_derived_from():
    bare = {kind for kind in kinds_of_refusal() if slug(kind) in NEVER_ANSWERED}
    assert {slug(kind) for kind in bare} == NEVER_ANSWERED
    assert {kind.__module__ for kind in bare} == {"app.core.errors"}
    assert [kind for kind in bare if dataclasses.is_dataclass(kind)] == []
    raised = re.compile(rf"\b(?:raise|answer_refusal\() ?(?:{'|'.join(kind.__name__ for kind in bare)})\b")
    assert [path for path in APP.rglob("*.py") if raised.search(path.read_text())] == []


@pytest.mark.parametrize(
    ("slug", "member"), [("invalid-request", "errors"), ("internal-error", "request_id")]
)
async def test_the_members_of_a_problem_that_is_no_refusal_are_told_too(client, slug, member):
    page = (await client.get(f"/problems/{slug}")).text
    assert f"<td><code>{member}</code></td>" in page
    assert "and no others" not in page


def test_an_id_among_the_members_is_told_as_the_text_that_it_is():
    assert list_problems()["key-not-found"].members == (("key_id", "string"),)


async def test_every_problem_is_listed_once(client):
    slugs = [slug for slug, *_ in known_problems()]
    assert len(slugs) == len(set(slugs))
    index = (await client.get("/problems")).text
    assert {name: index.count(f'href="/problems/{name}"') for name in slugs} == dict.fromkeys(slugs, 1)


async def test_every_problem_is_explained(client):
    index = (await client.get("/problems")).text
    for problem in list_problems().values():
        assert f'href="/problems/{problem.slug}"' in index
    page = (await client.get("/problems/gate-closed")).text
    assert "The version did not pass the gate" in page
    assert "409" in page
    assert "<code>failed</code> says which checks" in page
    assert "`" not in page


@pytest.mark.parametrize("slug", ["nothing", "<script>", "gate-closed%00"])
async def test_a_problem_that_there_is_not_is_a_problem_itself(client, slug):
    answer = await client.get(f"/problems/{slug}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/problem-unknown")


async def test_the_type_of_a_refusal_leads_to_its_page(client):
    refused = (await client.get("/api/models/nothing:1")).json()
    assert (await client.get(refused["type"])).status_code == 200
