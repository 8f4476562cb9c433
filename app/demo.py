"""The whole loop on real data, over the public API, told as it happens.

Two models for the Wisconsin breast cancer data (569 tumours, 30 measurements each; shipped with scikit-learn)
are registered, signed, promoted, asked for predictions, given the true labels, watched, replaced and rolled back.
"""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

import httpx
import typer

from app.core.config import Settings
from app.core.processes import leash

MODEL = "breast-cancer"
READY_SECONDS = 90.0
ARRIVAL_SECONDS = 30.0


def run_demo(*, stay: bool) -> None:
    """Start the service, run the loop, and leave the service running until Ctrl+C.

    Raises:
        RuntimeError: the service did not start, or refused a step.
    """
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # ends like Ctrl+C, and takes the service with it
    with _service() as base, httpx.Client(base_url=base, timeout=60) as client:
        _tell_the_story(client)
        _say_where(base)
        if stay:
            typer.echo("\nRunning until Ctrl+C.")
            with suppress(KeyboardInterrupt):
                signal.pause()


@contextmanager
def _service() -> Iterator[str]:
    """The service as `switchyard serve` starts it, stopped at the end."""
    settings = Settings()
    port = settings.port if _is_free(settings.port) else 0
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    environment = os.environ | {"SWITCHYARD_LOG_LEVEL": os.environ.get("SWITCHYARD_LOG_LEVEL", "warning")}
    began = time.monotonic()
    process = subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, text=True, env=environment,
        preexec_fn=leash(signal.SIGTERM),  # noqa: PLW1509 - there are no threads yet
    )  # fmt: skip
    try:
        base = _read_address(process)
        _wait_until_ready(base, process)
        typer.echo(f"Started on a Postgres of its own in {time.monotonic() - began:.1f} s: {base}\n")
        yield base
    finally:
        process.terminate()
        process.wait(timeout=60)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _read_address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if "http://" in line:
            return line[line.index("http://") :].strip()
    raise RuntimeError("the service did not start; its log is above")


def _wait_until_ready(base: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError("the service ended while starting; its log is above")
        with suppress(httpx.TransportError):
            if httpx.get(f"{base}/readyz", timeout=5).is_success:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the service was not ready within {READY_SECONDS:.0f} s")


def _tell_the_story(client: httpx.Client) -> None:
    typer.echo("Training two models on the breast cancer data …")
    data = _Data()
    first = _register(client, data, data.boosted_trees(), "gradient boosting")
    _promote(client, first)
    answers = _predict(client, data)
    _label(client, data, answers)
    second = _register(client, data, data.logistic_regression(), "logistic regression")
    _promote(client, second)
    _label(client, data, _predict(client, data))
    _watch(client, data)
    _compare(client, first, second)
    _step(
        "roll back", _call(client, "POST", f"/models/{MODEL}/rollback", json={"reason": "demo: the way back"})
    )
    _predict(client, data)
    verdict = _call(client, "GET", "/system/audit/verify")
    typer.echo(
        f"  audit       {verdict['facts']} facts, hash chain {'intact' if verdict['intact'] else 'BROKEN'}"
    )


class _Data:
    """The data, split once, and models trained on it."""

    def __init__(self) -> None:
        from sklearn.datasets import load_breast_cancer  # noqa: PLC0415 - heavy, and only the demo trains
        from sklearn.model_selection import train_test_split  # noqa: PLC0415

        frame = load_breast_cancer(as_frame=True)
        split = train_test_split(
            frame.data, frame.target, test_size=0.35, random_state=7, stratify=frame.target
        )
        self.train, self.test, self.train_truth, self.test_truth = split

    def logistic_regression(self) -> Any:
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

        return make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(self.train, self.train_truth)

    def boosted_trees(self) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415

        return HistGradientBoostingClassifier(max_iter=150, random_state=7).fit(self.train, self.train_truth)

    def held_out_csv(self) -> bytes:
        table = self.test.assign(benign=self.test_truth)
        return bytes(table.to_csv(index=False), "utf-8")


def _register(client: httpx.Client, data: _Data, model: Any, description: str) -> str:
    from skops.io import dump  # noqa: PLC0415

    file = io.BytesIO()
    dump(model, file)
    accuracy = float(model.score(data.test, data.test_truth))
    details = {
        "name": MODEL,
        "description": description,
        "metrics": {"accuracy": accuracy},
        "target": "benign",
    }
    parts = {
        "artifact": ("model.skops", file.getvalue()),
        "reference": ("reference.csv", bytes(data.train.to_csv(index=False), "utf-8")),
        "evaluation": ("evaluation.csv", data.held_out_csv()),
    }
    version = _call(client, "POST", "/models", data={"metadata": json.dumps(details)}, files=parts)
    typer.echo(
        f"  register    {version['model_id']} ({version['semantic_version']}): {description}, {version['size_bytes']:,} bytes, "
        f"signed, {version['latency_ms']:.2f} ms a row, held-out accuracy {accuracy:.3f}"
    )
    return str(version["model_id"])


def _promote(client: httpx.Client, reference: str) -> None:
    checked = _call(client, "POST", f"/models/{reference}/validate", json={"reason": "demo"})
    checks = checked["gate_reports"][0]["checks"]
    typer.echo(
        f"  validate    {reference}: {sum(c['passed'] is True for c in checks)} checks passed, now in {checked['stage']}"
    )
    _step("promote", _deploy(client, f"/models/{reference}/promote", "demo"))


def _deploy(client: httpx.Client, path: str, reason: str) -> dict[str, Any]:
    """Change who answers; on a slow machine loading a model for the first time outlasts the call, so look again."""
    deployment = _call(client, "POST", path, json={"reason": reason})
    deadline = time.monotonic() + READY_SECONDS
    while deployment["phase"] == "preparing" and time.monotonic() < deadline:
        time.sleep(0.5)
        deployment = _call(client, "GET", f"/deployments/{deployment['id']}")
    return dict(deployment)


def _step(verb: str, deployment: dict[str, Any]) -> None:
    typer.echo(
        f"  {verb:11} {deployment['model_id']} is {deployment['phase']}, route revision {deployment['revision']}"
    )


def _predict(client: httpx.Client, data: _Data) -> dict[str, Any]:
    instances = json.loads(data.test.to_json(orient="records"))
    began = time.perf_counter()
    answer = _call(client, "POST", f"/models/{MODEL}/predict", json={"instances": instances})
    spent_ms = (time.perf_counter() - began) * 1000
    right = sum(
        int(p["prediction"]) == t for p, t in zip(answer["predictions"], data.test_truth, strict=True)
    )
    typer.echo(
        f"  predict     {len(instances)} rows by {answer['model_id']} in {spent_ms:.0f} ms, {right / len(instances):.3f} right"
    )
    return dict(answer)


def _label(client: httpx.Client, data: _Data, answer: dict[str, Any]) -> None:
    pairs = zip(answer["predictions"], data.test_truth, strict=True)
    items = [{"prediction_id": p["prediction_id"], "actual": int(truth)} for p, truth in pairs]
    counts = _call(client, "POST", f"/models/{MODEL}/feedback", json={"items": items})
    arrived = _wait_for_log(client, items[-1]["prediction_id"])
    early = f", {counts['pending']} of them before their prediction was shipped" if counts["pending"] else ""
    labels = counts["accepted"] + counts["pending"]
    typer.echo(
        f"  label       {labels} true labels{early}; the log has answer and label after {arrived:.1f} s"
    )


def _wait_for_log(client: httpx.Client, prediction_id: str) -> float:
    began = time.monotonic()
    while time.monotonic() - began < ARRIVAL_SECONDS:
        answer = client.get(f"/api/models/{MODEL}/predictions/{prediction_id}")
        if answer.is_success and answer.json()["outcome"] is not None:
            return time.monotonic() - began
        time.sleep(0.1)
    raise RuntimeError(f"prediction {prediction_id} did not reach the log within {ARRIVAL_SECONDS:.0f} s")


def _watch(client: httpx.Client, data: _Data) -> None:
    seen = _call(client, "POST", f"/models/{MODEL}/performance-check", json={"maturity_hours": 0})
    typer.echo(f"  watch       {seen['window']['labelled']} labels: {' '.join(seen['recommendations'])}")
    swollen = data.test.assign(**{"mean radius": data.test["mean radius"] * 1.3})
    for what, order in (
        ("what was logged", {}),
        ("the radii 30 % larger", {"instances": json.loads(swollen.to_json(orient="records"))}),
    ):
        found = _check_drift(client, order)
        finding = found["finding"].replace("_", " ")
        typer.echo(f"  drift       {what}: {finding}. {' '.join(found['recommendations'])}")


def _check_drift(client: httpx.Client, order: dict[str, Any]) -> dict[str, Any]:
    """A check; what a new version is held against is made in the background, moments after its registration."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        answer = client.post(f"/api/models/{MODEL}/drift-check", json=order)
        if answer.status_code != HTTPStatus.CONFLICT:
            break
        time.sleep(0.1)
    return dict(_answer_of(answer))


def _compare(client: httpx.Client, first: str, second: str) -> None:
    compared = _call(client, "GET", "/models/compare", params={"model_a": first, "model_b": second})
    metric = next(each for each in compared["metrics"] if each["metric"] == "accuracy")
    typer.echo(f"  compare     accuracy {metric['a']:.3f} ({first}) and {metric['b']:.3f} ({second})")


def _call(client: httpx.Client, method: str, path: str, **options: Any) -> Any:
    return _answer_of(client.request(method, f"/api{path}", **options))


def _answer_of(response: httpx.Response) -> Any:
    if response.is_error:
        asked = response.request
        raise RuntimeError(f"{asked.method} {asked.url.path} was refused: {response.text}")
    return response.json()


def _say_where(base: str) -> None:
    typer.echo(
        f"\n  API pages   {base}/docs\n  health      {base}/health\n  metrics     {base}/metrics\n"
        f"  the model   {base}/api/models/{MODEL}\n  its card    {base}/api/models/{MODEL}/card?format=html\n"
        f"  the log     {base}/api/models/{MODEL}/predictions\n  the audit   {base}/api/system/audit"
    )
