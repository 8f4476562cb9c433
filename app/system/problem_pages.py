"""What each kind of problem means, which members it carries, and the way out."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from app.core.errors import Refusal, kinds_of_refusal
from app.core.problems import known_problems, slug
from app.system.ways_out import OWN_WAYS_OUT

WAYS_OUT: Mapping[int, str] = {
    400: "Correct the request as `detail` says, and send it again.",
    401: "Send a valid API key or token as `Authorization: Bearer …`; `switchyard keys create` makes a key.",
    403: "Use a key of a higher role, or ask somebody who has one.",
    404: "Check the name in the address; lists such as `GET /api/models` show what there is.",
    405: "Look up in the API pages which methods this address takes.",
    408: "Send the request again, faster or in smaller pieces.",
    409: "Read the present state, decide again, and send the request that fits it.",
    412: "Read the present state with its `ETag`, decide again, and send that as `If-Match`.",
    413: "Send less at once, or ask the operator to raise the limit.",
    415: "Send the content type that the API pages name for this address.",
    422: "Correct the fields that `detail` and the members name, and send the request again.",
    428: "Read the present state, and send its `ETag` as `If-Match`.",
    429: "Wait as long as `Retry-After` says, then send the request again.",
    431: "Send fewer or shorter headers.",
    500: "Tell the operator the request id that the answer carries; the log has the cause under it.",
    501: "Ask for it in another way; this service does not do it like that.",
    503: "Wait as long as `Retry-After` says, then send the request again; nothing was changed.",
    504: "Send the request again, with fewer rows if it had many.",
    507: "The operator makes room, then the request can be sent again; nothing was kept of it.",
}
FROM_THE_FRAMEWORK = (
    (
        "bad-request",
        400,
        "Bad Request",
        "The body is announced as JSON and can't be decoded: it is not UTF-8, or has a number of too many digits.",
    ),
    (
        "method-not-allowed",
        405,
        "Method Not Allowed",
        "There is something at this address, but not for this method. Nothing was done.",
    ),
)
"""What is answered before any room is asked, and so is nobody's error."""
OF_NO_KIND = {"invalid-request": (("errors", "array"),), "internal-error": (("request_id", "string"),)}
"""The members of problems that are no `Refusal` and so have no fields."""


@dataclass(frozen=True)
class Problem:
    """A page about one kind of problem."""

    slug: str
    status: int
    title: str
    meaning: str
    way_out: str
    members: tuple[tuple[str, str], ...]


def list_problems() -> dict[str, Problem]:
    """Every kind of problem that this service can answer, by its slug."""
    members = OF_NO_KIND | {slug(kind): _members_of(kind) for kind in kinds_of_refusal()}
    found = [
        Problem(name, status, title, meaning, OWN_WAYS_OUT.get(name, WAYS_OUT[status]), members.get(name, ()))
        for name, status, title, meaning in [*known_problems(), *FROM_THE_FRAMEWORK]
    ]
    return {problem.slug: problem for problem in sorted(found, key=lambda each: (each.status, each.slug))}


def _members_of(kind: type[Refusal]) -> tuple[tuple[str, str], ...]:
    if not dataclasses.is_dataclass(kind):
        return ()
    return tuple((field.name, _in_json(field.type)) for field in dataclasses.fields(kind))


def _in_json(annotation: object) -> str:
    """A field's type in the words of JSON."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    first = text.partition("[")[0].partition(" |")[0].lower()
    return _JSON_TYPES.get(first, "object")


_JSON_TYPES = {
    "str": "string",
    "uuid": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
}
