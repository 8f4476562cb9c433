"""What the paths and bodies of this room may name, and how what is none of it is refused."""

from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator

from app.core.errors import FieldProblem
from app.core.wire import storable
from app.registry import errors as registry_errors
from app.runtimes.schema import Signature

ModelId = Annotated[
    str, Path(description="`name`, `name:3`, `name:2.1.0` or `name@alias`", examples=["breast-cancer"])
]
Environment = Annotated[str, Query(max_length=128), AfterValidator(storable)]
REFUSED_REFERENCES = (
    registry_errors.BadReference,
    registry_errors.ModelNotFound,
    registry_errors.VersionNotFound,
    registry_errors.NoProductionVersion,
)


def place_of(signature: Signature, column: str, field: str) -> int:
    """Where a column stands.

    Raises:
        FieldProblem: there is none of this name.
    """
    if column not in signature.names:
        known = ", ".join(signature.names[:20])
        raise FieldProblem(field, f"{column!r} is no column of this version; its columns are {known}")
    return signature.names.index(column)
