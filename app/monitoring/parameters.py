"""What the paths of this room take, and how they refuse a model that is none."""

from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator

from app.core.wire import storable
from app.registry import errors as registry_errors

ModelId = Annotated[
    str, Path(description="`name`, `name:3`, `name:2.1.0` or `name@alias`", examples=["breast-cancer"])
]
Environment = Annotated[str, AfterValidator(storable), Query(max_length=128)]
REFUSED_REFERENCES = (
    registry_errors.BadReference,
    registry_errors.ModelNotFound,
    registry_errors.VersionNotFound,
    registry_errors.NoProductionVersion,
)
