"""Model cards over HTTP, as JSON, Markdown or a page."""

from enum import StrEnum
from typing import Annotated, Any

from fastapi import Path, Query, Request
from starlette.responses import HTMLResponse, Response

from app.core.access import Role, allows, caller_of
from app.core.edge import Reads, room
from app.core.problems import problems
from app.system.card import CardOut, make_card
from app.system.lineage import REFUSED
from app.system.pages import MARKDOWN, TEMPLATES
from app.system.records import read_record

router = room("/models", "models")
ModelId = Annotated[
    str, Path(description="`name`, `name:3`, `name:2.1.0` or `name@alias`", examples=["breast-cancer:1"])
]


class Form(StrEnum):
    """What a card is written in."""

    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


FORMS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/markdown": {}, "text/html": {}}}}


@router.get(
    "/{model_id}/card",
    response_model=CardOut,
    dependencies=[allows(Role.VIEWER)],
    responses=FORMS | problems(*REFUSED),
)
async def read_card(
    model_id: ModelId,
    request: Request,
    session: Reads,
    form: Annotated[Form, Query(alias="format")] = Form.JSON,
) -> Any:
    """The version's model card: what it is for, takes and gives, how it was tried, where it serves, what is not known."""
    card = make_card(await read_record(session, model_id, caller_of(request)))
    return card if form == Form.JSON else render(card, form)


def render(card: CardOut, form: Form) -> Response:
    """A card to be read by people."""
    shown = card.model_dump()
    if form == Form.HTML:
        return HTMLResponse(TEMPLATES.get_template("card.html").render(card=shown))
    return Response(MARKDOWN.get_template("card.md").render(card=shown), media_type="text/markdown")
