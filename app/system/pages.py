"""Templates: whatever they show is escaped, and a name that is missing is an error."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).resolve().parent
_MEANT_BY_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>&|~#]")


def escape_markdown(value: Any) -> str:
    r"""A value as one line of Markdown text that means nothing but itself (CommonMark 0.31, 2.4 "Backslash escapes").

    >>> escape_markdown("a|b <script>\n# not a heading")
    'a\\|b \\<script\\> \\# not a heading'
    """
    return _MEANT_BY_MARKDOWN.sub(r"\\\g<0>", " ".join(str(value).split()))


def _templates(**options: Any) -> Environment:
    return Environment(  # noqa: S701 - each of the two escapes in its own way
        loader=FileSystemLoader(HERE / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )


TEMPLATES = _templates(autoescape=True)
MARKDOWN = _templates(finalize=escape_markdown)
