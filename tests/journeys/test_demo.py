"""What a newcomer sees (`make demo`): the whole loop, then a service that stays up, and nothing left when it is stopped."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.faults.harness import ROOT, eventually

STEPS = ["register", "validate", "promote", "predict", "label", "compare", "roll back", "audit"]


@pytest.fixture
def demo():
    """The demo in a process of its own, on a base path of its own."""
    base_path = Path(tempfile.mkdtemp(prefix="switchyard-"))
    environment = os.environ | {
        "MLOPS_BASE_PATH": str(base_path),
        "ML_DATABASE_URL": "",
        "SWITCHYARD_PORT": "0",
    }
    command = [sys.executable, "-u", "-m", "app.cli", "demo"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()
    shutil.rmtree(base_path)


async def test_the_demo_tells_the_whole_loop_and_takes_its_service_with_it(demo):
    told = []
    for line in demo.stdout:
        told.append(line)
        if "Running until Ctrl+C" in line:
            break
    story = "".join(told)
    assert [step for step in STEPS if f"\n  {step} " not in story] == []
    assert "roll back   breast-cancer:1 is live, route revision 3" in story
    assert "hash chain intact" in story
    family = psutil.Process(demo.pid).children(recursive=True)
    assert len(family) > 3
    demo.terminate()
    await eventually(lambda: not any(member.is_running() for member in family), within=20)
