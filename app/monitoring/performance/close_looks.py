"""What sums can't tell of a window, from its latest rows: worth, returns, slices, groups of people, causes.

All of it takes SciPy and a while, so whoever asks does so in a thread.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import FieldProblem
from app.evidence.latest import Latest
from app.evidence.realised import Labelled, Realised, as_text, has_labels, realise, scale_of
from app.monitoring.performance.measuring import ask, measure_briefly, shown
from app.runtimes.groups import (
    Groups,
    as_name,
    column_of,
    group_column,
    group_numbers,
    most_slices,
    numbers,
)
from app.runtimes.schema import Signature, Task

if TYPE_CHECKING:
    from app.stats.fairness import Fairness
    from app.stats.formula import Formula
    from app.stats.intervals import Estimate
    from app.stats.worth import Worth

MOST_LOSS = 1e60  # the fourth powers of greater ones, and their sums, come near the largest number
MOST_GAPS, MOST_PEOPLE = 20, 50
NO_RETURNS = "no labelled row has a value: send `value`, the return of one period, with feedback"
CAUSE_GROUPS, MOST_CAUSES = 10, 20
MOST_GROUPS_OF_ALL = 600
"""Over all columns together: a model of losses with so many terms is fitted in half a second."""


def tell_worth(formula: "Formula", rows: Latest, alpha: float) -> dict[str, Any]:
    """What the labelled rows were worth by a formula.

    Raises:
        FieldProblem: it can't be applied to what such rows hold.
    """
    from app.stats.formula import FormulaRefused  # noqa: PLC0415 - and SciPy with it

    columns = {
        "prediction": rows.predicted,
        "actual": rows.actual,
        "value": rows.values,
        "confidence": rows.confidences,
    }
    try:
        worth = formula.apply(columns) if len(rows) else None
    except FormulaRefused as refused:
        raise FieldProblem("value", str(refused)) from None
    except ValueError as wrong:  # texts and numbers in one column, nested answers
        raise FieldProblem("value", str(wrong)) from None
    told = {"formula": formula.text, "rows": len(rows), "undefined": worth.undefined if worth else 0}
    return told | {"mean": _shown(_mean_of(worth, alpha)), "total": worth and worth.total}


def _mean_of(worth: "Worth | None", alpha: float) -> "Estimate | ValueError":
    from app.stats.intervals import TooLittleData  # noqa: PLC0415 - and SciPy with it

    return ask(partial(worth.mean, alpha)) if worth else TooLittleData("rows", 0)


def _shown(told: "Estimate | ValueError") -> dict[str, Any]:
    return shown({"it": told})["it"]


def tell_returns(rows: Latest, periods_per_year: float, alpha: float) -> dict[str, Any]:
    """How a trading model did: each labelled row's value is the return of one period, in the order of their observation."""
    from app.stats.intervals import known  # noqa: PLC0415 - and SciPy with it
    from app.stats.returns import maximum_drawdown, sharpe_ratio, win_rate  # noqa: PLC0415

    def ask_of(tell: "Callable[[Sequence[float]], Estimate]") -> "Estimate | ValueError":
        return ask(partial(tell, series)) if series else ValueError(NO_RETURNS)

    seen = [
        (at or 0.0, value) for at, value in zip(rows.observed, rows.values, strict=True) if value is not None
    ]
    series = [value for _, value in sorted(seen, key=itemgetter(0))]

    def drawdown(series: Sequence[float]) -> "Estimate":
        return replace(known(maximum_drawdown(series)), rows=len(series))

    told = {
        "sharpe_ratio": ask_of(partial(sharpe_ratio, alpha=alpha, periods_per_year=periods_per_year)),
        "maximum_drawdown": ask_of(drawdown),
        "win_rate": ask_of(partial(win_rate, alpha=alpha)),
    }
    return {"periods": len(series), "metrics": shown(told)}


def tell_slices(
    signature: Signature, rows: Latest, place: int, alpha: float, *, design_effect: float = 1.0
) -> list[dict[str, Any]]:
    """How the model does on each group of one column; the intervals hold all together."""
    cells = column_of(rows.features or (), place)
    column = signature.inputs[place]
    groups = group_column(column, cells, most_slices(column))
    codes = groups.codes(cells)
    used = [code for code in range(groups.size) if (codes == code).any()]
    scale = scale_of([*rows.actual, *rows.predicted]) if signature.task == Task.REGRESSION else None
    told = []
    for code in used:
        mine = rows.pick(np.flatnonzero(codes == code).tolist())
        sums = realise(signature, as_labelled(mine), scale) + Realised(rows=len(mine))
        metrics = measure_briefly(signature, sums, alpha / len(used), design_effect=design_effect)
        told.append({"group": groups.names[code], "labelled": len(mine), "metrics": shown(metrics)})
    return told


def as_labelled(rows: Latest) -> Labelled:
    """Rows whose truth is known, as sums are made of them."""
    return Labelled(rows.actual, rows.predicted, rows.probabilities, rows.delays)


def favourable_class(signature: Signature, given: Any) -> Any:
    """The class that people want: the one that was named, or else the last.

    Raises:
        FieldProblem: it is none of the classes, or the answers are none.
    """
    classes = signature.classes or ()
    if not has_labels(signature) or not classes:
        raise FieldProblem(
            "sensitive", "only a classifier treats groups alike or not; this version has no classes"
        )
    if given is None:
        return classes[-1]
    for label in classes:
        if as_text(label) == as_text(given):
            return label
    raise FieldProblem("favourable", f"must be one of the classes {', '.join(map(as_text, classes[:20]))}")


def tell_fairness(
    signature: Signature, rows: Latest, place: int, favourable: Any, alpha: float
) -> dict[str, Any]:
    """Whether the groups of a column are answered alike, from rows with and without labels."""
    from app.stats.fairness import Rate, compare_groups, count_groups  # noqa: PLC0415 - and SciPy with it

    cells = column_of(rows.features or (), place)
    wanted = as_text(favourable)
    counts = count_groups(
        name_people(signature, cells, place),
        [as_text(answer) == wanted for answer in rows.predicted],
        [actual is not None and as_text(actual) == wanted for actual in rows.actual],
        [actual is not None for actual in rows.actual],
    )
    return {
        "column": signature.names[place],
        "favourable": as_name(favourable),
        "rows": len(rows),
        "rates": {str(rate): _told_fairness(compare_groups(counts, rate, alpha)) for rate in Rate},
    }


def name_people(signature: Signature, cells: Sequence[Any], place: int) -> list[str]:
    """The group that each row's person is in: the value itself, or a range where there are too many of them."""
    column = signature.inputs[place]
    few = len({as_name(cell) for cell in cells}) <= MOST_PEOPLE
    if few:
        return ["missing" if cell is None else as_name(cell) for cell in cells]
    groups = group_column(column, cells, most_slices(column))
    names = groups.names
    return [names[code] for code in groups.codes(cells).tolist()]


def _told_fairness(told: "Fairness") -> dict[str, Any]:
    return {
        "groups": shown({**told.rates, **told.short}),
        "gaps": [
            {
                "lower": gap.lower, "higher": gap.higher, "difference": asdict(gap.difference),
                "ratio": gap.ratio and asdict(gap.ratio),
            }
            for gap in told.gaps[:MOST_GAPS]
        ],
    }  # fmt: skip


def losses_of(signature: Signature, rows: Latest) -> NDArray[np.float64]:
    """How wrong each labelled row's answer was: 1 for a wrong class, the size of an error; NaN where it can't be told."""
    if has_labels(signature):
        pairs = zip(rows.actual, rows.predicted, strict=True)
        return np.array([float(as_text(actual) != as_text(answer)) for actual, answer in pairs])
    with np.errstate(over="ignore"):
        return np.abs(numbers(rows.predicted) - numbers(rows.actual))


def known_losses(signature: Signature, rows: Latest) -> tuple[Latest, NDArray[np.float64]]:
    """The rows whose loss can be told and is not beyond all measure, and these losses."""
    losses = losses_of(signature, rows)
    places = np.flatnonzero(losses <= MOST_LOSS)
    return rows.pick(places.tolist()), losses[places]


def group_inputs(signature: Signature, rows: Latest) -> list[Groups]:
    """The groups of every input, and of the answers of a regression, made from the rows that the others are held against."""
    most = max(2, min(CAUSE_GROUPS, MOST_GROUPS_OF_ALL // (len(signature.inputs) + 1)))
    features = rows.features or ()
    groups = [group_column(column, column_of(features, i), most) for i, column in enumerate(signature.inputs)]
    return groups if has_labels(signature) else [*groups, group_numbers(rows.predicted, most)]


def code_rows(signature: Signature, groups: Sequence[Groups], rows: Latest) -> list[NDArray[np.intp]]:
    """The group of each row, input by input, as `group_inputs` made them."""
    features, inputs = rows.features or (), len(signature.inputs)
    codes = [each.codes(column_of(features, i)) for i, each in enumerate(groups[:inputs])]
    return codes if len(groups) == inputs else [*codes, groups[inputs].codes(rows.predicted)]


def tell_causes(signature: Signature, before: Latest, now: Latest, alpha: float) -> dict[str, Any]:
    """Which inputs account for the change of the mean loss since earlier labelled rows, the one that surely did most first."""
    from app.stats.causes import rank_causes, sum_losses  # noqa: PLC0415 - and SciPy with it
    from app.stats.intervals import require  # noqa: PLC0415

    was, losses_before = known_losses(signature, before)
    is_, losses_now = known_losses(signature, now)
    told: dict[str, Any] = {"labelled_before": len(was), "labelled_now": len(is_), "features": []}
    try:
        require("labelled rows before the window", len(was), len(was))
        require("labelled rows", len(is_), len(is_))
    except ValueError as lack:
        return told | {"insufficient_data": str(lack)}
    groups = group_inputs(signature, was)[: len(signature.inputs)]
    sides: list[Mapping[str, Any]] = [
        {
            name: sum_losses(codes, losses, each.size)
            for name, each, codes in zip(
                signature.names, groups, code_rows(signature, groups, rows), strict=True
            )
        }
        for rows, losses in ((was, losses_before), (is_, losses_now))
    ]
    causes = rank_causes(sides[0], sides[1], alpha / len(signature.names))
    change = float(losses_now.mean() - losses_before.mean())
    return told | {"change_of_loss": change, "features": [asdict(cause) for cause in causes[:MOST_CAUSES]]}
