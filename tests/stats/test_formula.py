"""M6: business value by a formula that anybody may write: arithmetic, and nothing that runs."""

import ast
import sys
import threading

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.stats.formula import LONGEST, NAMES, FormulaRefused, parse_formula
from app.stats.intervals import TooLittleData

COLUMNS = {
    "prediction": [1.0, 0.0, -3.0, 2.5],
    "actual": [1, 1, 0, None],
    "value": [10.0, -4.0, 0.0, np.nan],
    "confidence": [0.5, 0.0, 1.0, 0.25],
}
TEXTS = {"prediction": ["buy", "sell", None], "actual": np.array(["buy", "buy", "buy"]), "value": np.ones(3)}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("prediction + actual * 2 - 1", [2, 1, -4, None]),
        ("-prediction % 2", [1, 0, 1, 1.5]),
        ("value / confidence", [20, None, 0, None]),
        ("prediction % confidence", [0, None, 0, 0]),
        ("1 if value > 0 else -1", [1, -1, -1, None]),
        ("0 < prediction <= 1", [1, 0, 0, 0]),
        ("prediction > 0 and confidence", [1, 0, 0, 1]),
        ("not value or prediction == 1", [1, 0, 1, None]),
        ("value > 0 and False", [0, 0, 0, 0]),
        ("value > 0 or True", [1, 1, 1, 1]),
        ("abs(prediction) + sqrt(confidence * 0 + 4)", [3, 2, 5, 4.5]),
        ("min(prediction, 1, confidence)", [0.5, 0, -3, 0.25]),
        ("max(prediction, actual)", [1, 1, 0, None]),
        ("log(prediction) + exp(0)", [1, None, None, 1 + np.log(2.5)]),
        ("exp(1000 * confidence) * 0", [0, 0, None, 0]),
        ("prediction == 'buy'", [0, 0, 0, 0]),
        ("prediction != 'buy'", [1, 1, 1, 1]),
        ("True + prediction", [2, 1, -2, 3.5]),
    ],
)
def test_a_formula_is_arithmetic_row_by_row(text, values):
    worth = parse_formula(text).apply(COLUMNS)
    assert worth.values == pytest.approx(np.array(values, float), nan_ok=True)
    assert worth.undefined == values.count(None)


def test_texts_are_compared_for_equality_and_nothing_else():
    worth = parse_formula("value * 5 if prediction == actual else -1 * (prediction != 'hold')").apply(TEXTS)
    assert worth.values == pytest.approx(np.array([5, -1, np.nan]), nan_ok=True)
    for text, part in [
        ("prediction * 2", "prediction"),
        ("1 if actual else value", "actual"),
        ("prediction < 'z'", "'z'"),
    ]:
        with pytest.raises(FormulaRefused, match="a text stands") as refused:
            parse_formula(text).apply(TEXTS)
        assert refused.value.part == part


@pytest.mark.parametrize(
    ("text", "part", "reason"),
    [
        ("price * 2", "price", "the names are prediction"),
        ("value.real", "value.real", "an attribute"),
        ("value[0]", "value[0]", "an index"),
        ("open('x') + value", "open", "the functions are abs"),
        ("abs.__call__(value)", "abs.__call__", "the functions are"),
        ("(lambda: 1)() + value", "lambda: 1", "the functions are"),
        ("abs(value, value)", "abs(value, value)", "takes one number"),
        ("max(value)", "max(value)", "two or more"),
        ("max(value, 2, key=1)", "max(value, 2, key=1)", "two or more"),
        ("max(value, *value)", "*value", "Starred"),
        ("value ** 9", "value ** 9", "Pow"),
        ("value << 9", "value << 9", "LShift"),
        ("value // 2", "value // 2", "FloorDiv"),
        ("~value", "~value", "Invert"),
        ("value is 1", "value is 1", "Is "),
        ("value in (1, 2)", "value in (1, 2)", "In "),
        ("[value]", "[value]", "List"),
        ("value + (x := 2)", "x := 2", "NamedExpr"),
        ("f'{value}' == 'a'", "f'{value}'", "f-string"),
        ("value == None", "None", "constants"),
        ("value + 1j", "1j", "constants"),
        ("value == b'a'", "b'a'", "constants"),
        ("value + 'a'", "'a'", "a text"),
        ("value + " + "9" * 400, "9" * 400, "too large"),
        ("value; value", "value; value", "can't be read"),
        ("value +", "value +", "can't be read"),
        ("", "", "can't be read"),
        ("value + '\\n'", "\\", "backslash"),
        ("value\0", "value\0", "can't be read"),
        ("1 + 2", "1 + 2", "reads none"),
        ("abs(" * 60 + "value" + ")" * 60, None, "nested deeper"),
        ("-" * 480 + "value", None, ""),
        ("(" * 250 + "value" + ")" * 240, None, "can't be read"),
        ("value" + " " * LONGEST, None, "longer than"),
    ],
)
def test_a_refusal_names_the_part_that_offends(text, part, reason):
    with pytest.raises(FormulaRefused) as refused:
        parse_formula(text)
    assert part is None or refused.value.part == part
    assert reason in refused.value.reason
    assert repr(refused.value.part[:60]) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "compared"),
    [
        ("prediction == -(-7)", [(("prediction",), 7)]),
        ("actual != min(3 + 4, 0.5)", [(("actual",), 0.5)]),
        ("(1 < 2) == prediction", [(("prediction",), 1)]),
        ("prediction == 1 / 0", []),
        ("prediction == value + 1", []),
        ("prediction == (3 if value else 4)", []),
        ("(prediction if value else actual) == 7", [(("prediction", "actual"), 7)]),
        ("(prediction if value else 7) == 7", []),
        ("prediction == actual == 'yes'", [(("actual",), "yes")]),
    ],
)
def test_what_is_the_same_for_all_rows_is_known_before_any_is_read(text, compared):
    assert [(each.names, each.literal) for each in parse_formula(text).compared] == compared


def test_a_long_sum_is_not_deep():
    assert parse_formula(" + ".join(["value"] * 40)).apply(COLUMNS).values[0] == 400


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"value": [1.0]}, "reads actual"),
        ({"value": [1.0], "actual": [1.0, 2.0]}, "one length"),
        ({"value": [[1.0]], "actual": [[2.0]]}, "one length"),
        ({"value": 1.0, "actual": 2.0}, "one length"),
        ({"value": ["a", 1.0], "actual": [1, 1]}, "not both"),
        ({"value": [{}, []], "actual": [1, 1]}, "not both"),
    ],
)
def test_columns_that_can_not_be_read_are_refused(columns, problem):
    with pytest.raises(ValueError, match=problem):
        parse_formula("value - actual").apply(columns)


def test_a_number_beyond_all_floats_is_undefined():
    assert parse_formula("value + 0").apply({"value": [10**400, 1, True, np.int8(3)]}).values.tolist()[
        1:
    ] == [1, 1, 4 - 1]
    assert parse_formula("value + 0").apply({"value": [None, None]}).undefined == 2


def test_the_mean_worth_leaves_out_what_is_undefined():
    worth = parse_formula("value / actual").apply({"value": np.arange(30.0), "actual": [0] * 5 + [2] * 25})
    assert worth.undefined == 5
    mean = worth.mean(0.05)
    assert (mean.value, mean.rows) == (8.5, 25)
    assert mean.low < 8.5 < mean.high
    with pytest.raises(TooLittleData):
        parse_formula("value").apply({"value": np.ones(19)}).mean(0.05)


leaves = st.sampled_from([*NAMES, "1", "0.5", "'buy'", "True", "None", "1e308", "x", "__import__('os')"])


OPERATIONS = [*"+-*/%<>@&|.", "**", "//", "==", "!=", "<=", ">=", "<<", " and ", " or ", " is ", " in "]


def grown(inner):
    binary = st.sampled_from(OPERATIONS)
    call = st.sampled_from(
        ["abs", "min", "max", "log", "exp", "sqrt", "eval", "not ", "-", "lambda: ", "().__class__"]
    )
    return st.one_of(
        st.builds("({} {} {})".format, inner, binary, inner),
        st.builds("{}({})".format, call, inner),
        st.builds("{}({}, {})".format, call, inner, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("{}[{}]".format, inner, inner),
    )


class Told(Exception):  # noqa: N818
    """Something ran that was written in a formula."""


def shout(event, args):
    if getattr(watched, "on", False) and event in {"exec", "import", "open", "os.system", "subprocess.Popen"}:
        raise Told(event)


watched = threading.local()
sys.addaudithook(shout)  # cannot be taken away again; it listens only while a formula is tried


def tried(text):
    ast.parse("0")  # whatever Python imports for this it has now
    watched.on = True
    try:
        formula = parse_formula(text)
        return [formula.apply(columns) for columns in (COLUMNS, TEXTS | {"confidence": np.ones(3)})]
    except FormulaRefused:
        return []
    finally:
        watched.on = False


@settings(deadline=None, max_examples=400)
@given(st.one_of(st.text(max_size=60), st.recursive(leaves, grown, max_leaves=12)))
@example("__import__('os').system('true')")
@example("().__class__.__base__.__subclasses__()")
@example("\ud800")
@example("value if 1if value else 2 else 3")
@example("#")
@example("value #\n+ actual")
def test_no_text_runs_anything_or_raises_anything_but_a_refusal(text):
    for worth in tried(text):
        assert worth.undefined == np.isnan(worth.values).sum()
        assert not np.isinf(worth.values).any()
