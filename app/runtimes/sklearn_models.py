"""scikit-learn models: read from skops under a fixed allow-list, scored by the quickest way that is still theirs."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from app.runtimes.errors import BrokenArtifact, UnsafeArtifact
from app.runtimes.frames import to_frame
from app.runtimes.one_walk import walk_at_once
from app.runtimes.parts import forget_names, needs_names, parts_of, run_in_one_thread, takes_text
from app.runtimes.rows import Rows
from app.runtimes.schema import Column, ColumnType, Label, Signature, Task, tensor_columns
from app.runtimes.scores import Model, Scores
from app.runtimes.structure import check_sklearn
from app.runtimes.traits import Traits, float_columns, json_safe, plain, single_column

TRUSTED = (
    # Plain data.
    "numpy.dtype",
    "sklearn.utils._bunch.Bunch",
    # Pure Python holders of fitted arrays and settings.
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    # How histogram gradient boosting stores its encoder: safe because the function that a partial wraps must be
    # trusted by itself.
    "functools.partial",
    "sklearn.utils.validation.check_array",
    # Arrays of indices that C code follows unchecked: trusted because `app.runtimes.structure` checks each of them.
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)

# Classifiers whose `predict` is by its definition the class of the largest `predict_proba`: one pass gives both.
ARGMAX_CLASSIFIERS = frozenset(
    {
        "LogisticRegression", "LogisticRegressionCV", "RandomForestClassifier", "ExtraTreesClassifier",
        "DecisionTreeClassifier", "ExtraTreeClassifier", "GradientBoostingClassifier",
        "HistGradientBoostingClassifier", "GaussianNB", "MultinomialNB", "BernoulliNB", "ComplementNB",
        "CategoricalNB", "LinearDiscriminantAnalysis", "QuadraticDiscriminantAnalysis", "MLPClassifier",
        "CalibratedClassifierCV", "BaggingClassifier", "KNeighborsClassifier",
    }
)  # fmt: skip


def load_skops(path: Path) -> "SklearnModel":
    """The model in a skops file.

    Raises:
        UnsafeArtifact: it holds a type that is not on the fixed allow-list.
        BrokenArtifact: it can't be read.
    """
    import skops.io  # noqa: PLC0415 - and scikit-learn with it: seconds and 100 MB
    from skops.io.exceptions import UntrustedTypesFoundException  # noqa: PLC0415

    try:
        estimator = skops.io.load(path, trusted=list(TRUSTED))
    except UntrustedTypesFoundException as error:
        raise UnsafeArtifact(
            f"{path.name} holds types that are not allowed: {str(error)[:500]}",
            "Use scikit-learn's own estimators, or export the model to ONNX.",
        ) from error
    return SklearnModel(estimator)


class SklearnModel:
    """A fitted scikit-learn estimator; serving one changes it, so it is read once for each use."""

    def __init__(self, estimator: Any) -> None:
        from sklearn.base import BaseEstimator  # noqa: PLC0415

        if not isinstance(estimator, BaseEstimator):
            raise BrokenArtifact(f"the file holds a {type(estimator).__name__}, not a scikit-learn estimator")
        self.estimator = estimator
        self.final = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
        self.parameters = {name: json_safe(value) for name, value in estimator.get_params().items()}
        run_in_one_thread(estimator)

    def traits(self) -> Traits:
        """What the estimator tells of itself."""
        columns, has_names = self._columns()
        importances = getattr(self.final, "feature_importances_", None)
        fits = importances is not None and columns is not None and len(importances) == len(columns)
        return Traits(
            framework="scikit-learn",
            algorithm=type(self.final).__name__,
            columns=columns,
            has_names=has_names,
            task=self._task(),
            classes=classes_of(self.estimator),
            parameters=self.parameters,
            importances=tuple(map(float, importances)) if fits and importances is not None else None,
        )

    def _task(self) -> Task:
        from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor  # noqa: PLC0415

        kinds = {
            Task.CLASSIFICATION: is_classifier,
            Task.REGRESSION: is_regressor,
            Task.ANOMALY: is_outlier_detector,
            Task.CLUSTERING: is_clusterer,
        }
        if hasattr(self.estimator, "predict"):
            return next((task for task, is_kind in kinds.items() if is_kind(self.estimator)), Task.REGRESSION)
        if hasattr(self.estimator, "transform"):
            return Task.TRANSFORM
        raise BrokenArtifact(f"{type(self.final).__name__} can neither predict nor transform")

    def _columns(self) -> tuple[tuple[Column, ...] | None, bool]:
        if takes_text(self.estimator):
            return (Column("text", ColumnType.STRING),), False
        nullable = bool(self.estimator.__sklearn_tags__().input_tags.allow_nan)
        names = getattr(self.estimator, "feature_names_in_", None)
        if names is not None:
            columns = float_columns(list(map(str, names)), nullable=nullable)
            return _with_text(self.estimator, columns), True
        count = getattr(self.estimator, "n_features_in_", None)
        return None if count is None else tensor_columns(int(count), nullable=nullable), False

    def check_structure(self) -> None:
        """Check the trees and support vectors inside."""
        check_sklearn(self.estimator)

    def own_answers(self, frame: Any) -> list[Any]:
        """What the estimator answers to a data frame before anything was changed for serving."""
        table = frame.iloc[:, 0] if takes_text(self.estimator) else frame
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a sample has names even where the training data had none
            return plain(_dense(_answer_of(self.estimator)(table)))

    def serve(self, signature: Signature, *, labels_from_probabilities: bool = False) -> Model:
        """The estimator behind the quickest table that it takes, its boosters in one walk over their trees."""
        if not takes_text(self.estimator) and signature.is_numeric and not needs_names(self.estimator):
            forget_names(self.estimator)
        walk_at_once(self.estimator)
        return _Served(self.estimator, signature, argmax=labels_from_probabilities and self.may_take_argmax())

    def may_take_argmax(self) -> bool:
        """Whether the final classifier defines its label as the likeliest class."""
        return type(self.final).__name__ in ARGMAX_CLASSIFIERS


def classes_of(estimator: Any) -> tuple[Label, ...] | None:
    """The labels of a classifier with one output; None for anything else."""
    classes = getattr(estimator, "classes_", None)
    return tuple(classes.tolist()) if isinstance(classes, np.ndarray) and classes.ndim == 1 else None


def _with_text(estimator: Any, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Columns that an encoder learned as text are text, with the values that it learned."""
    learned: dict[str, tuple[str, ...]] = {}
    for part in parts_of(estimator):
        if type(part).__name__ != "ColumnTransformer":
            continue
        for _, transformer, spec in part.transformers_:
            learned |= _text_categories(transformer, _names_of(spec, getattr(part, "feature_names_in_", ())))
    return tuple(
        Column(c.name, ColumnType.STRING, nullable=False, categories=learned[c.name])
        if c.name in learned
        else c
        for c in columns
    )


def _names_of(spec: Any, names: Any) -> list[str]:
    if isinstance(spec, np.ndarray) and spec.dtype == bool and len(spec) == len(names):
        return list(map(str, names[spec]))
    return [name for name in spec if isinstance(name, str)] if isinstance(spec, list) else []


def _text_categories(transformer: Any, names: list[str]) -> dict[str, tuple[str, ...]]:
    steps = [step for _, step in transformer.steps] if hasattr(transformer, "steps") else [transformer]
    categories: Any = next((step.categories_ for step in steps if hasattr(step, "categories_")), [])
    return {
        name: tuple(value for value in values.tolist() if isinstance(value, str))
        for name, values in zip(names, categories, strict=False)
        if values.dtype.kind in "OU"
    }


class _Served:
    def __init__(self, estimator: Any, signature: Signature, *, argmax: bool) -> None:
        self._estimator = estimator
        self._signature = signature
        self._takes_text = takes_text(estimator)
        self._takes_matrix = signature.is_numeric and not self._takes_text and not needs_names(estimator)
        self._answer = _answer_of(estimator)
        self._classes = classes_of(estimator)
        self._probabilities = getattr(estimator, "predict_proba", None) if self._classes else None
        self._argmax = argmax

    def score(self, rows: Rows) -> Scores:
        table = self._table(rows)
        if self._probabilities is None or self._classes is None:
            return Scores(plain(_dense(self._answer(table))))
        probabilities = np.asarray(self._probabilities(table), dtype=np.float64)
        if self._argmax:
            labels = [self._classes[i] for i in probabilities.argmax(axis=1).tolist()]
        else:
            labels = plain(self._answer(table))
        return Scores(labels, probabilities, self._classes)

    def _table(self, rows: Rows) -> Any:
        if self._takes_matrix:
            return rows.matrix
        if self._takes_text:
            return [row[0] for row in rows.values]
        return to_frame(rows, self._signature)


def _answer_of(estimator: Any) -> Any:
    return estimator.predict if hasattr(estimator, "predict") else estimator.transform


def _dense(answers: Any) -> Any:
    return single_column(np.asarray(answers.toarray() if hasattr(answers, "toarray") else answers))


def load_pickle(path: Path) -> SklearnModel:
    """The model in a pickle, which the operator allowed by name: loading one can run any code."""
    import joblib  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SklearnModel(joblib.load(path))
