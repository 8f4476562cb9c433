"""Short ways through the reads that are asked most: no session, no dependencies, one statement.

Each answers what it can; what it can't, refusals among it, is left to the endpoint in `api`.
"""

import re
from collections.abc import Sequence

from fastapi import Request
from starlette.responses import Response

from app.core.access import caller_of
from app.core.paging import DEFAULT_PAGE, Paging, like_patterns
from app.registry import answers, queries
from app.registry.summaries import summarise_next_models

_PLAIN_PAGE = re.compile(rb"(?:limit=([1-9]\d?|1\d\d|200)(?![^&]))?&?(?:cursor=([\w-]+))?")
"""The query of a page that is narrowed to nothing; with anything else in it, FastAPI reads it."""


async def list_all_models(request: Request) -> Response | None:
    """A page of all that the caller sees; lists that are narrowed to something are left to the endpoint."""
    asked = _PLAIN_PAGE.fullmatch(request.scope["query_string"])
    if asked is None:
        return None
    cursor = None if asked[2] is None else asked[2].decode()
    paging = Paging.read(request, int(asked[1] or DEFAULT_PAGE), cursor)
    patterns = like_patterns(caller_of(request).models)
    rows = await summarise_next_models(request.app.state.database, patterns, paging.after, paging.limit + 1)
    return answer_models(paging, rows)


def answer_models(paging: Paging, rows: Sequence[tuple[str, str]]) -> Response:
    """A page out of the names and summaries of models, one more than it holds."""
    kept, following = paging.cut(rows, lambda row: row[0])
    return answers.answer_page((text for _, text in kept), following)


async def find_model(request: Request) -> Response | None:
    """The model or version that is meant; what there is none of is left to the endpoint."""
    reference = queries.read_reference(request.path_params["model_id"])
    return await answers.find_answer(request.app.state.database, reference)
