"""Loading and scoring: each format answers as the library that trained the model does (R1, D1, D12)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.runtimes.formats import Format, ModelFile, detect_format
from app.runtimes.loading import load_model, open_model
from app.runtimes.rows import Rows, parse_rows
from app.runtimes.samples import cells_of, infer_signature
from app.runtimes.schema import Column, ColumnType, Signature, Task
from app.runtimes.scores import Scores
from app.runtimes.traits import plain
from tests.runtimes.fitted import MAKERS, Fitted, fitted, mixed

OF_SKLEARN = [name for name in MAKERS if name not in ("xgboost", "lightgbm", "onnx")]


def served(one: Fitted, directory: Path, **options: Any) -> tuple[Any, Signature, Rows]:
    one.write(directory)
    file = detect_format(directory)
    signature = infer_signature(open_model(file).traits(), one.table)
    rows = parse_rows({"instances": cells_of(one.table, signature)}, signature, max_rows=10_000)
    assert rows.errors == {}
    return load_model(file, signature, **options), signature, rows


def own_table(one: Fitted) -> Any:
    if list(one.table) == ["text"]:
        return one.table["text"]
    return one.table if hasattr(one.model, "feature_names_in_") else one.table.to_numpy()


@pytest.mark.parametrize("name", OF_SKLEARN)
def test_a_served_model_answers_as_scikit_learn_does(name: str, tmp_path: Path) -> None:
    one = fitted(name)
    model, _, rows = served(one, tmp_path)
    scores = model.score(rows)
    assert scores.prediction == plain(one.model.predict(own_table(one)))
    if hasattr(one.model, "predict_proba"):
        np.testing.assert_array_equal(scores.probabilities, one.model.predict_proba(own_table(one)))
        assert scores.classes == tuple(one.model.classes_.tolist())


@pytest.mark.parametrize("name", OF_SKLEARN)
def test_scoring_a_lone_row_gives_what_the_batch_gave_and_no_warning(name: str, tmp_path: Path) -> None:
    model, _, rows = served(fitted(name), tmp_path)
    together = model.score(rows.slice(0, 20)).prediction
    alone = [model.score(rows.slice(i, i + 1)).prediction[0] for i in range(20)]
    assert alone == pytest.approx(together) if isinstance(together[0], float) else alone == together


@pytest.mark.parametrize(
    "name",
    [
        "logistic regression", "random forest", "gradient boosting", "histogram boosting", "bagged subsets",
        "one-hot pipeline", "ordinal pipeline", "native categories", "text pipeline", "nameless",
    ],
)  # fmt: skip
def test_the_label_of_the_largest_probability_is_the_models_own(name: str, tmp_path: Path) -> None:
    one = fitted(name)
    model, _, rows = served(one, tmp_path, labels_from_probabilities=True)
    assert model.score(rows).prediction == plain(one.model.predict(own_table(one)).tolist())


def test_labels_are_not_taken_from_probabilities_where_they_are_made_otherwise(tmp_path: Path) -> None:
    one = fitted("support vectors")
    model, _, rows = served(one, tmp_path, labels_from_probabilities=True)
    assert model.score(rows).prediction == one.model.predict(one.table).tolist()


def test_xgboost_answers_as_its_classifier_does(tmp_path: Path) -> None:
    one = fitted("xgboost")
    model, signature, rows = served(one, tmp_path)
    scores = model.score(rows)
    np.testing.assert_allclose(scores.probabilities, one.model.predict_proba(one.table), atol=1e-6)
    assert scores.prediction == one.model.predict(one.table).tolist()
    assert (signature.task, signature.names) == (Task.CLASSIFICATION, tuple(one.table.columns))


def test_lightgbm_answers_as_its_classifier_does(tmp_path: Path) -> None:
    one = fitted("lightgbm")
    model, signature, rows = served(one, tmp_path)
    scores = model.score(rows)
    np.testing.assert_allclose(scores.probabilities, one.model.predict_proba(one.table), atol=1e-12)
    assert scores.prediction == one.model.predict(one.table).tolist()
    assert signature.classes == (0, 1, 2)


def test_a_booster_answers_with_the_labels_of_its_signature(tmp_path: Path) -> None:
    one = fitted("xgboost")
    one.write(tmp_path)
    columns = tuple(Column(name, ColumnType.FLOAT) for name in one.table)
    signature = Signature(columns, Task.CLASSIFICATION, ColumnType.STRING, ("malignant", "benign"))
    rows = parse_rows({"instances": cells_of(one.table[:3], signature)}, signature, max_rows=10)
    assert set(load_model(detect_format(tmp_path), signature).score(rows).prediction) <= {
        "malignant",
        "benign",
    }


def test_xgboost_splits_categories_by_their_names(tmp_path: Path) -> None:
    import xgboost

    table, y = mixed()
    table = table.assign(size=table["size"].astype("category"))
    own = xgboost.XGBClassifier(n_estimators=5, enable_categorical=True, n_jobs=1).fit(table, y == "benign")
    one = Fitted(own, table, lambda model, path: model.save_model(path), "model.json")
    model, signature, rows = served(one, tmp_path)
    assert signature.inputs[3].categories == ("large", "small")
    np.testing.assert_allclose(model.score(rows).probabilities, own.predict_proba(table), atol=1e-6)


def test_onnx_answers_as_the_model_that_it_was_made_from(tmp_path: Path) -> None:
    one = fitted("onnx")
    model, signature, rows = served(one, tmp_path)
    scores = model.score(rows)
    assert signature.classes == (0, 1, 2)
    assert scores.prediction == one.model.predict(one.table.to_numpy()).tolist()
    np.testing.assert_allclose(scores.probabilities, one.model.predict_proba(one.table.to_numpy()), atol=1e-6)


def test_text_classes_of_an_onnx_file_are_found(tmp_path: Path) -> None:
    from skl2onnx import to_onnx

    one = fitted("logistic regression")
    graph = to_onnx(one.model, one.table.to_numpy(np.float32)[:1], target_opset=17)
    (tmp_path / "m.onnx").write_bytes(graph.SerializeToString())
    traits = open_model(detect_format(tmp_path)).traits()
    assert (traits.task, traits.classes, traits.algorithm) == (
        Task.CLASSIFICATION,
        ("benign", "malignant"),
        "LinearClassifier",
    )


def test_answers_that_are_no_numbers_become_null() -> None:
    assert plain(np.array([[1.0, np.nan], [np.inf, 2.0]])) == [[1.0, None], [None, 2.0]]


def test_the_answers_of_a_merged_batch_go_back_to_their_requests() -> None:
    scores = Scores(["a", "b", "a"], np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), ("a", "b"))
    first, nothing, second = scores.split([1, 0, 2])
    assert (first.prediction, nothing.prediction, second.prediction) == (["a"], [], ["b", "a"])
    assert second.confidence() == [0.8, 0.6]
    assert Scores([1.0]).confidence() is None


def test_a_pickle_is_loaded_where_the_operator_allowed_it(tmp_path: Path) -> None:
    import joblib

    one = fitted("ridge")
    joblib.dump(one.model, tmp_path / "model.pkl", compress=3)
    file = detect_format(tmp_path, allowed_unsafe=("joblib",))
    assert file == ModelFile(Format.JOBLIB, tmp_path / "model.pkl")
    assert open_model(file).traits().algorithm == "Ridge"


def test_what_a_model_tells_of_itself_is_complete(tmp_path: Path) -> None:
    fitted("random forest").write(tmp_path)
    traits = open_model(detect_format(tmp_path)).traits()
    assert (traits.framework, traits.algorithm, traits.task) == (
        "scikit-learn",
        "RandomForestClassifier",
        Task.CLASSIFICATION,
    )
    assert traits.parameters["n_estimators"] == 20
    assert traits.parameters["n_jobs"] == 2
    assert traits.importances is not None
    assert sum(traits.importances) == pytest.approx(1)


def test_text_columns_are_known_without_a_sample(tmp_path: Path) -> None:
    fitted("one-hot pipeline").write(tmp_path)
    signature = infer_signature(open_model(detect_format(tmp_path)).traits(), None)
    assert signature.inputs[3].type == ColumnType.STRING
    assert signature.inputs[3].categories == ("large", "small")
