"""What is legal in the registry: names, references, stages and version numbers. Pure."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._ -]{0,126}[A-Za-z0-9._-])?")
ALIAS = re.compile(r"[\w-]{1,255}", re.ASCII)
RESERVED_NAMES = frozenset({"compare", "register"})
SEMANTIC = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")


class Stage(StrEnum):
    """Where a version is in its life."""

    TRAINING = "training"
    VALIDATION = "validation"
    STAGING = "staging"
    PRODUCTION = "production"
    DEPRECATED = "deprecated"
    ARCHIVED = "archived"


STATUS = {
    Stage.TRAINING: "training",
    Stage.VALIDATION: "validating",
    Stage.STAGING: "staging",
    Stage.PRODUCTION: "active",
    Stage.DEPRECATED: "deprecated",
    Stage.ARCHIVED: "archived",
}
"""The word that monitoring tools use for each stage; answered beside it and accepted as a filter."""

MOVES: Mapping[Stage, frozenset[Stage]] = {
    Stage.TRAINING: frozenset({Stage.VALIDATION, Stage.ARCHIVED}),
    Stage.VALIDATION: frozenset({Stage.STAGING, Stage.ARCHIVED}),
    Stage.STAGING: frozenset({Stage.PRODUCTION, Stage.VALIDATION, Stage.ARCHIVED}),
    Stage.PRODUCTION: frozenset({Stage.DEPRECATED}),
    Stage.DEPRECATED: frozenset({Stage.PRODUCTION, Stage.ARCHIVED}),
    Stage.ARCHIVED: frozenset({Stage.VALIDATION}),
}
FORCED_MOVES: Mapping[Stage, frozenset[Stage]] = {Stage.VALIDATION: frozenset({Stage.PRODUCTION})}


def may_move(origin: Stage, goal: Stage, *, force: bool = False) -> bool:
    """Whether a version may go from one stage to another.

    >>> may_move(Stage.VALIDATION, Stage.PRODUCTION), may_move(Stage.VALIDATION, Stage.PRODUCTION, force=True)
    (False, True)
    """
    return goal in MOVES[origin] or (force and goal in FORCED_MOVES.get(origin, frozenset()))


def is_model_name(name: str) -> bool:
    """Whether a text can name a model.

    >>> is_model_name("fraud-v2"), is_model_name("lstm_BTC/USDT"), is_model_name("compare")
    (True, False, False)
    """
    return NAME.fullmatch(name) is not None and name.lower() not in RESERVED_NAMES


def nearest_name(name: str) -> str:
    """The legal name that is closest to what somebody tried.

    >>> nearest_name("lstm_BTC/USDT"), nearest_name("  café@home "), nearest_name("compare")
    ('lstm_BTC-USDT', 'cafe-home', 'compare-model')
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    legal = re.sub(r"[^A-Za-z0-9._ -]+", "-", plain).strip(" -._")[:128].rstrip() or "model"
    return legal if is_model_name(legal) else f"{legal}-model"


def twin_key(name: str) -> str:
    """What two names share when people would take them for the same."""
    return unicodedata.normalize("NFKC", name).casefold()


@dataclass(frozen=True)
class Semantic:
    """A semantic version: callers break on major, behaviour changes on minor, the same recipe on new data is a patch."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True)
class Reference:
    """Which version of which model is meant: at most one of the three is set."""

    name: str
    number: int | None = None
    semantic: Semantic | None = None
    alias: str | None = None

    @property
    def is_bare(self) -> bool:
        """Whether only the model is named, which means its production version."""
        return self.number is None and self.semantic is None and self.alias is None

    def __str__(self) -> str:
        if self.alias is not None:
            return f"{self.name}@{self.alias}"
        version = self.number if self.number is not None else self.semantic
        return self.name if version is None else f"{self.name}:{version}"


def parse_semantic(text: str) -> Semantic | None:
    """`major.minor.patch`, or None when the text is no semantic version."""
    match = SEMANTIC.fullmatch(text)
    return Semantic(*(int(part) for part in match.groups())) if match else None


def parse_reference(text: str) -> Reference:
    """Read `name`, `name:3`, `name:2.1.0` or `name@alias`.

    >>> parse_reference("fraud"), parse_reference("fraud:3").number, str(parse_reference("fraud:2.1.0").semantic)
    (Reference(name='fraud', number=None, semantic=None, alias=None), 3, '2.1.0')
    >>> parse_reference("fraud@champion").alias
    'champion'

    Raises:
        ValueError: it is none of these; the message says what is wrong and what was meant, perhaps.
    """
    name, mark, rest = _split_once(text)
    if not is_model_name(name):
        raise ValueError(f"{name!r} can't be a model's name; the nearest legal one is {nearest_name(name)!r}")
    if mark == "@":
        return Reference(name, alias=_checked_alias(rest))
    if mark == ":":
        return _with_version(name, rest)
    return Reference(name)


def _split_once(text: str) -> tuple[str, str, str]:
    at = min((i for i in (text.find("@"), text.find(":")) if i >= 0), default=len(text))
    return text[:at], text[at : at + 1], text[at + 1 :]


def _checked_alias(alias: str) -> str:
    problem = alias_problem(alias)
    if problem:
        raise ValueError(problem)
    return alias


def alias_problem(alias: str) -> str | None:
    """Why a text can't be an alias, if so: MLflow's rule."""
    if not ALIAS.fullmatch(alias):
        return f"{alias!r} can't be an alias: letters, digits, '_' and '-' only"
    if alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias):
        return f"{alias!r} can't be an alias: 'latest' and 'v<number>' would be mistaken for versions"
    return None


def _with_version(name: str, text: str) -> Reference:
    if re.fullmatch(r"[1-9]\d{0,17}", text):
        return Reference(name, number=int(text))
    semantic = parse_semantic(text)
    if semantic is None:
        raise ValueError(
            f"{text!r} is no version: a number such as {name}:3, or a semantic one such as {name}:2.1.0"
        )
    return Reference(name, semantic=semantic)


@dataclass(frozen=True)
class Recipe:
    """What decides how far a version is from the one before it."""

    algorithm: str | None
    parameters: Mapping[str, Any]
    features: tuple[str, ...]


def next_semantic(previous: Semantic | None, *, schema_breaks: bool, recipe_changed: bool) -> Semantic:
    """The semantic version that follows, by what changed.

    >>> str(next_semantic(Semantic(1, 4, 2), schema_breaks=False, recipe_changed=True))
    '1.5.0'
    """
    if previous is None:
        return Semantic(1, 0, 0)
    if schema_breaks:
        return Semantic(previous.major + 1, 0, 0)
    if recipe_changed:
        return Semantic(previous.major, previous.minor + 1, 0)
    return Semantic(previous.major, previous.minor, previous.patch + 1)


def first_free(semantic: Semantic, taken: set[Semantic]) -> Semantic:
    """The version itself, or the next patch that was never used."""
    while semantic in taken:
        semantic = Semantic(semantic.major, semantic.minor, semantic.patch + 1)
    return semantic
