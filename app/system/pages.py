"""Templates: whatever they show is escaped, and a name that is missing is an error."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

HERE = Path(__file__).resolve().parent
_MEANT_BY_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>&|~#]")


def escape_markdown(value: Any) -> str:
    r"""A value as one line of Markdown text that means nothing but itself (CommonMark 0.31, 2.4 "Backslash escapes").

    >>> escape_markdown("a|b <script>\n# not a heading")
    'a\\|b \\<script\\> \\# not a heading'
    """
    return _MEANT_BY_MARKDOWN.sub(r"\\\g<0>", " ".join(str(value).split()))


def mark_code(value: str) -> Markup:
    """Prose of ours as HTML: what stands between backticks is code, and everything is escaped.

    >>> mark_code("Send `a < b` & wait.")
    Markup('Send <code>a &lt; b</code> &amp; wait.')
    """
    pieces = str(value).split("`")
    whole = (
        Markup("<code>{}</code>").format(each) if n % 2 else escape(each) for n, each in enumerate(pieces)
    )
    return Markup().join(whole)


def _templates(**options: Any) -> Environment:
    return Environment(  # noqa: S701 - each of the two escapes in its own way
        loader=FileSystemLoader(HERE / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )


TEMPLATES = _templates(autoescape=True)
TEMPLATES.filters["code"] = mark_code
MARKDOWN = _templates(finalize=escape_markdown)
