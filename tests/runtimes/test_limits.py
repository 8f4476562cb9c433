"""The limits of a probe's child: time, memory and files, whatever a model file does (R12)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import joblib
import pytest

from app.core.errors import Refusal
from app.runtimes.errors import BrokenArtifact, ProbeOutOfMemory, ProbeTimedOut
from app.runtimes.probe import Prober
from tests.runtimes.refusals import refused

MEMORY_BYTES = 512 * 1024**2
SECONDS = 2.0


@pytest.fixture(scope="module")
async def strict() -> AsyncIterator[Prober]:
    async with Prober(seconds=SECONDS, memory_bytes=MEMORY_BYTES, allowed_unsafe=("joblib",)) as prober:
        yield prober


class Sleeper:
    def __reduce__(self) -> Any:
        return eval, ("[None for _ in iter(int, 1)]",)


class Hog:
    def __reduce__(self) -> Any:
        return bytearray, (100 * 1024**3,)


class Crasher:
    def __reduce__(self) -> Any:
        return eval, ("__import__('os').abort()",)


class Writer:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return eval, (f"open({str(self.path)!r}, 'w').write('x' * 10_000)",)


@pytest.mark.parametrize(
    ("hostile", "kind"),
    [
        (Sleeper(), (ProbeTimedOut, ProbeOutOfMemory)),
        (Hog(), ProbeOutOfMemory),
        (Crasher(), BrokenArtifact),
    ],
)
async def test_the_limits_hold_even_for_a_pickle_that_was_allowed(
    hostile: Any, kind: type[Refusal], tmp_path: Path, strict: Prober
) -> None:
    joblib.dump(hostile, tmp_path / "model.pkl")
    await refused(strict, tmp_path, kind)


async def test_a_probe_can_write_no_file(tmp_path: Path, strict: Prober) -> None:
    written = tmp_path.with_suffix(".written")
    joblib.dump(Writer(written), tmp_path / "model.pkl")
    await refused(strict, tmp_path, BrokenArtifact)
    assert written.stat().st_size == 0


async def test_an_endless_onnx_graph_is_stopped(tmp_path: Path, strict: Prober) -> None:
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "on")]
    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])], "body", [count, ends[0]], [ends[1]]
    )
    table = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in ("x", "y")]
    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    nodes = [
        helper.make_node("Loop", ["", "true"], [], body=body),
        helper.make_node("Identity", ["x"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", table[:1], table[1:], [true])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    await refused(strict, tmp_path, (ProbeTimedOut, BrokenArtifact))
