"""The durable work of alerts: looks at signals, facts to be judged, messages to be sent."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.actions import forget_look, note_look
from app.alerts.deliveries import DELIVER, QUEUE, TELL, Failure, begin_attempt, settle_attempt, tell_opening
from app.alerts.egress import NotDeliveredError
from app.alerts.errors import AlertRuleNotFound, ChannelNotFound
from app.alerts.judging import catch_up_with_facts, is_idle, lock_standing
from app.alerts.leaving import Underway, end_what_left, none_underway
from app.alerts.looks import catch_up_unwell, judge_values, read_values
from app.alerts.queries import (
    find_open_incident,
    find_standing,
    get_channel,
    list_due_rules,
    list_held_back,
    list_rules_over,
    list_rules_unwell_about,
    lock_rule,
)
from app.alerts.rules import JUDGED, TOLD_BY_FACTS, Signal, Told, subject_of
from app.alerts.sealing import Vault, open_vault
from app.alerts.senders import Letter, Post
from app.alerts.signals import FROM_THE_LOG, Namer, Reader
from app.alerts.tables import Delivery
from app.artifacts.encryption import TamperedError, UnknownKeyError
from app.core import clock
from app.core.config import Settings
from app.core.database import Database
from app.core.facts import get_fact, read_head
from app.core.jobs import WORKER, Claim, Handler, JobState, TryAgain, enqueue, find_latest_job

log = structlog.get_logger()
LOOK, JUDGE, LEFT = "look at signal", "judge fact", "end what left production"
PROMPTED = "look because of a fact"
LOOKED_AT_SECONDS = 1.0
"""How soon a look that is under way is over: what it read may be from before the fact."""
TICK_SECONDS = 15
REACTIONS: Mapping[str, tuple[str, ...]] = dict.fromkeys(sorted(JUDGED), (JUDGE,))
"""What follows from facts in this room."""

__all__ = ["LEFT", "PROMPTED", "QUEUE", "REACTIONS", "TICK_SECONDS", "job_handlers", "queue_looks"]


def job_handlers(
    settings: Settings,
    readers: Mapping[Signal, Reader] = FROM_THE_LOG,
    namers: Mapping[Signal, Namer] | None = None,
    underway: Underway = none_underway,
    prompts: Mapping[str, Signal] | None = None,
) -> Mapping[str, Handler]:
    """The kinds of job that this room does.

    Args:
        settings: whom to tell, and how.
        readers: those of every signal that is read on the clock.
        namers: those of signals whose causes somebody knows.
        underway: tells of which models a version is on its way to production.
        prompts: the signals that are worth a look before their time, by the facts that tell so.
    """
    post, vault = Post.configured(settings), open_vault(settings)
    return {
        LOOK: partial(_look, readers, namers or {}, underway),
        PROMPTED: partial(_look_because, prompts or {}),
        JUDGE: _judge_fact,
        LEFT: partial(_end_what_left, underway),
        TELL: _tell_what_was_silenced,
        DELIVER: partial(_deliver, post, vault),
    }


async def queue_looks(database: Database) -> None:
    """Queue a look for every rule that is due one, and word of what no silence holds back any more; neither twice."""
    async with database.writes(WORKER) as session:
        for rule in await list_due_rules(session):
            await _queue_look(session, rule.name)
        if await list_held_back(session):
            await enqueue(session, TELL, {}, dedupe_key=TELL, queue=QUEUE)


async def _queue_look(session: AsyncSession, rule: str) -> bool:
    """Queue a look of a rule; whether one that has not begun yet is queued now."""
    key = f"{LOOK}:{rule}"
    if await enqueue(session, LOOK, {"rule": rule}, dedupe_key=key, queue=QUEUE) is not None:
        return True
    latest = await find_latest_job(session, key)
    return latest is not None and latest.state is JobState.QUEUED


async def _look_because(prompts: Mapping[str, Signal], claim: Claim) -> None:
    """Have rules look now, because a fact tells that their signal has just changed; many facts, one look.

    A rule that wants several values in a row keeps to the clock: values a moment apart would make no row.
    """
    async with claim.database.reads() as reading:
        fact = await get_fact(reading, UUID(claim.payload["fact_id"]))
        rules = await list_rules_over(reading, [prompts[fact.kind]])
    told = [rule.name for rule in rules if rule.consecutive == 1 and rule.terms.concerns(fact.body["model"])]
    if not all([await _hurry(claim.database, name) for name in told]):
        raise TryAgain(LOOKED_AT_SECONDS, "a look that began before the fact is under way")


async def _hurry(database: Database, rule: str) -> bool:
    async with database.writes(WORKER) as session:
        await forget_look(session, rule)
        return await _queue_look(session, rule)


async def _look(
    readers: Mapping[Signal, Reader], namers: Mapping[Signal, Namer], underway: Underway, claim: Claim
) -> None:
    """Look at a rule's signal over its window, and judge what was seen of each subject."""
    name, until = claim.payload["rule"], clock.now()
    async with claim.database.reads() as reading:
        due = {rule.name: rule for rule in await list_due_rules(reading)}
        if name not in due:
            return  # somebody looked, disabled or deleted it meanwhile
        seen = await read_values(reading, readers, due[name], until)
    with suppress(AlertRuleNotFound):
        async with claim.database.writes(WORKER) as session:
            rule = await lock_rule(session, name)
            await judge_values(session, rule, seen, until, namers.get(Signal(rule.signal)))
            await catch_up_unwell(session, rule)
            await end_what_left(session, rule, underway)
            await note_look(session, name)


async def _tell_what_was_silenced(claim: Claim) -> None:
    """Tell the openings that a silence held back until now."""
    async with claim.database.reads() as reading:
        held_back = await list_held_back(reading)
    for found in held_back:
        with suppress(AlertRuleNotFound):  # which ended them
            async with claim.database.writes(WORKER) as session:
                rule = await lock_rule(session, found.rule, shared=True)
                incident = await find_open_incident(session, found.fingerprint)
                if incident is not None:
                    await tell_opening(session, incident, rule)


async def _end_what_left(underway: Underway, claim: Claim) -> None:
    """Resolve the incidents of a model of which a fact tells that it may have left production."""
    async with claim.database.reads() as reading:
        fact = await get_fact(reading, UUID(claim.payload["fact_id"]))
        names = await list_rules_unwell_about(reading, fact.body["model"])
    for name in names:
        with suppress(AlertRuleNotFound):  # which ended them
            async with claim.database.writes(WORKER) as session:
                await end_what_left(session, await lock_rule(session, name, shared=True), underway)


async def _judge_fact(claim: Claim) -> None:
    """Judge a fact under every rule that it concerns, each in a transaction of its own."""
    async with claim.database.reads() as reading:
        fact = await get_fact(reading, UUID(claim.payload["fact_id"]))
        subject, model = subject_of(fact.subject, fact.body)
        signals = [signal for signal, told in TOLD_BY_FACTS.items() if fact.kind in told.kinds]
        rules = await list_rules_over(reading, signals)
    assert fact.sequence is not None, "reactions follow sealed facts"
    for rule in rules:
        if rule.terms.concerns(model):
            told = TOLD_BY_FACTS[Signal(rule.signal)]
            judge_it = _judge_failure if fact.kind in told.failures else _judge_success
            await judge_it(claim.database, rule.name, subject, told, fact.sequence)


async def _judge_failure(database: Database, name: str, subject: str, told: Told, sequence: int) -> None:
    """Judge a failure, and what is known to have followed: the jobs of facts don't keep to their order."""
    with suppress(AlertRuleNotFound):  # then there is nothing to judge it by
        async with database.writes(WORKER) as session:
            rule = await lock_rule(session, name, shared=True)
            row = await lock_standing(session, name, subject, judged=sequence - 1)
            upto, _ = await read_head(session)
            await catch_up_with_facts(session, rule, row, told, upto)


async def _judge_success(database: Database, name: str, subject: str, told: Told, sequence: int) -> None:
    """Judge a success of a subject that is unwell; of those that always were well, nothing is kept."""
    with suppress(AlertRuleNotFound):
        async with database.writes(WORKER) as session:
            rule = await lock_rule(session, name)  # alone: one who judges a failure now may make it unwell
            known = await find_standing(session, name, subject)
            if known is not None and not is_idle(known.standing):
                row = await lock_standing(session, name, subject)
                await catch_up_with_facts(session, rule, row, told, sequence)


async def _deliver(post: Post, vault: Vault, claim: Claim) -> None:
    """Make one attempt at a delivery, and come back for the next when it failed."""
    delivery_id = UUID(claim.payload["delivery_id"])
    async with claim.database.writes(WORKER) as session:
        delivery = await begin_attempt(session, delivery_id)
    if delivery is None:
        return
    failure = await _try_to_send(post, vault, claim.database, delivery)
    async with claim.database.writes(WORKER) as session:
        pause = await settle_attempt(session, delivery_id, failure)
    if pause is not None:
        raise TryAgain(pause)


async def _try_to_send(post: Post, vault: Vault, database: Database, delivery: Delivery) -> Failure | None:
    """Why an attempt failed, or None; a defect of ours counts as a failure too, so that it shows and has an end."""
    try:
        await post.send(await _address(database, vault, delivery))
    except NotDeliveredError as error:
        return error.failure
    except DBAPIError:
        raise  # the job's own affair: it is tried again when the database is back
    except Exception as error:  # noqa: BLE001 - whatever a message makes the libraries raise
        defect = type(error).__name__  # its words may hold secrets
        log.warning("delivery_defect", delivery_id=str(delivery.id), channel=delivery.channel, error=defect)
        return Failure(f"a defect of this service: {defect}")
    return None


async def _address(database: Database, vault: Vault, delivery: Delivery) -> Letter:
    """A delivery with what its channel needs to know.

    Raises:
        NotDeliveredError: the channel is gone, or what it needs to know can't be opened.
    """
    try:
        async with database.reads() as reading:
            channel = await get_channel(reading, delivery.channel)
        particulars = vault.unseal(channel.sealed)
    except ChannelNotFound:
        raise NotDeliveredError("the channel was deleted", is_final=True) from None
    except (UnknownKeyError, TamperedError):
        raise NotDeliveredError(
            "the channel's secret can't be opened: it was sealed under another key"
        ) from None
    return Letter(str(delivery.id), channel.kind, particulars, delivery.body)
