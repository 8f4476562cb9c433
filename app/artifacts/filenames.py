"""Names of uploaded files: relative, visible, and distinct on every file system that people use."""

import re
import unicodedata
from collections.abc import Callable

from app.artifacts.errors import FileNameTaken, UnsafeFileName

MAX_NAME_BYTES = 1024
MAX_PART_BYTES = 255  # NAME_MAX of ext4, XFS, APFS and NTFS
MAX_DEPTH = 16
_INVISIBLE = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # Unicode general categories: controls, format, surrogates, line ends
# learn.microsoft.com, "Naming Files, Paths, and Namespaces"
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(\.|$)", re.IGNORECASE)

_Rules = tuple[tuple[Callable[[str], bool], str], ...]
_OF_NAMES: _Rules = (
    (lambda name: not name, "it is empty"),
    (
        lambda name: any(unicodedata.category(c) in _INVISIBLE for c in name),
        "it has a character that can't be seen",
    ),
    (lambda name: name.startswith("/"), "it is an absolute path"),
    (lambda name: "\\" in name or ":" in name, "it has a backslash or a colon"),
    (lambda name: len(name.encode()) > MAX_NAME_BYTES, f"it is longer than {MAX_NAME_BYTES} bytes"),
    (lambda name: name.count("/") >= MAX_DEPTH, f"it is more than {MAX_DEPTH} levels deep"),
)
_OF_PARTS: _Rules = (
    (lambda part: part in {"", ".", ".."}, "one of its parts is empty, '.' or '..'"),
    (
        lambda part: len(part.encode()) > MAX_PART_BYTES,
        f"one of its parts is longer than {MAX_PART_BYTES} bytes",
    ),
    (
        lambda part: part != part.strip() or part.endswith("."),
        "one of its parts begins with a space, or ends with a space or a dot",
    ),
    (lambda part: _DEVICE.match(part) is not None, "one of its parts is a reserved device name"),
)


def check_file_name(name: str) -> None:
    """Accept only what is a plain relative path everywhere.

    Raises:
        UnsafeFileName: it is not; the message says why.
    """
    problem = _first_broken(_OF_NAMES, name) or next(
        (broken for part in name.split("/") if (broken := _first_broken(_OF_PARTS, part))), None
    )
    if problem:
        raise UnsafeFileName(_printable(name), problem)


def _first_broken(rules: _Rules, text: str) -> str | None:
    return next((why for breaks, why in rules if breaks(text)), None)


def _printable(name: str) -> str:
    return name[:MAX_PART_BYTES].encode(errors="backslashreplace").decode()


def folded(path: str) -> str:
    """The form in which canonically and case-insensitively equal names are equal (Unicode 16, section 3.13, D145).

    >>> folded("Caf\u00e9") == folded("CAFE\u0301")
    True
    """
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


class NamesInUse:
    """The files of one upload and the directories that they lie in."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._directories: dict[str, str] = {}

    def claim(self, name: str) -> None:
        """Take a name for one file.

        Raises:
            UnsafeFileName: it can't be a file's name.
            FileNameTaken: a file or directory of this upload has it, or its twin in another case or Unicode form.
        """
        check_file_name(name)
        for end in (at for at, character in enumerate(name) if character == "/"):
            self._claim_directory(name[:end])
        taken = self._files.get(folded(name)) or self._directories.get(folded(name))
        if taken is not None:
            raise FileNameTaken(name, taken)
        self._files[folded(name)] = name

    def _claim_directory(self, path: str) -> None:
        if file := self._files.get(folded(path)):
            raise FileNameTaken(path, file)
        if (other := self._directories.setdefault(folded(path), path)) != path:
            raise FileNameTaken(path, other)
