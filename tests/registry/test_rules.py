"""R2, R3, R8: names, references, stages and version numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.registry.rules import (
    MOVES,
    Reference,
    Semantic,
    Stage,
    alias_problem,
    first_free,
    is_model_name,
    may_move,
    nearest_name,
    next_semantic,
    parse_reference,
    twin_key,
)

semantics = st.builds(Semantic, *(st.integers(0, 99),) * 3)


@given(st.text(max_size=200))
def test_the_nearest_name_is_always_legal(text):
    assert is_model_name(nearest_name(text))


@given(st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9._ -]{0,126}[A-Za-z0-9._-])?", fullmatch=True))
def test_a_legal_name_is_its_own_nearest_name_unless_a_route_has_taken_it(name):
    if is_model_name(name):
        assert parse_reference(name) == Reference(name)


@pytest.mark.parametrize(
    "name", ["", " a", "a ", "a/b", "a:b", "a@b", "é", "a" * 129, "compare", "Register", "a\n", "-a"]
)
def test_names_that_would_break_a_reference_or_a_path_are_refused(name):
    assert not is_model_name(name)


@pytest.mark.parametrize("text", ["m", "m:3", "m:2.1.0", "m@champion", "a b.c-d_e:1"])
def test_a_reference_reads_back_as_it_was_written(text):
    assert str(parse_reference(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "m:",
        "m:0",
        "m:-1",
        "m:1.2",
        "m:01.2.3",
        "m@",
        "m@a b",
        "m@latest",
        "m@v3",
        "m:1@x",
        "m:99999999999999999999",
    ],
)
def test_a_text_that_is_no_reference_is_refused_with_a_reason(text):
    with pytest.raises(ValueError, match=r"can't be|is no version"):
        parse_reference(text)


@pytest.mark.parametrize("alias", ["latest", "LATEST", "v1", "V22", "", "a.b", "a" * 256, "né"])
def test_aliases_that_look_like_versions_or_break_paths_are_refused(alias):
    assert alias_problem(alias)


def test_twins_in_case_and_composition_share_a_key():
    assert twin_key("Fraud") == twin_key("fraud") == twin_key("ＦＲＡＵＤ")


@pytest.mark.parametrize("origin", Stage)
@pytest.mark.parametrize("goal", Stage)
def test_force_only_opens_the_way_from_validation_to_production(origin, goal):
    opened = may_move(origin, goal, force=True) and not may_move(origin, goal)
    assert opened == ((origin, goal) == (Stage.VALIDATION, Stage.PRODUCTION))


def test_production_is_only_left_for_deprecated():
    assert MOVES[Stage.PRODUCTION] == {Stage.DEPRECATED}


@given(semantics, st.booleans(), st.booleans())
def test_the_next_semantic_version_is_larger(previous, breaks, changed):
    following = next_semantic(previous, schema_breaks=breaks, recipe_changed=changed)
    assert (following.major, following.minor, following.patch) > (
        previous.major,
        previous.minor,
        previous.patch,
    )
    assert (following.major > previous.major) == breaks


@given(semantics, st.sets(semantics, max_size=20))
def test_a_used_semantic_version_is_never_given_again(wanted, taken):
    assert first_free(wanted, taken) not in taken
