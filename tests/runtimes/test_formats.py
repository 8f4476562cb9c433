"""Which files are models, by content: pickles in any disguise, bombs and links are refused (R12, R13)."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runtimes import archives
from app.runtimes.errors import BrokenArtifact, UnknownFormat, UnsafeArtifact
from app.runtimes.formats import Format, detect_format
from app.runtimes.onnx_file import NotOnnxError, read_onnx
from tests.runtimes.fitted import fitted


class Gadget:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


def torch_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Gadget()))
    return buffer.getvalue()


def keras_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("ridge", "skops"), ("xgboost", "xgboost"), ("lightgbm", "lightgbm"), ("onnx", "onnx")],
)
def test_a_format_is_known_whatever_its_file_is_called(name: str, expected: str, tmp_path: Path) -> None:
    written = fitted(name).write(tmp_path)
    disguised = written.rename(tmp_path / "notes.pdf")
    found = detect_format(tmp_path)
    assert (found.format, found.path) == (Format(expected), disguised)


def test_xgboost_json_is_known(tmp_path: Path) -> None:
    fitted("xgboost").model.save_model(tmp_path / "model.json")
    assert detect_format(tmp_path).format == Format.XGBOOST


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["model.pkl", "model.skops", "model.onnx", "README"])
def test_a_pickle_is_refused_under_any_name(protocol: int, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Gadget(), protocol))
    with pytest.raises(UnsafeArtifact) as refusal:
        detect_format(tmp_path)
    assert 'skops.io.dump(model, "model.skops")' in refusal.value.detail()
    assert refusal.value.status == 422


@pytest.mark.parametrize(
    "wrap",
    [
        gzip.compress,
        zlib.compress,
        bz2.compress,
        lzma.compress,
        lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    ],
)
def test_a_compressed_pickle_is_refused(wrap: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(wrap(pickle.dumps(Gadget())))
    with pytest.raises(UnsafeArtifact, match=r"skops\.io\.dump"):
        detect_format(tmp_path)


def test_an_lz4_frame_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"\x04\x22\x4d\x18" + bytes(100))
    with pytest.raises(UnsafeArtifact, match="lz4"):
        detect_format(tmp_path)


@pytest.mark.parametrize("content", [torch_zip(), keras_zip(), b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_formats_that_can_hold_code_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(UnsafeArtifact, match="ONNX"):
        detect_format(tmp_path)


def test_a_pickle_beside_a_good_model_is_refused(tmp_path: Path) -> None:
    fitted("ridge").write(tmp_path)
    (tmp_path / "extra.bin").write_bytes(pickle.dumps(Gadget()))
    with pytest.raises(UnsafeArtifact, match=r"extra\.bin"):
        detect_format(tmp_path)


def test_notes_beside_a_model_are_no_models(tmp_path: Path) -> None:
    fitted("ridge").write(tmp_path)
    (tmp_path / "requirements.txt").write_text("scikit-learn==1.9.1\ncloudpickle\n.\n")
    (tmp_path / "conda.yaml").write_text("name: mlflow-env\nchannels:\n- conda-forge\n")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "MLmodel").write_text("flavors:\n  sklearn: {}\n")
    (tmp_path / "input_example.json").write_text('{"columns": ["a"], "data": [[1]]}')
    assert detect_format(tmp_path).format == Format.SKOPS


def test_two_models_in_one_directory_are_refused(tmp_path: Path) -> None:
    fitted("ridge").write(tmp_path)
    fitted("onnx").write(tmp_path)
    with pytest.raises(UnknownFormat, match="2 model files"):
        detect_format(tmp_path)


@pytest.mark.parametrize("content", [os.urandom(5000), b"{}", b"hello", b"PK", bytes(100), b"\x08\x07"])
def test_what_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(content)
    with pytest.raises((UnknownFormat, BrokenArtifact, UnsafeArtifact)):
        detect_format(tmp_path)


def test_an_empty_file_and_an_empty_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat):
        detect_format(tmp_path)
    (tmp_path / "model.skops").touch()
    with pytest.raises(BrokenArtifact, match="empty"):
        detect_format(tmp_path)


def test_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.skops").symlink_to("/etc/passwd")
    with pytest.raises(UnsafeArtifact, match="link"):
        detect_format(tmp_path)


def archive_of(path: Path, entries: dict[str, bytes], **options: Any) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        archive.writestr("schema.json", "{}")
        for name, content in entries.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    "name",
    ["../escape.npy", "/etc/cron.npy", "a/../../b.npy", "C:\\x.npy", "..\\x.npy", "inner.zip", "data.npz"],
)
def test_an_entry_that_leads_elsewhere_or_nests_is_refused(name: str, tmp_path: Path) -> None:
    archive_of(tmp_path / "model.skops", {name: b"\x93NUMPY"})
    with pytest.raises(UnsafeArtifact):
        detect_format(tmp_path)


def test_an_entry_that_is_no_array_is_refused(tmp_path: Path) -> None:
    archive_of(tmp_path / "model.skops", {"1.npy": b"PK\3\4"})
    with pytest.raises(UnsafeArtifact, match="no array"):
        detect_format(tmp_path)


def test_a_zip_bomb_is_refused_unopened(tmp_path: Path) -> None:
    archive_of(tmp_path / "model.skops", {"1.npy": b"\x93NUMPY" + bytes(100 * 1024**2)})
    with pytest.raises(UnsafeArtifact, match="times its size"):
        detect_format(tmp_path)


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    archive_of(path, {"1.npy": os.urandom(9000), "2.npy": os.urandom(9000)})
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\1\2")
    position = data.index(b"PK\1\2", directory + 4)
    data[position + 20 : position + 24] = struct.pack("<I", 1024**2)
    path.write_bytes(data)
    with pytest.raises(UnsafeArtifact, match="share"):
        detect_format(tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("one", "other"), [("1.npy", "1.npy"), ("a.npy", "A.npy"), ("\u00e9.npy", "e\u0301.npy")]
)
def test_entries_with_one_name_are_refused(one: str, other: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        for name in ("schema.json", one, other):
            archive.writestr(name, b"\x93NUMPY")
    with pytest.raises(UnsafeArtifact, match="2 times"):
        detect_format(tmp_path)


def test_a_link_inside_an_archive_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("1.npy")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        archive.writestr("schema.json", "{}")
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UnsafeArtifact, match="link"):
        detect_format(tmp_path)


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 10)
    archive_of(tmp_path / "model.skops", {f"{i}.npy": b"\x93NUMPY" for i in range(11)})
    with pytest.raises(UnsafeArtifact, match="entries"):
        detect_format(tmp_path)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = fitted("ridge").write(tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BrokenArtifact, match="damaged"):
        detect_format(tmp_path)


@pytest.mark.parametrize("shift", [100, 1, -1, -100, 100_000])
def test_an_archive_whose_directory_is_elsewhere_than_it_says_is_refused(shift: int, tmp_path: Path) -> None:
    path = fitted("ridge").write(tmp_path)
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\5\6") + 16  # where the end of the directory says that it begins
    (begin,) = struct.unpack_from("<I", content, end)
    struct.pack_into("<I", content, end, begin + shift)
    path.write_bytes(content)
    with pytest.raises(BrokenArtifact, match="is a damaged zip archive"):
        detect_format(tmp_path)


def test_the_damaged_entry_of_an_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", "{}")
        archive.writestr("1.npy", b"\x93NUMPY0000")
    path.write_bytes(path.read_bytes().replace(b"NUMPY0000", b"NUMPY0001"))
    with pytest.raises(BrokenArtifact, match=r"damaged zip archive: Bad CRC-32 for file '1\.npy'"):
        detect_format(tmp_path)


@given(changes=st.dictionaries(st.integers(0, 10_000), st.integers(0, 255), min_size=1, max_size=5))
def test_an_archive_with_changed_bytes_is_refused_as_itself_or_harmless(changes: dict[int, int]) -> None:
    with TemporaryDirectory() as folder:
        path = fitted("ridge").write(Path(folder))
        content = bytearray(path.read_bytes())
        for at, value in changes.items():
            content[at % len(content)] = value
        path.write_bytes(content)
        with suppress(UnknownFormat, BrokenArtifact, UnsafeArtifact):
            detect_format(Path(folder))


def test_onnx_with_its_weights_elsewhere_is_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    weights = helper.make_tensor("w", TensorProto.FLOAT, [2], b"\0" * 8, raw=True)
    node = helper.make_node("Add", ["x", "w"], ["y"])
    table = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in "xy"]
    inner = helper.make_graph([node], "g", table[:1], table[1:], [weights])
    outside = inner.initializer[0].external_data.add()
    outside.key, outside.value = "location", "../../etc/passwd"
    inner.initializer[0].data_location = TensorProto.EXTERNAL
    (tmp_path / "model.onnx").write_bytes(helper.make_model(inner).SerializeToString())
    with pytest.raises(UnsafeArtifact, match="external"):
        detect_format(tmp_path)
    hidden = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    graph = helper.make_graph([hidden], "g", table[:1], table[1:])
    (tmp_path / "model.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(UnsafeArtifact, match="external"):
        detect_format(tmp_path)


def test_an_onnx_file_cut_anywhere_is_no_onnx_file(tmp_path: Path) -> None:
    path = fitted("onnx").write(tmp_path)
    whole = path.read_bytes()
    for cut in range(1, len(whole), len(whole) // 50):
        path.write_bytes(whole[:cut])
        with pytest.raises(NotOnnxError):
            read_onnx(path)
