"""Drift checks of 100,000 rows x 50 columns, side by side with others: processor time in one run, and how many times ours.

python -m tests.bench.peers

alibi-detect and evidently want other versions of numpy and pandas than this project: they are installed, once, into an
environment of their own under `var/peers`, for which a package index must be reachable.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from app.runtimes.profiles import Answered, make_plan
from app.runtimes.schema import Signature, Task, tensor_columns
from app.stats import drift, effects
from app.stats.profile import Profile, merge
from app.stats.reference import Reference

ROWS, COLUMNS, BATCH = 100_000, 50, 4096
HERE = Path(__file__).parent
HOME = HERE.parents[1] / "var" / "peers"
PEERS = ("alibi-detect==0.13.0", "evidently==0.7.23")
TIMES = 3
Work = Callable[[], object]


def main() -> None:
    """Install what is missing, measure, print."""
    python = prepared()
    generator = np.random.default_rng(1)
    reference, window = (generator.normal(size=(COLUMNS, ROWS)) for _ in range(2))
    window[:5] += 0.3
    seconds = ours(reference, window) | plain(reference, window) | others(python, reference, window)
    check, whole = seconds["ours: check of a stored profile"], seconds["ours: profile and check"]
    print(
        f"{ROWS:,} rows x {COLUMNS} columns, seconds of processor time, the least of {TIMES} runs, or of one that takes long"
    )
    print(f"{'':46}{'seconds':>10}{'x profile + check':>20}{'x check':>12}")
    for name, each in seconds.items():
        print(f"{name:46}{each:10.4f}{each / whole:20,.1f}{each / check:12,.0f}")


def prepared() -> Path:
    """The Python of the peers' environment, installed if need be."""
    python, ready = HOME / "bin" / "python", HOME / "ready"
    if ready.exists() and ready.read_text() == " ".join(PEERS):
        return python
    print(f"installing {' and '.join(PEERS)} into {HOME}: some minutes, once …", flush=True)
    venv.create(HOME, with_pip=True, clear=True)
    made = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        sys.exit(
            f"The peers can't be installed; a package index must be reachable. pip says:\n{made.stderr[-2000:]}"
        )
    ready.write_text(" ".join(PEERS))
    return python


def least(work: Work) -> float:
    """Of several runs; the first, in which caches are cold, is one of them."""
    times = []
    for _ in range(TIMES):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def ours(reference: np.ndarray, window: np.ndarray) -> dict[str, float]:
    """The window counted in the shipper's batches, as it comes, and then held against the reference whenever somebody asks."""
    signature = Signature(tensor_columns(COLUMNS), Task.REGRESSION)
    answered = Answered(list(reference), reference[0].tolist())
    plan = make_plan(signature, answered)
    was = Reference(plan.profile(answered))
    batches = [Answered(list(window[:, at : at + BATCH])) for at in range(0, ROWS, BATCH)]

    def count() -> Profile:
        return merge([plan.profile(batch) for batch in batches])

    stored = count().to_bytes()

    def check() -> None:
        profile = Profile.from_bytes(plan.layout, *stored)
        compared = drift.compare(was, profile)
        effects.measure(was, profile)
        inputs = compared.p[:COLUMNS] < 0.05 / COLUMNS
        assert inputs[:5].all()
        assert not inputs[5:].any()

    counting, checking = least(count), least(check)
    return {
        "ours: the reference's axes and profile, once": least(
            lambda: make_plan(signature, answered).profile(answered)
        ),
        "ours: profile, as the rows are logged": counting,
        "ours: check of a stored profile": checking,
        "ours: profile and check": counting + checking,
    }


def plain(reference: np.ndarray, window: np.ndarray) -> dict[str, float]:
    """What one writes by hand with numpy and SciPy."""
    from scipy import stats

    def sorted_ks_and_psi() -> None:
        for was, now in zip(np.sort(reference), np.sort(window), strict=True):
            values = np.concatenate([was, now])
            shares = [np.searchsorted(each, values, side="right") / ROWS for each in (was, now)]
            assert 0 <= np.abs(shares[0] - shares[1]).max() <= 1
            edges = np.quantile(was, np.arange(0.1, 1, 0.1))
            p, q = (np.bincount(np.searchsorted(edges, each), minlength=10) / ROWS for each in (was, now))
            assert ((p - q) * np.log(p / q)).sum() >= 0

    def ks_2samp() -> None:
        for was, now in zip(reference, window, strict=True):
            stats.ks_2samp(was, now, method="asymp")

    return {"numpy: sorted KS and PSI": least(sorted_ks_and_psi), "scipy: ks_2samp": least(ks_2samp)}


def others(python: Path, reference: np.ndarray, window: np.ndarray) -> dict[str, float]:
    """What the peers take, each in their own environment."""
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "data.npz"
        np.savez(data, reference=reference.T, window=window.T)
        command = [python, "-W", "ignore", HERE / "peers_apart.py", data, str(TIMES)]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=dict(os.environ))
    times: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return times


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
