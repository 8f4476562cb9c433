"""What artifact storage says when it refuses (R12, R13): each answer names what it is about and can be sent."""

import asyncio
import threading

import pytest
from pydantic_core import to_json

from app.artifacts import errors
from app.artifacts.disk import run_to_end

REFUSALS = [
    errors.UnsafeFileName("a:b", "it has a colon"),
    errors.FileNameTaken("A", "a"),
    errors.UploadTooLarge("weights", 100),
    errors.UploadLengthMismatch("weights", 10, 9),
    errors.UploadDigestMismatch("weights", "aa", "bb"),
    errors.UnsafeArchive("model.tar", "it holds a link"),
    errors.BlobNotFound("aa"),
    errors.CorruptArtifact("weights", "aa", "bb"),
    errors.SignatureMismatch("another key signed"),
    errors.ArtifactKeyMissing("0011"),
    errors.StorageFull(),
    errors.StorageUnavailable(),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: type(refusal).__name__)
def test_a_refusal_names_what_it_is_about(refusal):
    assert all(str(member) in str(refusal) for member in refusal.members().values())
    assert to_json(refusal.members())
    assert refusal.status in {404, 409, 413, 422, 503, 507}


def test_an_extra_or_unreadable_file_is_told_in_words():
    assert "expected no such file" in str(errors.CorruptArtifact("evil.py", None, "bb"))
    assert "found nothing that can be read" in str(errors.CorruptArtifact("weights", "aa", None))


async def test_a_cancelled_caller_waits_for_its_thread():
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        may_end.wait(10)
        ended.set()

    caller = asyncio.create_task(run_to_end(work))
    await asyncio.to_thread(begun.wait, 10)
    caller.cancel()
    await asyncio.sleep(0.01)
    assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()
