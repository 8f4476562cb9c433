"""What a probe's child may be asked to do, by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.runtimes.evaluate import answer_instances, answer_table
from app.runtimes.examine import check_outputs, examine
from app.runtimes.onnx import convert
from app.runtimes.reference import profile_reference, profile_slices, profile_table

WORK: dict[str, Callable[[Path, bytes, dict[str, Any]], dict[str, Any]]] = {
    "examine": examine,
    "check": check_outputs,
    "convert": convert,
    "answer table": answer_table,
    "profile reference": profile_reference,
    "profile slices": profile_slices,
    "profile table": profile_table,
    "answer instances": answer_instances,
}
