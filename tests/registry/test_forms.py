"""R1: what a form of many files may cost, and what it may not bring."""

import pytest
from starlette.requests import Request

from app.artifacts.errors import UploadTooLarge
from app.registry.forms import BadForm, open_form
from app.runtimes.formats import MAX_FILES

MIB = 1 << 20


def part(number, size):
    head = f'--b\r\nContent-Disposition: form-data; name="artifact"; filename="f{number}"\r\n\r\n'
    return head.encode() + bytes(size) + b"\r\n"


def request_of(parts):
    """A request whose body arrives part by part, and how many of them were asked for."""
    asked = []

    async def receive():
        piece = next(parts, b"--b--\r\n")
        asked.append(len(piece))
        return {"type": "http.request", "body": piece, "more_body": not piece.endswith(b"--b--\r\n")}

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive), asked


async def test_a_form_of_very_many_files_keeps_little_of_them_in_memory():
    request, _ = request_of(part(number, MIB // 4) for number in range(200))
    async with open_form(request, 1 << 30) as form:
        files = form.getlist("artifact")
        assert [file.size for file in files] == [MIB // 4] * 200
        assert sum(file.size for file in files if file._in_memory) <= 16 * MIB
        assert await files[199].read() == bytes(MIB // 4)


async def test_a_form_of_more_files_than_a_model_has_is_refused_before_the_rest_arrives():
    request, asked = request_of(part(number, 1) for number in range(10 * MAX_FILES))
    with pytest.raises(BadForm, match="Too many files"):
        async with open_form(request, 1 << 30):
            pass
    assert len(asked) < 1.1 * MAX_FILES


async def test_files_that_are_too_large_together_are_refused_before_the_rest_arrives():
    request, asked = request_of(part(number, MIB) for number in range(1000))
    with pytest.raises(UploadTooLarge, match="'f4'"):
        async with open_form(request, 5 * MIB - 1):
            pass
    assert len(asked) == 5
