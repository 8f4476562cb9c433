"""The command `switchyard` (P11): the main loop from a terminal, and reasons in one line instead of tracebacks."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import cli
from tests.faults.harness import ROOT, WHOLE, service
from tests.real_models import csv_of, data, skops_bytes

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def running(postgres_url, template):
    """A whole service with an embedded Postgres, in which these tests use names of their own."""
    base_path = Path(tempfile.mkdtemp(prefix="switchyard-"))
    with service(base_path, command=WHOLE, database=None) as running:
        yield running
    shutil.rmtree(base_path)


@pytest.fixture
def switchyard(running):
    return lambda *words: call(f"http://127.0.0.1:{running.port}", *words)


def call(url, *words):
    return CliRunner().invoke(cli, words, env={"SWITCHYARD_URL": url})


@pytest.fixture
def files(tmp_path):
    model, sample = tmp_path / "model.skops", tmp_path / "sample.csv"
    model.write_bytes(skops_bytes())
    sample.write_bytes(csv_of(data()[0]))
    return [str(model), "--reference", str(sample)]


def test_the_main_loop_from_a_terminal(switchyard, files):
    registered = switchyard("models", "register", "loop", *files, "--metadata", '{"serve_as": "native"}')
    assert json.loads(registered.output)["model_id"] == "loop:1"
    for verb in ("validate", "promote"):
        assert switchyard("models", verb, "loop:1", "--reason", "first").exit_code == 0
    assert "loop  loop:1 in production" in switchyard("models", "list", "--search", "loop").output
    assert json.loads(switchyard("models", "show", "loop").output)["production"] == {"production": "loop:1"}
    back = switchyard("models", "rollback", "loop")
    assert (back.exit_code, back.stdout) == (1, "")
    assert "no earlier production version" in back.stderr


@pytest.mark.parametrize(
    "reference", ["../system/keys", "..", "loop?x=1", "loop#x", "a/b", "loop%2f", "%2e%2e"]
)
def test_a_reference_is_a_name_and_never_a_way_to_another_address(switchyard, reference):
    shown = switchyard("models", "show", reference)
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert shown.stderr.count("\n") == 1


@pytest.mark.parametrize("metadata", ["{", "[]", "3", '"text"', "NaN"])
def test_metadata_that_is_no_object_is_refused_before_anything_is_sent(files, metadata):
    answer = call(NOWHERE, "models", "register", "m", *files, "--metadata", metadata)
    assert answer.exit_code == 2
    assert "--metadata" in answer.output
    assert isinstance(answer.exception, SystemExit)


@pytest.mark.parametrize("url", [NOWHERE, "localhost:8000", "http://[", "ftp://localhost"])
def test_a_service_that_is_not_there_is_said_to_be_so(url):
    answer = call(url, "models", "list")
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert f"no service at {url}" in answer.stderr
    assert "switchyard serve" in answer.stderr


def test_keys_are_made_listed_and_revoked_in_the_database_of_a_running_service(running):
    def keys(*words):
        base_path = str(running.output.parent)
        return CliRunner().invoke(cli, ["keys", *words], env={"MLOPS_BASE_PATH": base_path})

    assert keys("create", "ci", "--role", "viewer", "--days", "1").output.startswith("sy_")
    [line] = keys("list").output.splitlines()
    assert line.split()[1:] == ["viewer", "ci", "*"]
    assert keys("revoke", line.split()[0]).exit_code == 0
    assert keys("list").output == ""
    assert keys("create", "x", "--role", "king").exit_code == 2
    assert "passed already" in keys("create", "x", "--days", "-1").output


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"SWITCHYARD_HOST": "0.0.0.0"}, "SWITCHYARD_BOOTSTRAP_KEY_FILE"),
        ({"SWITCHYARD_PORT": "http"}, "SWITCHYARD_PORT: "),
        ({"AB_TEST_CONFIDENCE_LEVEL": "0.9"}, "contradicts AB_TEST_SIGNIFICANCE_THRESHOLD=0.05"),
        ({"ML_DATABASE_URL": "postgresql://me:hunter2@127.0.0.1:1/x"}, "127.0.0.1:1/x (ML_DATABASE_URL)"),
    ],
    ids=["nobody's", "no port", "contradiction", "no database"],
)
def test_a_service_that_can_not_start_says_why_without_a_traceback(
    tmp_path, database_url, monkeypatch, variables, reason
):
    variables = {
        "ML_DATABASE_URL": database_url,
        "MLOPS_BASE_PATH": str(tmp_path),
        "SWITCHYARD_PORT": "0",
    } | variables
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "app.cli", "serve"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode in {1, 2}
    assert reason in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "hunter2" not in ended.stderr


def test_every_command_teaches(switchyard):
    listed = switchyard("--help").output
    for command in ("serve", "migrate", "demo", "version", "keys", "models"):
        assert f"\n  {command}" in listed
        assert switchyard(command, "--help").exit_code == 0
    assert "prepare" not in listed
    assert "switchyard models promote churn:1" in switchyard("models", "--help").output
