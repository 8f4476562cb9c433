"""What a check begins with: the reference, and rows that a caller sends to be looked at instead of the log's."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING, Any

from fastapi import Request

from app.core.database import Reading
from app.evidence.windows import Reference, find_reference
from app.monitoring.errors import NoGoodRow, NoReferenceYet
from app.monitoring.parameters import REFUSED_REFERENCES
from app.monitoring.queries import no_reference_yet
from app.registry import queries as registry
from app.runtimes.errors import BadSample
from app.runtimes.probe import Prober
from app.runtimes.schema import Signature
from app.runtimes.tally import PART_ROWS, Reason, Tally
from app.stats.profile import Profile

if TYPE_CHECKING:
    from app.registry.tables import Version

_MEASURES = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip
_TUMOUR = (
    13.54, 14.36, 87.46, 566.3, 0.0978, 0.0813, 0.0666, 0.0478, 0.1885, 0.0577,
    0.2699, 0.7886, 2.058, 23.56, 0.0085, 0.0146, 0.0239, 0.0132, 0.0198, 0.0023,
    15.11, 19.26, 99.7, 711.2, 0.144, 0.1773, 0.239, 0.1288, 0.2977, 0.0726,
)  # fmt: skip
_COLUMNS = [
    *(f"mean {name}" for name in _MEASURES),
    *(f"{name} error" for name in _MEASURES),
    *(f"worst {name}" for name in _MEASURES),
]
TABLE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": f"{','.join(_COLUMNS)}\n{','.join(map(str, _TUMOUR))}\n",
            },
            "application/vnd.apache.parquet": {
                "schema": {"type": "string", "format": "binary"},
                "example": "PAR1…",
            },
        },
    }
}


REFUSED_TABLES = (*REFUSED_REFERENCES, NoReferenceYet, BadSample)
ENVELOPES = frozenset({"multipart/form-data", "application/json"})
READABLE = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


async def open_reference(reading: Reading, model_id: str, environment: str) -> "tuple[Version, Reference]":
    """The version that a reference to a model means, and what its rows are held against.

    Raises:
        ModelNotFound, VersionNotFound, NoProductionVersion: it means none.
        NoReferenceYet: there is nothing yet.
    """
    version = await registry.get_version(reading, model_id, environment)
    reference = await find_reference(reading, version.id)
    if reference is None:
        raise await no_reference_yet(reading, version)
    return version, reference


@dataclass(frozen=True)
class Sent:
    """What came.

    Attributes:
        profile: of the rows that fit the model; None where none does.
        rows: how many these are.
        refused: how many don't fit.
        repeated: how many of those that fit are another's repetition.
        reasons: why rows don't fit, as `Tally` has them.
    """

    profile: Profile | None
    rows: int
    refused: int
    repeated: int = 0
    reasons: Mapping[Reason, int] = field(default_factory=dict)

    @property
    def good(self) -> Profile:
        """The profile, where there is one.

        Raises:
            NoGoodRow: no row fits the model.
        """
        if self.profile is None:
            column, problem = next(iter(self.reasons))
            raise NoGoodRow(self.refused, f"{column or 'the row'} {problem}")
        return self.profile


async def count_instances(reference: Reference, signature: dict[str, Any], instances: Sequence[Any]) -> Sent:
    """Rows as a caller would send them for a prediction, part by part, between which the event loop has its turn.

    Raises:
        Refusal: they are no rows at all.
    """
    tally = Tally(reference.plan, Signature.from_json(signature))
    for start in range(0, len(instances), PART_ROWS):
        tally.add(instances[start : start + PART_ROWS])
        await asyncio.sleep(0)
    return Sent(tally.profile, tally.rows, tally.refused, tally.repeated, tally.reasons)


async def count_table(request: Request, reference: Reference, signature: dict[str, Any]) -> Sent:
    """The rows of the CSV or Parquet file that a request brings, its columns found by their names; a child process reads it.

    Raises:
        BadSample: it comes as a part of something else, can't be read, or lacks columns.
    """
    message = Message()
    message["Content-Type"] = request.headers.get("content-type", "")
    kind, charset = message.get_content_type(), message.get_content_charset("utf-8")
    if kind in ENVELOPES:
        raise BadSample(f"a table comes as the body itself, CSV (`text/csv`) or Parquet, not as {kind}")
    if charset not in READABLE:
        raise BadSample(
            f"a CSV is read as UTF-8, not as {charset!r}, which the Content-Type names; send it as UTF-8"
        )
    prober: Prober = request.app.state.prober
    told = await prober.profile_table(
        signature=signature, plan=reference.plan.to_json(), table=await request.body()
    )
    profile = None if told.sections is None else Profile.from_bytes(reference.plan.layout, *told.sections)
    return Sent(profile, told.rows, told.refused, told.repeated, told.reasons)
