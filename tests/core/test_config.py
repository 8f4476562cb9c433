"""S6: every variable of the README's table sets what it names, and a configuration that can't be meant is refused."""

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.core.config import Settings, faults_of, variable_of

README = Path(__file__).resolve().parents[2] / "README.md"
VARIABLES = re.findall(r"^\| `(\w+)` \|", README.read_text(), re.MULTILINE)
FIELDS = {variable_of(field): field for field in Settings.model_fields}
GIVEN = {
    "ML_DATABASE_URL": "postgresql://me@db/x",
    "MLOPS_BASE_PATH": "/srv/switchyard",
    "MODEL_STORAGE_BUCKET": "s3://models",
    "SWITCHYARD_ARTIFACT_OPTIONS": '{"region": "eu-north-1"}',
    "SWITCHYARD_OIDC_ISSUER": "https://id.example",
    "SWITCHYARD_LOG_LEVEL": "debug",
    "SWITCHYARD_TELEMETRY": "true",
    "DRIFT_THRESHOLD": "0.3",
    "PERFORMANCE_THRESHOLD": "0.3",
    "AB_TEST_CONFIDENCE_LEVEL": "0.9",
    "AB_TEST_SIGNIFICANCE_THRESHOLD": "0.1",
    "SMTP_URL": "smtps://me:secret@mail.example:465",
    "SWITCHYARD_EMAIL_SENDER": "alerts@example.org",
    "SWITCHYARD_ALLOWED_TARGETS": "10.0.0.0/8,fd00::/8",
    "PROMETHEUS_URL": "https://prometheus.example/",
}
"""What is no plain number or name."""
COMPANIONS = {
    "AB_TEST_CONFIDENCE_LEVEL": {"AB_TEST_SIGNIFICANCE_THRESHOLD": "0.1"},
    "AB_TEST_SIGNIFICANCE_THRESHOLD": {"AB_TEST_CONFIDENCE_LEVEL": "0.9"},
    "SWITCHYARD_OIDC_ISSUER": {"SWITCHYARD_OIDC_AUDIENCE": "us", "SWITCHYARD_OIDC_JWKS": "/keys.json"},
}
"""What can be set only together."""


@pytest.fixture(autouse=True)
def _no_other_variables(monkeypatch):
    for variable in VARIABLES:
        for name in spellings(variable):
            monkeypatch.delenv(name, raising=False)


def spellings(variable):
    """A variable with a name of its own is understood with our prefix too."""
    return {variable, f"SWITCHYARD_{variable.removeprefix('SWITCHYARD_')}"}


def value_for(variable):
    default = getattr(Settings(), FIELDS[variable])
    is_number = isinstance(default, int | float) and not isinstance(default, bool)
    return GIVEN.get(variable) or (str(int(default) + 1) if is_number else "something")


def as_given(value):
    """A field's value as the environment spells it."""
    if hasattr(value, "get_secret_value"):
        return value.get_secret_value()
    if isinstance(value, dict | bool):
        return json.dumps(value)
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).removesuffix(".0")


@pytest.mark.parametrize(
    ("variable", "spelling"), [(each, name) for each in VARIABLES for name in sorted(spellings(each))]
)
def test_each_variable_of_the_readme_sets_its_field_and_no_other(monkeypatch, variable, spelling):
    before, companions = Settings(), COMPANIONS.get(variable, {})
    given = {spelling: value_for(variable)} | companions
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    after = Settings()
    changed = {name for name in Settings.model_fields if getattr(after, name) != getattr(before, name)}
    assert changed == {FIELDS[each] for each in (variable, *companions)}
    assert as_given(getattr(after, FIELDS[variable])) == given[spelling]


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"AB_TEST_CONFIDENCE_LEVEL": "0.99"}, "AB_TEST_SIGNIFICANCE_THRESHOLD"),
        ({"AB_TEST_SIGNIFICANCE_THRESHOLD": "0.01"}, "AB_TEST_CONFIDENCE_LEVEL"),
        ({"SWITCHYARD_OIDC_ISSUER": "https://id.example"}, "SWITCHYARD_OIDC_JWKS"),
        ({"ML_DATABASE_URL": "mysql://db/x"}, "ML_DATABASE_URL"),
        ({"MODEL_STORAGE_BUCKET": "models"}, "s3://models"),
        ({"SWITCHYARD_PORT": "http"}, "SWITCHYARD_PORT"),
        ({"SWITCHYARD_WORKERS": "0"}, "SWITCHYARD_WORKERS"),
        ({"DRIFT_THRESHOLD": "NaN"}, "DRIFT_THRESHOLD"),
        ({"TRAINING_JOB_TIMEOUT_HOURS": "-1"}, "TRAINING_JOB_TIMEOUT_HOURS"),
        ({"SWITCHYARD_DRAIN_SECONDS": "inf"}, "SWITCHYARD_DRAIN_SECONDS"),
        ({"PROMETHEUS_URL": "prometheus"}, "PROMETHEUS_URL"),
    ],
    ids=str,
)
def test_what_can_not_be_meant_is_refused_by_the_name_that_the_operator_knows(monkeypatch, variables, named):
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    [fault] = faults_of(refused.value)
    assert named in fault
    assert "Value error" not in fault
