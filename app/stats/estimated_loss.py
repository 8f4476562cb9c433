"""How large a regression's errors are while nobody has said what came true.

Direct loss estimation (NannyML, "How it works: DLE"): a second model learns the loss from the features and the
prediction on labelled rows, and is asked on those without labels. Ours adds up one term for each bin of each feature,
so that all it needs of a window is how its rows spread over the bins: what profiles hold. Of rows beyond the reference's
range it expects what it knows of the outermost bin: errors that go on growing there are underestimated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.stats.intervals import Estimate, around, require

Floats = NDArray[np.float64]

PENALTIES = tuple(float(penalty) for penalty in 4.0 ** np.arange(-1, 8))
PRIOR_SHIFT = 0.25  # of the mean loss: how far it is expected to move on rows that look the same
LEAST_PER_TERM = 2


@dataclass(frozen=True, eq=False)
class LossModel:
    """The expected loss of a row: the mean plus a term for its bin in each feature.

    Attributes:
        sizes: how many bins each feature has.
        shares: the shares of the reference's rows in all bins, one feature after the other, shape (bins,).
        mean: the reference's mean loss.
        terms: shape (bins,); their mean over the reference is 0 in each feature.
        covariance: of the terms, shape (bins, bins).
        spread: standard deviation of the loss around what is expected.
        rows: of the reference.
        shift: by how much labels that arrived later moved it; `shift_error` is its standard error.
    """

    sizes: tuple[int, ...]
    shares: Floats
    mean: float
    terms: Floats
    covariance: Floats
    spread: float
    rows: int
    shift: float = 0.0
    shift_error: float = 0.0

    def expected(self, codes: ArrayLike) -> Floats:
        """The expected loss of each row, shape (rows,), of bins in shape (rows, features)."""
        places = _places(codes, self.sizes)
        expected: Floats = self.mean + self.shift + self.terms[places].sum(axis=1)
        return expected


def fit_loss(codes: ArrayLike, losses: ArrayLike, sizes: Sequence[int]) -> LossModel:
    """Learn the loss by ridge regression on bins, the penalty chosen by generalised cross-validation.

    Golub, Heath and Wahba, Technometrics 21 (1979), p. 215-223. Losses scatter more where they are larger, so that each
    row's own residual says how well its terms are known (MacKinnon and White, J. Econom. 29, 1985, p. 305-325, HC1).

    Args:
        codes: the bin of each row in each feature (the prediction among them), integers from 0, shape (rows, features).
        losses: |error|, or its square, of rows that the model was not trained on; shape (rows,).
        sizes: how many bins each feature has.

    >>> generator = np.random.default_rng(1)
    >>> codes = generator.integers(0, 4, (2000, 2))
    >>> model = fit_loss(codes, 1 + codes[:, 0] + generator.random(2000), [4, 4])
    >>> (model.terms[:4].round(1) + 0.0).tolist()
    [-1.5, -0.5, 0.5, 1.5]

    Raises:
        TooLittleData: there are fewer than two rows for each bin, or than `MINIMUM`.
        ValueError: a bin doesn't exist, a loss is no finite number, or the lengths differ.
    """
    places, loss = _places(codes, sizes), _losses(losses, codes)
    bins = int(sum(sizes))
    require("labelled rows", len(loss), len(loss), max(20, LEAST_PER_TERM * bins))
    rows = len(loss)
    shares = np.bincount(places.ravel(), minlength=bins) / rows
    gram = _gram(places, np.ones(rows), shares)
    middle = float(loss.mean())
    centred = loss - middle
    target: Floats = np.bincount(places.ravel(), np.repeat(centred, places.shape[1]), minlength=bins).astype(
        np.float64
    )
    values, vectors = np.linalg.eigh(gram)
    values, along = np.maximum(values, 0.0), vectors.T @ target
    penalty = _best_penalty(values, along, float(centred @ centred), rows)
    shrunk = vectors / (values + penalty)
    terms = shrunk @ along
    left = centred - terms[places].sum(axis=1) + float(shares @ terms)
    freedom = rows - 1 - float((values / (values + penalty)).sum())
    spread = sqrt(float(left @ left) / freedom)
    solve = shrunk @ vectors.T
    covariance = solve @ _gram(places, left**2 * rows / freedom, shares) @ solve.T
    return LossModel(tuple(sizes), shares, middle, _centred(terms, shares, sizes), covariance, spread, rows)


def _gram(places: NDArray[np.intp], weights: Floats, shares: Floats) -> Floats:
    """The weight of the rows that share each pair of bins, once the bins' shares are taken off."""
    bins = len(shares)
    gram: Floats = np.zeros((bins, bins))
    for column in places.T:
        pairs = (column[:, np.newaxis] * bins + places).ravel()
        each = np.repeat(weights, places.shape[1])
        gram += np.bincount(pairs, each, minlength=bins * bins).reshape(bins, bins)
    crossed = np.outer(
        np.bincount(places.ravel(), np.repeat(weights, places.shape[1]), minlength=bins), shares
    )
    gram += float(weights.sum()) * np.outer(shares, shares) - crossed - crossed.T
    return gram


def _best_penalty(values: Floats, along: Floats, total: float, rows: int) -> float:
    def score(penalty: float) -> float:
        kept = values / (values + penalty)
        explained = float(
            (along**2 * (2 * kept - kept**2) / np.where(values > 0, values, 1.0))[values > 1e-9].sum()
        )
        return (total - explained) / (rows - 1 - float(kept.sum())) ** 2

    return min(PENALTIES, key=score)


def _centred(terms: Floats, shares: Floats, sizes: Sequence[int]) -> Floats:
    starts = np.append(0, np.cumsum(sizes)[:-1])
    means = np.add.reduceat(terms * shares, starts)
    centred: Floats = terms - np.repeat(means, sizes)
    return centred


def shares_of(codes: ArrayLike, sizes: Sequence[int]) -> Floats:
    """The shares of rows in all bins, one feature after the other.

    >>> shares_of([[0, 1], [1, 1]], [2, 3]).tolist()
    [0.5, 0.5, 0.0, 1.0, 0.0]

    Raises:
        ValueError: a bin doesn't exist, or there are no rows.
    """
    places = _places(codes, sizes)
    if not len(places):
        raise ValueError("no rows, no shares")
    shares: Floats = np.bincount(places.ravel(), minlength=int(sum(sizes))) / len(places)
    return shares


def expected_loss(model: LossModel, shares: ArrayLike, rows: int, alpha: float) -> Estimate:
    """The mean loss that the window's labels will show; never below 0.

    Args:
        model: learnt on the reference.
        shares: of the window's rows in all bins, shape (bins,).
        rows: how many rows the window has.
        alpha: the share of times that the interval may miss: by chance in the outcomes, by terms not known better, by what
            a correction by labels left open.

    >>> model = fit_loss([[0], [1]] * 100, [1.0, 3.0] * 100, [2])
    >>> round(expected_loss(model, [0.25, 0.75], 1000, 0.05).value, 2)
    2.5

    Raises:
        TooLittleData: there are fewer than `MINIMUM` rows.
        ValueError: the shares don't fit the bins.
    """
    moved = _moved(model, shares)
    require("rows", rows, rows)
    value = max(0.0, model.mean + model.shift + float(moved @ model.terms))
    wider = (
        max(1.0, value / model.mean) if model.mean > 0 else 1.0
    )  # larger errors scatter more, in proportion
    variance = model.spread**2 * (wider**2 / rows + 1 / model.rows) + wider * float(
        moved @ model.covariance @ moved
    )
    return around(value, sqrt(variance + model.shift_error**2), rows, alpha, bounds=(0.0, np.inf))


def contributions(model: LossModel, shares: ArrayLike) -> Floats:
    """How much of the change in expected loss each feature's drift accounts for, shape (features,).

    They add up to the whole change, and features that move together share what they do instead of counting it twice.

    >>> model = fit_loss([[0], [1]] * 100, [1.0, 3.0] * 100, [2])
    >>> contributions(model, [0.25, 0.75]).round(2).tolist()
    [0.5]
    """
    parts: Floats = np.add.reduceat(
        _moved(model, shares) * model.terms, np.append(0, np.cumsum(model.sizes)[:-1])
    )
    return parts


def _moved(model: LossModel, shares: ArrayLike) -> Floats:
    """By how much each bin's share has grown."""
    now = np.asarray(shares, np.float64)
    if now.shape != model.shares.shape:
        raise ValueError(f"shares of shape {now.shape} for a model of {len(model.shares)} bins")
    return now - model.shares


def correct_loss(model: LossModel, codes: ArrayLike, losses: ArrayLike) -> LossModel:
    """The model moved by the labels that have arrived for some rows of the window, shrunk by how few they are.

    >>> model = fit_loss([[0], [1]] * 100, [1.0, 3.0] * 100, [2])
    >>> corrected = correct_loss(replace(model, spread=1.0), [[0]] * 4, [2.0] * 4)
    >>> round(corrected.shift, 2)
    0.5

    Raises:
        ValueError: a bin doesn't exist, a loss is no finite number, or the lengths differ.
    """
    loss = _losses(losses, codes)
    if not len(loss):
        return model
    gap = float((loss - model.expected(codes)).mean())
    prior, noise = (PRIOR_SHIFT * model.mean) ** 2, model.spread**2 / len(loss)
    trust = prior / (prior + noise) if prior else 1.0
    return replace(model, shift=model.shift + trust * gap, shift_error=trust * sqrt(noise))


def _places(codes: ArrayLike, sizes: Sequence[int]) -> NDArray[np.intp]:
    """Where each row's bins stand among those of all features."""
    matrix = np.asarray(codes, np.intp).reshape(-1, len(sizes))
    if ((matrix < 0) | (matrix >= np.array(sizes))).any():
        raise ValueError("a row is in a bin that its feature doesn't have")
    places: NDArray[np.intp] = matrix + np.append(0, np.cumsum(sizes)[:-1])
    return places


def _losses(losses: ArrayLike, codes: ArrayLike) -> Floats:
    values = np.asarray(losses, np.float64)
    if len(values) != len(np.asarray(codes)) or not np.isfinite(values).all():
        raise ValueError("a finite loss for each row is needed")
    return values
