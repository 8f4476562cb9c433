"""Encryption at rest (R12): any cut of the stream, any change of the bytes, several keys."""

import base64
import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.artifacts.encryption import (
    CHUNK_BYTES,
    HEADER_BYTES,
    TAG_BYTES,
    Keyring,
    TamperedError,
    UnknownKeyError,
    is_sealed,
)

RING = Keyring([bytes(range(32))])
SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES


def seal(body, ring=RING):
    sealer = ring.sealer()
    return sealer.header + sealer.update(body) + sealer.finish()


def unseal(blob, ring=RING):
    unsealer = ring.unsealer(blob[:HEADER_BYTES])
    return unsealer.update(blob[HEADER_BYTES:]) + unsealer.finish()


def cut(body, places):
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


sizes = st.one_of(
    st.integers(0, 3 * CHUNK_BYTES),
    st.sampled_from(
        [near + off for near in (0, CHUNK_BYTES, 2 * CHUNK_BYTES) for off in (-1, 0, 1) if near + off >= 0]
    ),
)
places = st.lists(st.integers(0, 2**31), max_size=5)


@given(size=sizes, cuts_in=places, cuts_out=places)
def test_a_blob_comes_back_however_its_stream_is_cut(size, cuts_in, cuts_out):
    body = os.urandom(size)
    sealer = RING.sealer()
    blob = b"".join([sealer.header, *map(sealer.update, cut(body, cuts_in)), sealer.finish()])
    unsealer = RING.unsealer(blob[:HEADER_BYTES])
    assert b"".join([*map(unsealer.update, cut(blob[HEADER_BYTES:], cuts_out)), unsealer.finish()]) == body


@given(size=sizes, at=st.integers(0, 2**31), flip=st.integers(1, 255))
def test_one_changed_byte_anywhere_is_noticed(size, at, flip):
    blob = bytearray(seal(bytes(size)))
    blob[len(b"SWYDBLB1") + at % (len(blob) - len(b"SWYDBLB1"))] ^= flip
    with pytest.raises((TamperedError, UnknownKeyError)):
        unseal(bytes(blob))


@given(size=sizes, at=st.integers(0, 2**31))
def test_a_blob_that_was_cut_off_anywhere_does_not_open(size, at):
    blob = seal(bytes(size))
    with pytest.raises(TamperedError):
        unseal(blob[: HEADER_BYTES + at % (len(blob) - HEADER_BYTES)])


def chunks_of_blob(blob):
    header, rest = blob[:HEADER_BYTES], blob[HEADER_BYTES:]
    return header, [rest[start : start + SEALED_CHUNK] for start in range(0, len(rest), SEALED_CHUNK)]


@pytest.mark.parametrize(
    "rearranged",
    [
        lambda chunks: [chunks[1], chunks[0], *chunks[2:]],
        lambda chunks: [chunks[0], chunks[0], *chunks[1:]],
        lambda chunks: [chunks[0], *chunks[2:]],
        lambda chunks: chunks[:-1],
        lambda chunks: [*chunks, chunks[-1]],
        lambda chunks: [*chunks, chunks[0]],
    ],
)
def test_chunks_that_were_moved_repeated_or_dropped_do_not_open(rearranged):
    header, chunks = chunks_of_blob(seal(bytes(4 * CHUNK_BYTES)))
    assert len(chunks) == 4
    with pytest.raises(TamperedError):
        unseal(header + b"".join(rearranged(chunks)))


def test_a_chunk_of_another_blob_does_not_open():
    header, chunks = chunks_of_blob(seal(bytes(2 * CHUNK_BYTES)))
    _, others = chunks_of_blob(seal(bytes(2 * CHUNK_BYTES)))
    with pytest.raises(TamperedError):
        unseal(header + chunks[0] + others[1])


def test_the_same_bytes_never_look_the_same_twice():
    assert seal(b"model") != seal(b"model")
    assert b"model" not in seal(b"model")


def test_old_blobs_open_after_the_key_was_changed(tmp_path):
    old, new = os.urandom(32), os.urandom(32)
    file = tmp_path / "keys"
    file.write_bytes(base64.b64encode(old))
    blob = seal(b"model", Keyring.from_file(file))
    file.write_bytes(base64.b64encode(new) + b"\n" + base64.b64encode(old) + b"\n")
    ring = Keyring.from_file(file)
    assert unseal(blob, ring) == b"model"
    assert seal(b"x", ring)[8:16] == ring.newest_id != blob[8:16]
    with pytest.raises(UnknownKeyError):
        unseal(blob, Keyring([new]))


def test_a_key_file_may_hold_the_raw_key(tmp_path):
    file = tmp_path / "key"
    file.write_bytes(bytes(range(32)))
    assert Keyring.from_file(file).newest_id == RING.newest_id


@pytest.mark.parametrize(
    "content", [b"", b"short", b"\xff" * 33, base64.b64encode(b"x" * 16), b"not base64 at all!\n"]
)
def test_a_file_without_a_key_of_256_bits_is_refused(tmp_path, content):
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="32 bytes"):
        Keyring.from_file(file)


def test_plain_bytes_are_not_taken_for_an_encrypted_blob():
    assert is_sealed(seal(b""))
    assert not is_sealed(b"SWYDBLB1")
    assert not is_sealed(bytes(100))
