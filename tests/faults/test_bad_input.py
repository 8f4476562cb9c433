"""Bad input: whatever a JSON endpoint is sent, it answers below 500, and a refusal changes nothing."""

import json
import re
from uuid import UUID

import pytest
from sqlalchemy import text

from app.core.config import Settings
from app.core.database import Base, Database
from app.main import create_app
from tests.conftest import client_of, run_sql, running, with_database
from tests.faults.harness import eventually
from tests.real_models import bring_to_production, register

SOME_ID = str(UUID(int=7 << 76 | 2 << 62))
FLEETING = {"replica", "preparation", "job", "profile_plan", "live_profile", "hour_profile", "watch"}
"""What processes write on their own account; so they do `looked_at`."""
REACTED = """
    SELECT NOT EXISTS (SELECT FROM fact WHERE sequence IS NULL)
       AND NOT EXISTS (SELECT FROM job WHERE kind LIKE 'plan%' AND state IN ('queued', 'running'))
"""
JSON = {"content-type": "application/json"}
HUGE = "x" * 1_000_000
RAW = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"NaN",
    b"1e400",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b'{"\\ud800": 1}',
    b'{"\\u0000": 1}',
    b'{"unknown": 1, "unknown": 2}',
    b"[" * 100_000,
    b'{"reason": ' + b"[" * 60 + b"]" * 60 + b"}",
    b"1" * 5000,
)
VALUES = (
    r'"a\u0000b"',
    r'"\ud800"',
    r'{"a\u0000": 1}',
    r'{"a": "\udfff"}',
    '{"a": [NaN]}',
    "NaN",
    "-Infinity",
    "1e400",
    "9223372036854775808",
    "-9223372036854775809",
    "1" * 4400,
    "null",
    "true",
    "[]",
    "{}",
    '[{"a": null}]',
    '""',
    json.dumps(HUGE),
)


def changes():
    """Every operation that takes JSON, with the example that its document gives and the models that its path may name."""
    document = create_app(Settings(database_url="postgresql://nobody@localhost/none")).openapi()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            models = ("bc", "bc:2") if "{model_id}" in path else ("bc",)
            for model in models if content else ():
                example = example_of(content["schema"], document)
                yield pytest.param(method.upper(), path, example, model, id=f"{method} {path}-{model}")


def example_of(schema, document):
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    example = dict.fromkeys(schema.get("properties", {}))
    return example | schema.get("example", {})


def concrete(path, model):
    filled = path.replace("{model_id}", model).replace("{alias}", "champion")
    return re.sub(r"{\w+}", SOME_ID, filled)


def bodies(example):
    """Whole bodies, then the example with one member at a time spoilt."""
    yield from RAW
    given = {name: value for name, value in example.items() if value is not None}
    for name in example:
        others = {other: value for other, value in given.items() if other != name}
        head = json.dumps(others)[:-1] + (", " if others else "")
        yield from (f"{head}{json.dumps(name)}: {value}}}".encode() for value in VALUES)
        yield f"{head}{json.dumps(name)}: 1, {json.dumps(name)}: 2}}".encode()


class House:
    """A running application with a model in production, and what its database holds."""

    def __init__(self, client, database):
        self.client, self.database = client, database
        tables = sorted(set(Base.metadata.tables) - FLEETING)
        one = "SELECT '{0}', count(*), md5(string_agg({1}, '|' ORDER BY {1})) FROM {0} t"
        row = "(to_jsonb(t) - 'looked_at')::text"
        queries = (one.format(table, "id::text" if table == "fact" else row) for table in tables)
        self._all = text(" UNION ALL ".join(queries))  # a fact is sealed later, by itself

    async def reacted(self):
        """Whether what follows from registrations has followed."""
        async with self.database.reads() as session:
            return await session.scalar(text(REACTED))

    async def contents(self):
        async with self.database.reads() as session:
            return {tuple(row) for row in await session.execute(self._all)}

    async def fault_of(self, method, path, body):
        """What is wrong with the answer to a body; None when it is a success, or a refusal that changed nothing."""
        before = await self.contents()
        answer = await self.client.request(method, path, content=body, headers=JSON)
        if answer.status_code >= 500:
            return answer.status_code, body[:200]
        if answer.status_code >= 400 and await self.contents() != before:
            return "refused, and yet it changed something", body[:200]
        return None


@pytest.fixture(scope="module")
async def house(postgres_url, template, tmp_path_factory):
    await run_sql(
        postgres_url, "DROP DATABASE IF EXISTS bad_input", f"CREATE DATABASE bad_input TEMPLATE {template}"
    )
    url = with_database(postgres_url, "bad_input")
    settings = Settings(database_url=url, base_path=tmp_path_factory.mktemp("bad"), log_level="error")
    database = Database(url)
    async with running(settings) as app, client_of(app) as client:
        await bring_to_production(client, "bc")
        assert (await register(client, "bc", seed=1)).status_code == 201
        house = House(client, database)
        await eventually(house.reacted, within=60)
        yield house
    await database.close()


@pytest.mark.parametrize(("method", "path", "example", "model"), [*changes()])
async def test_no_body_is_answered_with_500_and_none_that_is_refused_changes_anything(
    house, method, path, example, model
):
    faults = [await house.fault_of(method, concrete(path, model), body) for body in bodies(example)]
    assert [fault for fault in faults if fault] == []
