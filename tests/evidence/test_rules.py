"""M5, S3: what may be a true answer, how versions agree on it, and what is hidden. Pure."""

import doctest
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import clock
from app.evidence import rules
from app.evidence.rules import Target, merge_targets, problem_with_age, problem_with_time, read_actual

NOW = clock.now()


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(rules).failed == 0


@pytest.mark.parametrize(
    ("actual", "target", "stored"),
    [
        (1, Target((0, 1)), 1),
        (1.0, Target((0, 1)), 1),
        (1, Target((0.0, 1.0)), 1.0),
        ("yes", Target(("no", "yes")), "yes"),
        (True, Target((False, True)), True),
        (2.5, Target(None, "float"), 2.5),
        (2, Target(None, "float"), 2),
        (2.5, Target(None, "integer"), 2.5),
        (True, Target(None, "boolean"), True),
        ("any", Target(None, "string"), "any"),
        ("any", Target(), "any"),
    ],
)
def test_a_true_answer_is_stored_as_the_model_says_it(actual, target, stored):
    read, problem = read_actual(actual, target)
    assert (read, type(read), problem) == (stored, type(stored), "")


@pytest.mark.parametrize(
    ("actual", "target"),
    [
        (True, Target((0, 1))),
        ("1", Target((0, 1))),
        (0, Target((False, True))),
        (True, Target(None, "float")),
        ("2", Target(None, "integer")),
        (1, Target(None, "boolean")),
        (1, Target(None, "string")),
        (float("nan"), Target(None, "float")),
        (float("inf"), Target(None, "float")),
        (10**400, Target(None, "float")),
        ("a\0b", Target(None, "string")),
        (None, Target()),
        ([1], Target()),
        ({}, Target()),
    ],
)
def test_what_can_not_be_true_of_the_model_is_refused(actual, target):
    read, problem = read_actual(actual, target)
    assert read is None
    assert problem.startswith("actual: ")


def test_a_refusal_names_some_of_many_classes():
    _, problem = read_actual("x", Target(tuple(f"class {i}" for i in range(100))))
    assert problem.endswith('"class 19" and 80 more')


def test_versions_without_classes_take_whatever_their_common_output_is():
    assert merge_targets([]) == Target()
    assert merge_targets([(None, "float"), (None, "float")]) == Target(None, "float")
    assert merge_targets([(None, "float"), (None, "string")]) == Target()
    assert merge_targets([(["a"], "string"), (None, "string")]) == Target(None, "string")
    assert merge_targets([([1], "integer"), ([True], "boolean")]) == Target((1, True), "integer")


def test_ages_and_times_are_taken_within_their_limits():
    assert problem_with_age(NOW - timedelta(days=90), NOW, 90) == ""
    assert "older" in problem_with_age(NOW - timedelta(days=90, seconds=1), NOW, 90)
    assert problem_with_age(NOW + timedelta(seconds=59), NOW, 90) == ""
    assert "future" in problem_with_age(NOW + timedelta(seconds=61), NOW, 90)
    assert problem_with_time(None, NOW) == ""
    assert problem_with_time(rules.EARLIEST_OBSERVATION, NOW) == ""
    assert problem_with_time(rules.EARLIEST_OBSERVATION - timedelta(seconds=1), NOW) != ""


@given(st.text())
def test_no_defused_text_begins_like_a_formula(text):
    defused = rules.defuse(text)
    assert defused.endswith(text)
    assert not defused.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_a_row_that_could_not_be_read_has_no_columns_to_show_and_its_error_is_hidden():
    assert rules.name_features(["a"], None, {"a"}) is None
    error = [{"column": None, "got": "41"}, {"column": "b", "got": "2"}]
    assert rules.mask_error(error, {"a"}) == [
        {"column": None, "got": rules.MASK},
        {"column": "b", "got": "2"},
    ]
    assert rules.mask_error(error, set()) == error
    assert rules.mask_error(None, {"a"}) is None
