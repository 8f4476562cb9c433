"""M12: the judgement: when an incident opens, lasts and resolves; no path of it untried."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.alerts.rules import (
    DEFAULTS,
    LONGEST_PAUSE_SECONDS,
    MEANINGS,
    TOLD_BY_FACTS,
    Comparison,
    Policy,
    RuleTerms,
    Severity,
    Signal,
    Standing,
    Step,
    close,
    judge,
    look_seconds,
    pause_seconds,
    subject_of,
    why_never,
)

AT = datetime(2026, 3, 1, tzinfo=UTC)
ABOVE = Policy(Comparison.ABOVE, 0.1, consecutive=2, cooldown_seconds=600)


def steps(policy, *values, standing=None, every_seconds=60):
    standing, taken = standing or Standing(), []
    for place, value in enumerate(values):
        standing, step = judge(standing, policy, value, AT + timedelta(seconds=place * every_seconds))
        taken.append(step)
    return taken


def test_an_incident_opens_after_as_many_breaches_in_a_row_as_the_rule_says():
    assert steps(ABOVE, 0.2, 0.2, 0.3) == [Step.WAIT, Step.OPEN, Step.UPDATE]


def test_a_value_that_is_well_between_them_starts_the_count_again():
    assert steps(ABOVE, 0.2, 0.1, 0.2, 0.2) == [Step.WAIT, Step.WAIT, Step.WAIT, Step.OPEN]


def test_an_incident_resolves_after_as_many_good_values_in_a_row():
    values = [0.2, 0.2, 0.0, 0.2, 0.0, 0.0]
    expected = [Step.WAIT, Step.OPEN, Step.WAIT, Step.UPDATE, Step.WAIT, Step.RESOLVE]
    assert steps(ABOVE, *values) == expected


def test_no_other_opens_while_the_rule_cools_down_and_one_does_afterwards():
    cooling = close(AT)
    assert steps(ABOVE, *[0.2] * 12, standing=cooling) == [Step.WAIT] * 10 + [Step.OPEN, Step.UPDATE]


def test_a_clock_that_was_put_back_does_not_keep_incidents_from_opening():
    standing = close(AT + timedelta(days=365))
    assert steps(ABOVE, 0.2, 0.2, standing=standing) == [Step.WAIT, Step.OPEN]


def test_the_threshold_itself_is_well_on_both_sides():
    below = Policy(Comparison.BELOW, 0.8, 1, 0)
    assert not ABOVE.is_breached_by(0.1)
    assert not below.is_breached_by(0.8)
    assert below.is_breached_by(0.79)
    assert (ABOVE.worse_of(1, 2), below.worse_of(1, 2)) == (2, 1)


def test_what_is_not_a_number_is_not_judged():
    with pytest.raises(ValueError, match="not a number"):
        judge(Standing(), ABOVE, math.nan, AT)


def test_infinity_is_unwell():
    assert ABOVE.is_breached_by(math.inf)


class Judged(RuleBasedStateMachine):
    """Whatever values come, at whatever times: at most one incident is open, and the counts are kept."""

    @initialize(
        consecutive=st.integers(1, 4),
        cooldown=st.sampled_from([0, 60, 600]),
        comparison=st.sampled_from(Comparison),
    )
    def begin(self, consecutive, cooldown, comparison):
        self.policy = Policy(comparison, 0.0, consecutive, cooldown)
        self.standing, self.at = Standing(), AT
        self.recent, self.is_open, self.resolved_at = [], False, None

    @rule(value=st.sampled_from([-1.0, 0.0, 1.0]), pause=st.integers(0, 700))
    def see(self, value, pause):
        self.at += timedelta(seconds=pause)
        self.standing, step = judge(self.standing, self.policy, value, self.at)
        self.recent.append(self.policy.is_breached_by(value))
        in_a_row = self.recent[-self.policy.consecutive :]
        is_full = len(in_a_row) == self.policy.consecutive
        assert (step is Step.OPEN) == (
            not self.is_open and is_full and all(in_a_row) and not self.is_cooling()
        )
        assert (step is Step.RESOLVE) == (self.is_open and is_full and not any(in_a_row))
        assert (step is Step.UPDATE) == (self.is_open and self.recent[-1])
        self.follow(step)

    @rule()
    def somebody_resolves(self):
        if self.is_open:
            self.standing = close(self.at)
            self.follow(Step.RESOLVE)

    def follow(self, step):
        if step is Step.OPEN:
            self.is_open = True
        if step is Step.RESOLVE:
            self.is_open, self.resolved_at, self.recent = False, self.at, []

    def is_cooling(self):
        return self.resolved_at is not None and (
            self.at - self.resolved_at < timedelta(seconds=self.policy.cooldown_seconds)
        )

    @invariant()
    def the_standing_says_the_same(self):
        if hasattr(self, "policy"):
            assert self.standing.is_open == self.is_open
            assert self.standing.resolved_at == self.resolved_at
            assert not (self.standing.breaches and self.standing.wells)


TestJudged = Judged.TestCase


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1e9))
def test_a_pause_is_never_zero_and_never_longer_than_half_an_hour(attempt, chance, asked):
    assert 0 < pause_seconds(attempt, chance, asked_seconds=asked) <= LONGEST_PAUSE_SECONDS


@given(st.integers(60, 30 * 86_400))
def test_a_window_is_looked_at_several_times_before_it_has_passed(window):
    assert 15 <= look_seconds(window) <= max(window / 4, 15)


def test_every_promised_rule_is_there_from_the_start():
    critical = {name for name, terms in DEFAULTS.items() if terms.severity is Severity.CRITICAL}
    assert critical == {"accuracy-drop", "error-rate", "pipeline-failures", "deployment-failure"}
    assert {terms.signal for terms in DEFAULTS.values()} == set(Signal)
    accuracy, latency = DEFAULTS["accuracy-drop"], DEFAULTS["latency"]
    assert (accuracy.threshold, accuracy.window_seconds) == (0.05, 3600)
    assert (latency.threshold, latency.window_seconds, latency.severity) == (1000, 300, Severity.WARNING)
    assert DEFAULTS["pipeline-failures"].consecutive == 2


def test_a_rule_about_one_model_concerns_no_other_and_a_disabled_one_none():
    terms = RuleTerms(Signal.DRIFT, 0.1, Severity.INFO, 3600, model="churn")
    assert terms.concerns("churn")
    assert not terms.concerns("other")
    assert not RuleTerms(Signal.DRIFT, 0.1, Severity.INFO, 3600, enabled=False).concerns("churn")
    assert RuleTerms(Signal.DRIFT, 0.1, Severity.INFO, 3600).concerns(None)


@pytest.mark.parametrize(
    ("subject", "body", "expected"),
    [
        ("model:churn:3", {"model": "churn"}, ("model:churn", "churn")),
        ("x", {"pipeline": "nightly", "model": "churn"}, ("pipeline:nightly", "churn")),
        ("service", {}, ("service", None)),
    ],
)
def test_a_fact_is_about_its_pipeline_or_else_its_model(subject, body, expected):
    assert subject_of(subject, body) == expected


def test_no_fact_is_both_a_failure_and_a_success():
    for told in TOLD_BY_FACTS.values():
        assert not told.failures & told.successes
        assert told.kinds == sorted(told.kinds)


def test_every_signal_that_is_read_on_the_clock_says_what_its_value_is():
    assert MEANINGS.keys() | TOLD_BY_FACTS.keys() == set(Signal)
    assert not MEANINGS.keys() & TOLD_BY_FACTS.keys()


def test_the_rules_from_the_start_can_open_and_resolve_incidents():
    assert {name: why_never(terms) for name, terms in DEFAULTS.items()} == dict.fromkeys(DEFAULTS)
