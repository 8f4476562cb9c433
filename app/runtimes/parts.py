"""A fitted scikit-learn model taken apart: every object inside it, and what serving has to change in them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

_CONTAINERS = (list, tuple, set)


def parts_of(model: Any) -> Iterator[Any]:
    """Every object with a class of its own inside a fitted model, the model first, each once."""
    pending, seen = [model], set()
    while pending:
        item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, _CONTAINERS):
            pending.extend(item)
        elif isinstance(item, np.ndarray):
            pending.extend(item.ravel().tolist() if item.dtype == object else ())
        elif type(item).__module__ != "builtins":
            yield item
            pending.extend(getattr(item, "__dict__", {}).values())


def needs_names(model: Any) -> bool:
    """Whether any part picks its columns by their names, so that a bare matrix would not do."""
    return any(
        isinstance(spec, str) or (isinstance(spec, list) and any(isinstance(name, str) for name in spec))
        for part in parts_of(model)
        if type(part).__name__ == "ColumnTransformer"
        for _, _, spec in part.transformers_
    )


def takes_text(model: Any) -> bool:
    """Whether the first step reads documents, not columns."""
    first = model.steps[0][1] if hasattr(model, "steps") else model
    return hasattr(first, "build_analyzer") or type(first).__name__ == "HashingVectorizer"


def forget_names(model: Any) -> None:
    """Drop the names seen in training, so that a bare matrix is taken without a warning for each call."""
    for part in parts_of(model):
        getattr(part, "__dict__", {}).pop("feature_names_in_", None)


def run_in_one_thread(model: Any) -> None:
    """Let no part start threads or processes of its own while it predicts."""
    for part in parts_of(model):
        if "n_jobs" in getattr(part, "__dict__", {}):
            part.n_jobs = None
