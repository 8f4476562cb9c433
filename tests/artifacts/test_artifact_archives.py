"""Archives of model directories (R1, R12; bad input: links, devices, traversal, bombs, duplicates, nesting, too many)."""

import gzip
import io
import struct
import tarfile
import zipfile
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.artifacts.archives import ArchiveLimits
from app.artifacts.errors import FileNameTaken, UnsafeArchive, UnsafeFileName
from app.artifacts.tarballs import read_tar
from app.artifacts.uploads import open_staging
from app.core.config import GIB, MIB
from app.core.errors import Invalid
from tests.artifacts.making_artifacts import (
    chunks_of,
    files_under,
    regular,
    sha256,
    special,
    tar_of,
    tar_with,
    zip_of,
)

MODEL = {
    "MLmodel": b"flavors: {}\n",
    "data/model.skops": b"\x01" * 3000,
    "data/exactly one block": b"x" * 512,
}
LIMITS = ArchiveLimits()


async def unpack(base, name, body, limits=LIMITS):
    """Upload an archive; gives name → bytes of what came out of it."""
    async with open_staging(base) as staging:
        staged = await staging.receive(name, chunks_of(body), max_bytes=GIB)
        files = await staging.unpack(staged, limits)
        assert files_under(staging.files_directory) == sorted(file.name for file in files)
        assert all(sha256(file.path.read_bytes()) == file.sha256 for file in files)
        return {file.name: file.path.read_bytes() for file in files}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("m.tar", tar_of(MODEL)),
        ("m.tar", tar_of(MODEL, form=tarfile.USTAR_FORMAT)),
        ("m.tar", tar_of(MODEL, form=tarfile.GNU_FORMAT)),
        ("m.tar.gz", tar_of(MODEL, mode="w:gz")),
        ("M.TGZ", tar_of(MODEL, mode="w:gz")),
        ("m.zip", zip_of(MODEL)),
        ("m.zip", zip_of(MODEL, zipfile.ZIP_STORED)),
    ],
)
async def test_an_archive_of_a_model_directory_is_unpacked(tmp_path, name, body):
    assert await unpack(tmp_path, name, body) == MODEL


async def test_directories_and_a_leading_dot_are_understood(tmp_path):
    body = tar_with(
        [
            (special(".", tarfile.DIRTYPE), b""),
            (special("./data", tarfile.DIRTYPE), b""),
            (regular("./data/a", b"1"), b"1"),
        ]
    )
    assert await unpack(tmp_path, "m.tar", body) == {"data/a": b"1"}
    assert await unpack(tmp_path, "m.zip", zip_of({"data/": b"", "data/a": b"1"})) == {"data/a": b"1"}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
async def test_long_and_foreign_names_come_through(tmp_path, form):
    bodies = {"/".join(["part" * 20] * 4) + "/größe.bin": b"1", "数据": b"2"}
    assert await unpack(tmp_path, "m.tar", tar_of(bodies, form=form)) == bodies


async def test_a_skops_model_stays_a_zip_whatever_its_name(tmp_path):
    body = zip_of({"schema.json": b"{}", "1.npy": b"x"})
    assert await unpack(tmp_path, "model.zip", body) == {"model.zip": body}


async def test_a_file_that_is_no_archive_stays_as_it_is(tmp_path):
    assert await unpack(tmp_path, "model.onnx", b"\x08\x01") == {"model.onnx": b"\x08\x01"}


def symlink_in_zip():
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    return zip_of({info: b"/etc/passwd"})


def bomb(kind, size=64 * MIB):
    body = tar_of({"zeros": b"\0" * size})
    return gzip.compress(body, 9) if kind == "tar.gz" else zip_of({"zeros": b"\0" * size})


def pax_bomb():
    """A header that says that the next hundred megabytes belong to a name."""
    info = special("pax", b"x")
    info.size = 100 * MIB
    return gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + b"\0" * (100 * MIB), 1)


def many(count):
    return {f"f{number}": b"" for number in range(count)}


def encrypted_zip():
    body = bytearray(zip_of({"a": b"1"}))
    for signature, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        body[body.index(signature) + flags_at] |= 1
    return bytes(body)


def checksum_flipped():
    body = bytearray(tar_of(MODEL))
    body[10] ^= 1
    return bytes(body)


def gzip_cut_off():
    return tar_of(MODEL, mode="w:gz")[:-6]


def payload_flipped_in_zip():
    body = bytearray(zip_of({"a": b"12345678"}, zipfile.ZIP_STORED))
    body[body.index(b"12345678")] ^= 1
    return bytes(body)


@pytest.mark.parametrize(
    ("name", "body", "problem"),
    [
        ("m.tar", tar_with([(special("l", tarfile.SYMTYPE, "/etc/passwd"), b"")]), "symbolic link"),
        ("m.tar", tar_with([(special("l", tarfile.LNKTYPE, "../x"), b"")]), "hard link"),
        (
            "m.tar",
            tar_with([(special("l", tarfile.SYMTYPE, "x" * 200), b"")], form=tarfile.GNU_FORMAT),
            "a link",
        ),
        ("m.tar", tar_with([(special("d", tarfile.CHRTYPE), b"")]), "character device"),
        ("m.tar", tar_with([(special("d", tarfile.BLKTYPE), b"")]), "block device"),
        ("m.tar", tar_with([(special("p", tarfile.FIFOTYPE), b"")]), "named pipe"),
        ("m.tar", tar_with([(special("s", b"S"), b"")]), "sparse"),
        ("m.tar", tar_with([(special("?", b"Q"), b"")]), "unknown kind"),
        ("m.zip", symlink_in_zip(), "link or a device"),
        ("m.tar.gz", bomb("tar.gz"), "more bytes"),
        ("m.zip", bomb("zip"), "more bytes"),
        ("m.tar.gz", pax_bomb(), "extension header"),
        ("m.tar", tar_of(many(10_001)), "too many entries"),
        ("m.zip", zip_of(many(10_001)), "too many entries"),
        ("m.tar", tar_of({"inner.zip": b"PK"}), "another archive"),
        ("m.zip", zip_of({"inner.tar.gz": b""}), "another archive"),
        ("m.tar", tar_of({}), "no file"),
        ("m.zip", zip_of({}), "no file"),
        ("m.zip", encrypted_zip(), "encrypted"),
        ("m.zip", zip_of({"a": b"1"}, zipfile.ZIP_LZMA), "other than deflate"),
        ("m.zip", payload_flipped_in_zip(), "damaged"),
        ("m.zip", b"not a zip", "damaged"),
        ("m.zip", b"", "damaged"),
        ("m.tar", b"not a tar", "ends in the middle"),
        ("m.tar", tar_of(MODEL)[:700], "ends in the middle"),
        ("m.tar", tar_of(MODEL)[: 512 * 9], "ends in the middle"),
        ("m.tar", checksum_flipped(), "checksum"),
        ("m.tar.gz", gzip_cut_off(), "damaged"),
    ],
)
async def test_an_unsafe_or_broken_archive_is_refused_and_leaves_nothing(tmp_path, name, body, problem):
    with pytest.raises(UnsafeArchive, match=problem):
        await unpack(tmp_path, name, body)
    assert list((tmp_path / "staging").iterdir()) == []


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b", "..\\up", "nul", "x\ny"])
async def test_a_name_that_leaves_the_directory_is_refused(tmp_path, name):
    for archive, body in (("m.tar", tar_of({name: b"1"})), ("m.zip", zip_of({name: b"1"}))):
        with pytest.raises(UnsafeFileName):
            await unpack(tmp_path, archive, body)
    assert files_under(tmp_path) == []


async def test_a_name_cut_at_a_nul_is_seen_whole(tmp_path):
    body = zip_of({"model.binX.txt": b"1"}).replace(b"model.binX", b"model.bin\0")
    with pytest.raises(UnsafeFileName):
        await unpack(tmp_path, "m.zip", body)


@pytest.mark.filterwarnings("ignore:Duplicate name")
async def test_duplicate_entries_are_refused(tmp_path):
    twice = [(regular("a", b"1"), b"1"), (regular("A", b"2"), b"2")]
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    for name, body in (("m.tar", tar_with(twice)), ("m.zip", target.getvalue())):
        with pytest.raises(FileNameTaken):
            await unpack(tmp_path, name, body)


async def test_a_zip_with_a_huge_table_of_contents_is_refused_unread(tmp_path):
    filler = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", *[0] * 18)
    table = filler * (5 * MIB // len(filler))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFE, 0xFFFE, len(table), 0, 0)
    with pytest.raises(UnsafeArchive, match="table of contents"):
        await unpack(tmp_path, "m.zip", table + end)


async def test_the_limits_are_the_callers(tmp_path):
    body = tar_of({"a": b"1" * 2000, "b": b"2"})
    with pytest.raises(UnsafeArchive, match="too many"):
        await unpack(tmp_path, "m.tar", body, ArchiveLimits(entries=1))
    with pytest.raises(UnsafeArchive, match="more bytes"):
        await unpack(tmp_path, "m.tar", body, ArchiveLimits(total_bytes=1999))


async def test_a_sparse_or_renaming_pax_header_is_refused(tmp_path):
    for headers, problem in ({"GNU.sparse.major": "1"}, "sparse"), ({"path": "../x"}, "'..'"):
        info = regular("a", b"1")
        info.pax_headers = headers
        with pytest.raises(Invalid, match=problem):
            await unpack(tmp_path, "m.tar", tar_with([(info, b"1")]))


async def test_a_global_header_may_comment_but_not_rename(tmp_path):
    for headers, outcome in ({"comment": "revision"}, None), ({"path": "b"}, UnsafeArchive):
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w", pax_headers=headers) as archive:
            archive.addfile(regular("a", b"1"), io.BytesIO(b"1"))
        if outcome is None:
            assert await unpack(tmp_path, "m.tar", target.getvalue()) == {"a": b"1"}
        else:
            with pytest.raises(outcome, match="all entries"):
                await unpack(tmp_path, "m.tar", target.getvalue())


def header_with(place, field):
    """A tar of one empty file whose header has other bytes at a place, and a right checksum."""
    block = bytearray(regular("a").tobuf(tarfile.USTAR_FORMAT))
    block[place : place + len(field)] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + b"1" + bytes(511) + bytes(1024)


async def test_a_binary_size_as_gnu_writes_it_is_understood(tmp_path):
    body = header_with(124, b"\x80" + (1).to_bytes(11))
    assert await unpack(tmp_path, "m.tar", body) == {"a": b"1"}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (header_with(124, b"99999999999\0"), "number"),
        (header_with(124, b"\xff" * 12), "number"),
        (header_with(124, b"\x80" + b"\xff" * 11), "ends in the middle"),
    ],
)
async def test_a_header_that_lies_is_refused(tmp_path, body, problem):
    with pytest.raises(UnsafeArchive, match=problem):
        await unpack(tmp_path, "m.tar", body)


@pytest.mark.parametrize("record", [b"x path=a\n", b"999 path=a\n", b"1 path=a\n", b"path=a", b"0 \n"])
async def test_a_pax_record_that_can_not_be_read_is_refused(tmp_path, record):
    info = special("pax", b"x")
    info.size = len(record)
    body = info.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0") + tar_of({"a": b"1"})
    with pytest.raises(UnsafeArchive, match="extension header"):
        await unpack(tmp_path, "m.tar", body)


names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=300
).filter(lambda name: not name.endswith("/") and "//" not in name)


@given(
    bodies=st.dictionaries(names, st.binary(max_size=2000), max_size=4),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_the_reader_reads_whatever_tarfile_writes(bodies, form):
    source = io.BytesIO(tar_of(bodies, form=form))
    found = {member.name: b"".join(member.blocks) for member in read_tar(source)}
    assert found == bodies


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    whole=st.sampled_from(
        [("m.tar", tar_of(MODEL)), ("m.zip", zip_of(MODEL)), ("m.tgz", tar_of(MODEL, mode="w:gz"))]
    ),
    cuts=st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=4)), min_size=1, max_size=4),
)
async def test_a_damaged_archive_is_refused_or_read_but_never_breaks_the_reader(tmp_path, whole, cuts):
    name, body = whole
    for at, patch in cuts:
        body = body[:at] + patch + body[at + len(patch) :]
    with suppress(Invalid):
        await unpack(tmp_path, name, body)
    assert list((tmp_path / "staging").iterdir()) == []


async def test_a_table_of_contents_that_leads_out_of_the_archive_is_refused(tmp_path):
    """Its offset says that it begins later than it does, so that the files would begin before the archive."""
    body = bytearray(zip_of(MODEL))
    offset = slice(len(body) - 6, len(body) - 2)
    body[offset] = (int.from_bytes(body[offset], "little") + 100).to_bytes(4, "little")
    with pytest.raises(UnsafeArchive):
        await unpack(tmp_path, "m.zip", bytes(body))
