"""The prediction log as a file that is made while it is sent: CSV for people, Parquet for machines.

Rows come from a cursor on the server and leave in chunks, so that memory does not grow with the log; a thread
writes them, so that a group of rows that is compressed holds nobody up.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import Select

from app.core.database import Database
from app.evidence.export_writers import Column, CsvWriter, ParquetWriter, Writer
from app.evidence.rules import export_type, label_type
from app.evidence.tables import PredictionRow
from app.evidence.views import LogView

ROWS_PER_CHUNK = 100  # some 5 ms of work between two turns of the event loop
FEATURE = "feature."


class Format(StrEnum):
    """What the log is exported as."""

    CSV = "csv"
    PARQUET = "parquet"

    @property
    def media_type(self) -> str:
        """Its name on the wire."""
        return "text/csv; charset=utf-8" if self == Format.CSV else "application/vnd.apache.parquet"


def plan_columns(signatures: Sequence[Mapping[str, Any]], hidden: frozenset[str]) -> list[Column]:
    """The columns of a log whose versions have these signatures; a hidden one is text, since it holds a mask."""
    answer = export_type(_answer_type(signature) for signature in signatures)
    fixed = [
        *(Column(name, kind, _member(name)) for name, kind in _BEFORE_ANSWER),
        Column("prediction", answer, _member("prediction")),
        *(Column(name, kind, _member(name)) for name, kind in _AFTER_ANSWER),
        Column("actual", answer, _nested("outcome", "actual")),
        *(Column(name, kind, _nested("outcome", name)) for name, kind in _OF_OUTCOME),
    ]
    types: dict[str, list[str]] = {}
    for signature in signatures:
        for column in signature["inputs"]:
            types.setdefault(column["name"], []).append(
                "string" if column["name"] in hidden else column["type"]
            )
    features = (
        Column(f"{FEATURE}{name}", export_type(kinds), _nested("features", name))
        for name, kinds in types.items()
    )
    return [*fixed, *features]


_BEFORE_ANSWER = (
    ("prediction_id", "string"), ("at", "time"), ("request_id", "string"), ("model_id", "string"),
    ("environment", "string"), ("revision", "integer"), ("arm", "string"), ("propensity", "float"),
    ("shadow", "boolean"), ("log_probability", "float"), ("caller", "string"), ("entity_id", "string"),
    ("latency_ms", "float"),
)  # fmt: skip
_AFTER_ANSWER = (("probabilities", "string"), ("confidence", "float"), ("error", "string"))
_OF_OUTCOME = (("value", "float"), ("observed_at", "time"), ("corrections", "integer"))


def _answer_type(signature: Mapping[str, Any]) -> str:
    if signature["task"] == "transform":  # several values for one row
        return "string"
    return label_type(signature.get("classes"), signature["output"])


def _member(name: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda row: row[name]


def _nested(member: str, name: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda row: (row[member] or {}).get(name)


_WRITERS: Mapping[Format, Callable[[Sequence[Column]], Writer]] = {
    Format.CSV: CsvWriter,
    Format.PARQUET: ParquetWriter,
}


async def export_log(
    database: Database,
    query: Select[PredictionRow],
    columns: Sequence[Column],
    *,
    hidden: frozenset[str],
    form: Format,
) -> AsyncIterator[bytes]:
    """The rows of a query as the pieces of a file."""
    writer = _WRITERS[form](columns)
    async with database.streams() as session:
        view = LogView(session, hidden)
        plain = query.with_only_columns(
            *PredictionRow.__table__.columns
        )  # a mapped object costs twice as much
        rows = await session.stream(plain.execution_options(yield_per=ROWS_PER_CHUNK))
        async for chunk in rows.partitions():
            yield await asyncio.to_thread(writer.write, await view.show(chunk))
    yield await asyncio.to_thread(writer.finish)
