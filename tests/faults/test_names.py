"""Names, texts and cursors over HTTP: what could be mistaken for something else is refused, or kept byte for byte."""

import re
from datetime import timedelta
from urllib.parse import quote

import pytest

from app.core import clock
from app.core.config import Settings
from app.main import create_app
from app.system.openapi import list_operations
from tests.real_models import register

NFC, NFD = "mod\u00e9le", "mode\u0301le"
OUTSIDE_THE_ALPHABET = [
    "a/b",
    "a:1",
    "a@b",
    "a\\b",
    ".",
    "..",
    ".hidden",
    "-option",
    "trailing ",
    " leading",
    "a\tb",
    "a\nb",
    "a%2Fb",
    "a?b",
    "a#b",
    NFC,
    NFD,
    "\uff41bc",
    "a\u200bb",
    "a\u202eb",
    "a" * 129,
    "a" * 1_000_000,
    "",
    "compare",
    "Register",
    "'; DROP TABLE model; --",
    "{{7*7}}",
    "<script>",
]
LOOK_ALIKES = [
    "{{7*7}} ${7*7} {% for x in y %} %(a)s {0}",
    "'; DROP TABLE model; -- \" OR 1=1 /* */ $1 :name ?",
    "<script>alert(1)</script> <img src=x onerror=alert(1)>",
    "../../etc/passwd \\\\server\\share C:\\x",
    "=cmd|' /C calc'!A0 @SUM(1) +1 -1",
    f"{NFC} {NFD} \u202e \u200b \ufeff \U0001f600",
    "line\r\nX-Injected: 1\n\ttab\x7f",
    " spaces at both ends ",
]
LISTS = [
    path
    for path, method, operation in list_operations(
        create_app(Settings(database_url="postgresql://nobody@localhost/none")).openapi()
    )
    if method == "get" and any(each["name"] == "cursor" for each in operation.get("parameters", []))
]


@pytest.mark.parametrize("name", OUTSIDE_THE_ALPHABET, ids=lambda name: ascii(name[:20]))
async def test_a_name_that_could_be_read_in_two_ways_is_refused(shared_client, name):
    answer = await register(shared_client, name)
    assert answer.status_code == 422, answer.text
    assert len(answer.content) < 10_000
    read = await shared_client.get(f"/api/models/{quote(name[:2000], safe='').replace('.', '%2E')}")
    assert 400 <= read.status_code < 500 or name in {"", "compare"}


async def test_percent_encoding_names_the_same_model_and_no_other(shared_client):
    assert (await register(shared_client, "Spelt.out_1-2 3")).status_code == 201
    for spelling in ("Spelt.out_1-2%203", "%53pelt%2Eout%5F1%2D2%203:1", "Spelt.out_1-2%203%3A1"):
        answer = await shared_client.get(f"/api/models/{spelling}")
        assert (answer.status_code, answer.json()["name"]) == (200, "Spelt.out_1-2 3")
    for other in ("Spelt.out_1-2%25203", "Spelt.out_1-2+3", "spelt.out_1-2%203", "Spelt.out_1-2%203%00"):
        assert (await shared_client.get(f"/api/models/{other}")).status_code in {400, 404}


@pytest.mark.parametrize("twin", ["twin.model", "TWIN.MODEL", "tWin.modeL"])
async def test_twins_by_case_are_refused_and_name_the_first(shared_client, twin):
    await register(shared_client, "Twin.model")
    problem = (await register(shared_client, twin)).json()
    assert (problem["status"], problem["existing"]) == (409, "Twin.model")


@pytest.mark.parametrize("number", range(len(LOOK_ALIKES)))
async def test_a_text_that_looks_like_code_is_kept_byte_for_byte(shared_client, number):
    name, look_alike = f"alike-{number}", LOOK_ALIKES[number]
    told = {"description": look_alike, "tags": {"looks": look_alike}, "parameters": {"a": [look_alike]}}
    assert (await register(shared_client, name, **told)).status_code == 201
    version = (await shared_client.get(f"/api/models/{name}:1")).json()
    assert (version["description"], version["tags"]["looks"]) == (look_alike, look_alike)
    assert version["parameters"]["a"] == [look_alike]
    found = await shared_client.get("/api/models", params={"tag": f"looks={look_alike}"})
    assert name in {model["name"] for model in found.json()["items"]}, found.text


@pytest.mark.parametrize("path", LISTS)
async def test_a_cursor_that_the_list_did_not_hand_out_is_refused(shared_client, path):
    name = await two_of_everything(shared_client)
    address = path.replace("{model_id}", name)
    handed_out = (await shared_client.get("/api/models", params={"limit": 1})).json()["next"]
    forged = [
        "x",
        "eyJhIjoxfQ",
        "'; DROP TABLE model; --",
        "\u00e9",
        handed_out[:-2],
        f"{'B' if handed_out[0] == 'A' else 'A'}{handed_out[1:]}",
        "=" * 40,
    ]
    foreign = [] if path == "/api/models" else [handed_out]
    for cursor in [*forged, *foreign]:
        answer = await shared_client.get(address, params={"cursor": cursor})
        assert answer.status_code == 400, (cursor, answer.text)
        assert answer.json()["type"] == "/problems/foreign-cursor"
    assert re.fullmatch(r"[\w-]+", handed_out)


async def two_of_everything(client):
    for name in ("cursors", "cursors-too"):
        if (await client.get(f"/api/models/{name}")).status_code == 404:
            assert (await register(client, name)).status_code == 201
    return "cursors"


async def test_a_cursor_of_the_day_before_yesterday_is_told_so(shared_client, monkeypatch):
    await two_of_everything(shared_client)
    handed_out = (await shared_client.get("/api/models", params={"limit": 1})).json()["next"]
    answer = await shared_client.get("/api/models", params={"cursor": handed_out})
    assert answer.status_code == 200
    later = clock.now() + timedelta(hours=25)
    monkeypatch.setattr(clock, "now", lambda: later)
    answer = await shared_client.get("/api/models", params={"cursor": handed_out})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/expired-cursor")
