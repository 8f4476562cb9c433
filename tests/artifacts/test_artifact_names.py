"""Names of uploaded files (R1; bad input: traversal, odd names, twins after Unicode or case folding)."""

import pytest

from app.artifacts.errors import FileNameTaken, UnsafeFileName
from app.artifacts.filenames import NamesInUse, check_file_name


@pytest.mark.parametrize(
    "name",
    [
        "model.skops",
        "weights/layer 1.bin",
        "Modell-größe.onnx",
        "模型.ubj",
        ".hidden",
        "a" * 255,
        "MLmodel",
        "console.txt",
    ],
)
def test_a_plain_relative_name_is_kept(name):
    check_file_name(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("../up", "'..'"),
        ("a/../../b", "'..'"),
        ("a//b", "empty"),
        ("a/", "empty"),
        ("./a", "'.'"),
        ("..\\up", "backslash"),
        ("C:\\windows", "backslash"),
        ("C:file", "colon"),
        ("model\0.skops", "can't be seen"),
        ("line\nbreak", "can't be seen"),
        ("right\u202eto-left", "can't be seen"),
        ("half \ud800", "can't be seen"),
        ("nul", "reserved"),
        ("dir/COM1.txt", "reserved"),
        ("LPT²", "reserved"),
        ("trailing.", "ends with"),
        ("trailing /x", "ends with"),
        (" leading", "begins with"),
        ("é" * 128, "longer than 255"),
        ("/".join(["a" * 100] * 11), "longer than 1024"),
        ("/".join("a" * 17), "levels"),
    ],
)
def test_a_name_that_some_system_reads_differently_is_refused(name, problem):
    with pytest.raises(UnsafeFileName, match=problem) as refused:
        check_file_name(name)
    refused.value.name.encode()  # what the answer shows can be sent


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("model.bin", "model.bin"),
        ("model.bin", "MODEL.bin"),
        ("caf\u00e9", "cafe\u0301"),
        ("CAFE\u0301", "caf\u00e9"),
        ("stra\u00dfe", "STRASSE"),
        ("Data/a", "data/b"),
        ("model", "model/weights"),
        ("model/weights", "Model"),
    ],
)
def test_names_that_are_one_file_on_some_system_are_refused(first, second):
    names = NamesInUse()
    names.claim(first)
    with pytest.raises(FileNameTaken):
        names.claim(second)


def test_files_of_one_directory_share_it():
    names = NamesInUse()
    for name in ("model/a", "model/b", "model/deep/a", "a"):
        names.claim(name)
