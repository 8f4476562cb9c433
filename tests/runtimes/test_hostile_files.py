"""Files made to do harm: each costs a refusal, and the next model is probed as if nothing had happened (R12, R13)."""

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from app.core.errors import Invalid, Refusal
from app.runtimes.errors import BrokenArtifact, ProbeOutOfMemory, UnsafeArtifact
from app.runtimes.probe import Prober
from tests.runtimes.fitted import fitted
from tests.runtimes.refusals import refused


def rewrite(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Change entries of a skops file."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, change(name, content))


def npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def load_npy(content: bytes) -> np.ndarray[Any, Any]:
    return np.load(io.BytesIO(content), allow_pickle=False)


def crafted_nodes(field: str, value: Any) -> Callable[[str, bytes], bytes]:
    """Put a value into the first inner node of each tree of a skops file."""

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith(".npy"):
            return content
        array = load_npy(content)
        if array.dtype.names is None or field not in array.dtype.names:
            return content
        array[field].flat[0] = value
        return npy(array)

    return change


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("left_child", 10_000_000),
        ("right_child", -5),
        ("left_child", 0),
        ("feature", 10_000),
        ("feature", -1),
    ],
)
@pytest.mark.parametrize("name", ["random forest", "gradient boosting", "bagged subsets", "isolation forest"])
async def test_a_crafted_tree_is_refused(
    field: str, value: int, name: str, tmp_path: Path, prober: Prober
) -> None:
    rewrite(fitted(name).write(tmp_path), crafted_nodes(field, value))
    await refused(prober, tmp_path, UnsafeArtifact)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("left", 10_000_000),
        ("right", 0),
        ("feature_idx", 10_000),
        ("feature_idx", -1),
        ("bitset_idx", 10_000_000),
    ],
)
async def test_a_crafted_histogram_tree_is_refused(
    field: str, value: int, tmp_path: Path, prober: Prober
) -> None:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith(".npy"):
            return content
        array = load_npy(content)
        if array.dtype.names is None or field not in array.dtype.names:
            return content
        array[field].flat[0] = value
        array["is_categorical"].flat[0] = field == "bitset_idx" or array["is_categorical"].flat[0]
        return npy(array)

    rewrite(fitted("native categories").write(tmp_path), change)
    await refused(prober, tmp_path, UnsafeArtifact)


async def test_a_tree_that_is_wider_than_its_forest_is_refused(tmp_path: Path, prober: Prober) -> None:
    path = fitted("random forest").write(tmp_path)

    def change(name: str, content: bytes) -> bytes:
        if name != "schema.json":
            return content
        text = content.decode()
        return text.replace('"content": "13"', '"content": "9000"', 1).encode()

    rewrite(path, change)
    await refused(prober, tmp_path, (UnsafeArtifact, BrokenArtifact))


async def test_crafted_support_vectors_are_refused(tmp_path: Path, prober: Prober) -> None:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith(".npy"):
            return content
        array = load_npy(content)
        return npy(array * 1000) if array.dtype == np.int32 and array.shape == (3,) else content

    rewrite(fitted("support vectors").write(tmp_path), change)
    await refused(prober, tmp_path, UnsafeArtifact)


async def test_a_vectorizer_that_opens_files_named_by_its_input_is_refused(
    tmp_path: Path, prober: Prober
) -> None:
    def change(name: str, content: bytes) -> bytes:
        return content.replace(b'"\\"content\\""', b'"\\"filename\\""') if name == "schema.json" else content

    rewrite(fitted("text pipeline").write(tmp_path), change)
    refusal = await refused(prober, tmp_path, UnsafeArtifact)
    assert "open files" in str(refusal)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("split_feature=", "split_feature=9000 "),
        ("left_child=", "left_child=9000 "),
        ("right_child=", "right_child=-9000 "),
        ("num_leaves=", "num_leaves=9"),
        ("leaf_value=", "leaf_value=1 2 3 4 "),
    ],
)
async def test_a_crafted_lightgbm_tree_is_refused(old: str, new: str, tmp_path: Path, prober: Prober) -> None:
    path = fitted("lightgbm").write(tmp_path)
    head, _, trees = path.read_text().partition("\nTree=")
    before, _, after = trees.partition(old)
    kept = after.split("\n")[0].split(" ")[1:]
    rest = after[after.index("\n") :]
    path.write_text(f"{head}\nTree={before}{new}{' '.join(kept)}{rest}")
    await refused(prober, tmp_path, (UnsafeArtifact, BrokenArtifact))


@pytest.mark.parametrize("array", ["split_indices", "left_children", "right_children"])
async def test_a_crafted_xgboost_tree_is_refused(array: str, tmp_path: Path, prober: Prober) -> None:
    path = tmp_path / "model.json"
    fitted("xgboost").model.save_model(path)
    body = json.loads(path.read_text())
    body["learner"]["gradient_booster"]["model"]["trees"][0][array][0] = 10_000_000
    path.write_text(json.dumps(body))
    await refused(prober, tmp_path, (UnsafeArtifact, BrokenArtifact))


def run_system() -> None:
    os.system("true")


@pytest.mark.parametrize("function", [os.system, run_system, eval])
async def test_a_function_inside_a_pipeline_is_refused(
    function: Callable[..., Any], tmp_path: Path, prober: Prober
) -> None:
    skops.io.dump(make_pipeline(FunctionTransformer(function), LinearRegression()), tmp_path / "model.skops")
    refusal = await refused(prober, tmp_path, UnsafeArtifact)
    assert "not allowed" in str(refusal)


@pytest.mark.parametrize("name", ["ridge", "xgboost", "lightgbm", "onnx"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
async def test_a_truncated_file_is_refused(name: str, share: float, tmp_path: Path, prober: Prober) -> None:
    path = fitted(name).write(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    await refused(prober, tmp_path, Refusal)


@pytest.mark.parametrize("name", ["ridge", "random forest", "xgboost", "lightgbm", "onnx"])
async def test_a_file_with_flipped_bytes_is_refused_or_harmless(
    name: str, tmp_path: Path, prober: Prober
) -> None:
    content = fitted(name).write(tmp_path).read_bytes()
    noise = np.random.default_rng(0)
    for attempt in range(6):
        broken = np.frombuffer(content, dtype=np.uint8).copy()
        broken[noise.integers(0, len(broken), 20)] ^= noise.integers(1, 255, 20, dtype=np.uint8)
        directory = tmp_path / str(attempt)
        directory.mkdir()
        (directory / "model").write_bytes(broken.tobytes())
        with suppress(Invalid):
            await prober.probe(directory)


@pytest.mark.parametrize(
    "content", [b"", os.urandom(100_000), b'{"learner": {}}', b"tree\nversion=v4\n", b"\x08\x07:\0"]
)
async def test_what_only_looks_like_a_model_is_refused(
    content: bytes, tmp_path: Path, prober: Prober
) -> None:
    (tmp_path / "model").write_bytes(content)
    await refused(prober, tmp_path, Refusal)


async def test_an_array_of_100_gigabytes_is_refused(tmp_path: Path, prober: Prober) -> None:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith(".npy"):
            return content
        header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (13421772800,), }"
        header = header.ljust(118) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header

    rewrite(fitted("ridge").write(tmp_path), change)
    await refused(prober, tmp_path, (ProbeOutOfMemory, BrokenArtifact))


@pytest.mark.parametrize("depth", [100_000])
async def test_a_schema_nested_without_end_is_refused(depth: int, tmp_path: Path, prober: Prober) -> None:
    def change(name: str, content: bytes) -> bytes:
        return b"[" * depth + b"]" * depth if name == "schema.json" else content

    rewrite(fitted("ridge").write(tmp_path), change)
    await refused(prober, tmp_path, BrokenArtifact)
