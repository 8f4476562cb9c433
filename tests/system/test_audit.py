"""The audit trail over HTTP (S3): filtered, paged, verified, exported, and checked without the service."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.access import Role
from app.registry.actions import edit_model
from tests import make
from tests.conftest import TESTER
from tests.core.test_facts import announce_some, tamper
from tests.system.conftest import seal_all

AUDIT = "/api/system/audit"
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "audit.md"


@pytest.fixture
async def trail(service):
    """Seven sealed facts."""
    await announce_some(service.state.database, 7)
    await seal_all(service.state.database)
    return service.state.database


async def test_facts_come_newest_first_page_by_page(client, trail):
    seen, cursor = [], None
    while True:
        answer = await client.get(AUDIT, params={"limit": 3} | ({"cursor": cursor} if cursor else {}))
        page = answer.json()
        seen += [fact["sequence"] for fact in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"actor": "tester"}, 7),
        ({"actor": "nobody"}, 0),
        ({"kind": "ThingHappened", "subject": "thing:3"}, 1),
        ({"since": "2001-01-01T00:00:00Z"}, 7),
        ({"until": "2001-01-01T00:00:00Z"}, 0),
    ],
)
async def test_facts_can_be_filtered(client, trail, filters, count):
    answer = await client.get(AUDIT, params=filters)
    assert len(answer.json()["items"]) == count


@pytest.mark.parametrize(
    "bad", [{"since": "yesterday"}, {"actor": "a\0b"}, {"cursor": "bm90IG91cnM"}, {"limit": 0}]
)
async def test_a_filter_that_makes_no_sense_is_refused(client, trail, bad):
    answer = await client.get(AUDIT, params=bad)
    assert answer.status_code in {400, 422}


async def test_the_chain_is_verified(client, trail):
    verdict = (await client.get(f"{AUDIT}/verify")).json()
    assert (verdict["intact"], verdict["facts"], verdict["broken_at"]) == (True, 7, None)
    await tamper(trail, "UPDATE fact SET actor = 'innocent' WHERE sequence = 4")
    verdict = (await client.get(f"{AUDIT}/verify")).json()
    assert (verdict["intact"], verdict["broken_at"]) == (False, 4)


async def test_a_checkpoint_shows_a_tail_that_was_cut_off(client, trail):
    checkpoint = (await client.get(f"{AUDIT}/checkpoint")).json()
    await tamper(trail, "DELETE FROM fact WHERE sequence > 5")
    assert (await client.get(f"{AUDIT}/verify")).json()["intact"]
    verdict = (await client.get(f"{AUDIT}/verify", params=checkpoint)).json()
    assert (verdict["intact"], verdict["broken_at"]) == (False, 6)


@pytest.mark.parametrize(
    "half",
    [
        {"sequence": 3},
        {"hash": "0" * 64},
        {"sequence": 3, "hash": "zz"},
        {"sequence": 2**63, "hash": "0" * 64},
    ],
)
async def test_half_a_checkpoint_is_refused(client, half):
    assert (await client.get(f"{AUDIT}/verify", params=half)).status_code == 422


def check_offline(tmp_path, export):
    """Run exactly the lines that the guide shows, on nothing but Python's standard library."""
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "check.py").write_text(program)
    (tmp_path / "audit.ndjson").write_text(export)
    command = [sys.executable, "-I", "-S", tmp_path / "check.py", tmp_path / "audit.ndjson"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


async def test_an_export_is_found_intact_by_the_lines_of_the_guide(client, trail, tmp_path):
    answer = await client.get(f"{AUDIT}/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    checkpoint = (await client.get(f"{AUDIT}/checkpoint")).json()
    found = check_offline(tmp_path, answer.text)
    assert found.stdout == f"intact: 7 facts, the last one's hash is {checkpoint['hash']}\n"


@pytest.mark.parametrize("place", [0, 3, 6])
async def test_an_edited_export_is_found_broken_by_the_lines_of_the_guide(client, trail, tmp_path, place):
    lines = (await client.get(f"{AUDIT}/export")).text.splitlines()
    fact = json.loads(lines[place])
    fact["body"]["number"] = 1000
    lines[place] = json.dumps(fact)
    assert f"broken at fact {place + 1}" in check_offline(tmp_path, "\n".join(lines)).stderr


async def test_an_export_with_a_missing_line_is_found_broken(client, trail, tmp_path):
    lines = (await client.get(f"{AUDIT}/export")).text.splitlines()
    del lines[2]
    assert "broken at fact 3" in check_offline(tmp_path, "\n".join(lines)).stderr


async def test_the_audit_trail_is_for_operators_and_whole_only_for_keys_of_every_model(client, trail, key_of):
    paths = [AUDIT, f"{AUDIT}/verify", f"{AUDIT}/checkpoint", f"{AUDIT}/export"]
    viewer, narrow, operator = [
        await key_of(Role.VIEWER), await key_of(Role.OPERATOR, ("churn-*",)), await key_of(Role.OPERATOR)
    ]  # fmt: skip
    assert [(await client.get(path, headers=viewer)).status_code for path in paths] == [403] * 4
    assert [(await client.get(path, headers=narrow)).status_code for path in paths] == [403, 200, 200, 403]
    assert [(await client.get(path, headers=operator)).status_code for path in paths] == [200] * 4


async def test_values_of_sensitive_columns_do_not_occur_in_facts(client, service):
    edge_case = {"input": {"x0": 424242.0, "x1": 0.0}, "prediction": 1}
    changes = {"sensitive_columns": ["x0"], "gates": {"edge_cases": [edge_case]}}
    async with service.state.database.writes(TESTER) as session:
        await make.version(session, probe={"sample_input": [[424242.0, 0.0]], "sample_output": {}})
        await edit_model(session, "m", changes)
    await seal_all(service.state.database)
    assert "424242" not in (await client.get(f"{AUDIT}/export")).text
