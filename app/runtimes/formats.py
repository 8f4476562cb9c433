"""Which model format a file is, by its content: names prove nothing.

Only formats that hold data and no code are known; whatever can run code when it is loaded is refused, and nothing
here loads anything.
"""

import io
import pickletools
import re
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from app.runtimes.archives import entries_of, open_archive
from app.runtimes.errors import CONVERT_TO_SKOPS, BrokenArtifact, UnknownFormat, UnsafeArtifact
from app.runtimes.onnx_file import NotOnnxError, read_onnx

MAX_FILES = 1000  # a model directory holds a model and some notes; MLflow's largest flavours stay below 100
HEAD_BYTES = 4096
_LARGEST_OLD_PICKLE = 1024**2  # how much of a file is read to see whether it is a pickle of protocol 0 or 1


class Format(StrEnum):
    """The formats that can be served; JOBLIB stands for every pickle and needs the operator's leave."""

    SKOPS = "skops"
    ONNX = "onnx"
    XGBOOST = "xgboost"
    LIGHTGBM = "lightgbm"
    JOBLIB = "joblib"


PICKLE_NAMES = frozenset({"joblib", "pickle", "cloudpickle"})


@dataclass(frozen=True)
class ModelFile:
    """The one file of a directory that is the model."""

    format: Format
    path: Path


_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x5d\0\0": "lzma",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"\x78\x01": "zlib",
    b"\x78\x5e": "zlib",
    b"\x78\x9c": "zlib",
    b"\x78\xda": "zlib",
}


def detect_format(directory: Path, *, allowed_unsafe: tuple[str, ...] = ()) -> ModelFile:
    """The model file among the files of a directory.

    Raises:
        UnsafeArtifact: a file could run code when loaded, or reaches outside itself.
        BrokenArtifact: a file is empty or damaged.
        UnknownFormat: there is no model file, or more than one.
    """
    may_pickle = not PICKLE_NAMES.isdisjoint(allowed_unsafe)
    files = _regular_files(directory)
    found = [ModelFile(kind, path) for path in files if (kind := _format_of(path, may_pickle=may_pickle))]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.path.name for file in found[:5])
        raise UnknownFormat(f"{len(found)} model files where one is wanted: {names}")
    if files and not any(path.stat().st_size for path in files):
        raise BrokenArtifact(f"{files[0].name} is empty")
    raise UnknownFormat(f"none of {len(files)} files is a model")


def _regular_files(directory: Path) -> list[Path]:
    files = []
    for path in sorted(directory.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            files.append(path)
        elif not stat.S_ISDIR(mode):
            raise UnsafeArtifact(f"{path.name} is a link or a device")
        if len(files) > MAX_FILES:
            raise UnsafeArtifact(f"there are more than {MAX_FILES} files")
    return files


def _format_of(path: Path, *, may_pickle: bool) -> Format | None:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if disguise := _code_in(head, path):
        if may_pickle:
            return Format.JOBLIB
        raise _refusal(path, disguise)
    if head.startswith(b"PK"):
        return _zip_format(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        raise UnsafeArtifact(
            f"{path.name} is an HDF5 file; Keras models can hold code", "Export the model to ONNX."
        )
    if head.lstrip().startswith(b"{") and b"learner" in head[:64]:
        return Format.XGBOOST
    if head.startswith((b"tree\n", b"tree\r\n")):
        return Format.LIGHTGBM
    return _onnx_format(path)


def _refusal(path: Path, disguise: str) -> UnsafeArtifact:
    return UnsafeArtifact(
        f"{path.name} is {disguise}, which can run any code when it is loaded",
        f"Convert it where you trained it:\n{CONVERT_TO_SKOPS}",
    )


def _code_in(head: bytes, path: Path) -> str:
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return "a pickle"
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            return f"a {name} file, as joblib writes pickles"
    return "a pickle" if head[:1] in _OLD_PICKLE_STARTS and _is_old_pickle(path) else ""


def _is_old_pickle(path: Path) -> bool:
    """Pickles of protocol 0 and 1 have no mark at their beginning; one that can do harm calls something."""
    with path.open("rb") as file:
        start = file.read(_LARGEST_OLD_PICKLE)
    try:
        pickletools.dis(start, io.StringIO())  # checks the stack too, which text that spells opcodes fails
        return any(opcode.name in _CALLS for opcode, _, _ in pickletools.genops(start))
    except Exception:  # noqa: BLE001 - pickletools raises whatever the malformed bytes lead to
        return False


_CALLS = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "REDUCE", "OBJ", "NEWOBJ", "BUILD"})
_OLD_PICKLE_STARTS = {opcode.code.encode("latin-1") for opcode in pickletools.opcodes}


def _zip_format(path: Path) -> Format:
    names = {entry.filename for entry in entries_of(path)}
    if any(name.endswith((".pkl", ".pickle")) for name in names):
        raise UnsafeArtifact(
            f"{path.name} holds a pickle, as PyTorch writes them", "Export the model to ONNX."
        )
    if "model.weights.h5" in names:
        raise UnsafeArtifact(
            f"{path.name} is a Keras archive, which can hold code", "Export the model to ONNX."
        )
    if "schema.json" not in names:
        raise UnknownFormat(f"{path.name} is a zip archive, but not one that skops wrote")
    with open_archive(path) as archive:
        for name in names - {"schema.json"}:
            _check_array(name, archive.open(name).read(6))
    return Format.SKOPS


def _check_array(name: str, magic: bytes) -> None:
    if magic != b"\x93NUMPY" and not name.endswith(".bin"):
        raise UnsafeArtifact(f"the entry {name[:80]!r} is no array; skops stores nothing else")


def _onnx_format(path: Path) -> Format | None:
    try:
        content = read_onnx(path)
    except NotOnnxError:
        return None
    if content.has_external_data:
        raise UnsafeArtifact(
            f"{path.name} keeps its weights in other files (external data)",
            "Save it with onnx.save(model, path, save_as_external_data=False).",
        )
    return Format.ONNX


def versions_in(file: ModelFile) -> dict[str, str]:
    """The libraries that a file says it was made with."""
    if file.format != Format.SKOPS:
        return {}
    with open_archive(file.path) as archive:
        schema = archive.read("schema.json")
    pattern = rb'"_(sklearn|skops)_version":\s*(?:"([^"]{1,40})"|\{[^{}]*"content":\s*"\\"([^"\\]{1,40})\\"")'
    return {
        _PACKAGES[name]: (plain or nested).decode() for name, plain, nested in re.findall(pattern, schema)
    }


_PACKAGES = {b"sklearn": "scikit-learn", b"skops": "skops"}
