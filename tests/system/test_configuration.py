"""The configuration report (S6): every variable with its meaning, and no secret."""

import re
from pathlib import Path

import pytest

from app.core.access import Role
from app.core.config import Settings
from app.system.configuration import MASK, MEANINGS, describe

README = Path(__file__).resolve().parents[2] / "README.md"


def reported(**variables):
    return {each.variable: each for each in describe(Settings(**variables))}


def test_every_variable_is_described_in_the_words_of_the_readme():
    rows = re.findall(r"^\| `(\w+)` \| (?:.*?) \| (.*) \|$", README.read_text(), re.MULTILINE)
    assert {name: each.does for name, each in reported().items()} == dict(rows)
    assert set(MEANINGS) == set(Settings.model_fields)


def test_what_is_set_is_told_from_what_is_a_default():
    variables = reported(port=9000)
    assert (variables["SWITCHYARD_PORT"].is_set, variables["SWITCHYARD_PORT"].value) == (True, 9000)
    assert (variables["SWITCHYARD_WORKERS"].is_set, variables["SWITCHYARD_WORKERS"].value) == (False, 1)


@pytest.mark.parametrize(
    ("setting", "value", "variable"),
    [
        ("database_url", "postgresql://me:hunter2@db/x", "ML_DATABASE_URL"),
        ("slack_webhook_url", "https://hooks.example/hunter2", "SLACK_WEBHOOK_URL"),
        ("redis_url", "redis://:hunter2@cache", "ML_REDIS_URL"),
        ("artifact_options", {"secret_access_key": "hunter2"}, "SWITCHYARD_ARTIFACT_OPTIONS"),
        ("mlflow_tracking_uri", "https://me:hunter2@mlflow.example", "MLFLOW_TRACKING_URI"),
        ("prometheus_url", "https://me:hunter2@prom.example", "PROMETHEUS_URL"),
        ("import_roots", "https://me:hunter2@files.example/a,s3://b", "SWITCHYARD_IMPORT_ROOTS"),
    ],
)
def test_no_secret_is_told(setting, value, variable):
    told = reported(**{setting: value})[variable]
    assert told.is_set
    assert "hunter2" not in told.model_dump_json()
    assert MASK in told.model_dump_json()


def test_redis_is_accepted_and_reported_as_not_needed():
    assert "not needed" in reported(redis_url="redis://cache")["ML_REDIS_URL"].note
    assert reported()["ML_REDIS_URL"].note is None


async def test_the_configuration_is_for_administrators(client, key_of):
    operator, admin = await key_of(Role.OPERATOR), await key_of(Role.ADMIN)
    assert (await client.get("/api/system/config", headers=operator)).status_code == 403
    answer = await client.get("/api/system/config", headers=admin)
    assert len(answer.json()["variables"]) == len(Settings.model_fields)
