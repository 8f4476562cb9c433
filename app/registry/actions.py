"""What changes the registry. Every verb works in the caller's transaction and announces a fact."""

from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.facts import announce
from app.core.ids import new_id
from app.core.jobs import UNHURRIED, enqueue
from app.core.notify import notify
from app.core.prepared import PreparedInsert
from app.registry import facts
from app.registry.errors import BadAlias, NotOfAVersion, SemanticVersionTaken
from app.registry.facts import CHANNEL
from app.registry.files import StoredFile
from app.registry.lifecycle import record_move
from app.registry.numbering import (
    Latest,
    find_highest_semantic,
    find_latest_version,
    take_number,
    used_patches,
)
from app.registry.queries import get_model, lock_version
from app.registry.rules import (
    Recipe,
    Semantic,
    Stage,
    alias_problem,
    first_free,
    next_semantic,
)
from app.registry.tables import Alias, Model, Part, Version, VersionFile
from app.runtimes.schema import Signature, breaks

CONVERT = "convert to ONNX"
"""The job that looks whether a version is better served in another form."""


@dataclass(frozen=True)
class Draft:
    """A version about to be registered: its stored artifact, what its first load found, what its maker says."""

    artifact_digest: str
    artifact_signature: bytes
    files: tuple[StoredFile, ...]
    rows: tuple[StoredFile, ...]
    format: str
    framework: str
    algorithm: str | None
    signature: dict[str, Any]
    probe: dict[str, Any]
    parameters: dict[str, Any]
    metrics: dict[str, float]
    requirements: list[str]
    creator: str
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    latency_ms: float | None = None
    memory_bytes: int | None = None
    dataset_version: str | None = None
    dataset_hash: str | None = None
    code_revision: str | None = None
    source_run: str | None = None
    pipeline_execution: str | None = None
    parent_id: UUID | None = None
    semantic: Semantic | None = None
    stage: Stage = Stage.VALIDATION
    serving_signature: bytes | None = None
    serving_files: tuple[StoredFile, ...] = ()
    may_be_converted: bool = False

    @property
    def digests(self) -> set[str]:
        """Of everything that must be in the store for as long as the version is."""
        files = (*self.files, *self.rows, *self.serving_files)
        return {self.artifact_digest, *(file.digest for file in files)}

    @property
    def recipe(self) -> Recipe:
        """What a change of makes a new minor version."""
        return Recipe(self.algorithm, self.parameters, Signature.from_json(self.signature).names)


async def register_version(session: AsyncSession, name: str, draft: Draft) -> Version:
    """Add a version to a model, with the next number and a semantic version chosen by what changed.

    Gives its row as it was stored; the session does not watch it, so changes of it go nowhere.

    Raises:
        BadModelName, NameTooClose: see `take_number`.
        SemanticVersionTaken: the caller chose one that was used before.
    """
    model_id, number = await take_number(session, name)
    latest = await find_latest_version(session, model_id) if number > 1 else None
    semantic = await _choose_semantic(session, model_id, name, latest, draft)
    version = _version_row(draft, semantic, model_id=model_id, model_name=name, number=number)
    version.parent_id = draft.parent_id or (latest.id if latest else None)
    await _ADD_VERSION.add(session, version)
    await _ADD_FILE.run(session, *_file_rows(version.id, draft))
    await record_move(session, version, None, reason="registered")
    announce(session, facts.VersionRegistered(name, number, str(semantic), draft.artifact_digest))
    if draft.may_be_converted:
        job = {"version_id": str(version.id)}
        await enqueue(session, CONVERT, job, dedupe_key=f"{CONVERT} {version.id}", queue=UNHURRIED)
    notify(session, CHANNEL, name)
    return version


async def _choose_semantic(
    session: AsyncSession, model_id: UUID, name: str, latest: Latest | None, draft: Draft
) -> Semantic:
    wanted = draft.semantic or await _next_semantic(session, model_id, latest, draft)
    taken = await used_patches(session, model_id, wanted)
    if draft.semantic in taken:
        raise SemanticVersionTaken(name, str(draft.semantic))
    return first_free(wanted, taken)


async def _next_semantic(
    session: AsyncSession, model_id: UUID, latest: Latest | None, draft: Draft
) -> Semantic:
    if latest is None:
        highest = await find_highest_semantic(session, model_id)
        return next_semantic(highest, schema_breaks=False, recipe_changed=False)
    is_broken = bool(breaks(latest.signature, Signature.from_json(draft.signature)))
    return next_semantic(
        latest.semantic, schema_breaks=is_broken, recipe_changed=latest.recipe != draft.recipe
    )


def _version_row(draft: Draft, semantic: Semantic, **names: Any) -> Version:
    now = clock.now()
    same = (
        "format", "framework", "algorithm", "description", "tags", "creator", "parameters", "metrics", "requirements",
        "signature", "probe", "latency_ms", "memory_bytes", "dataset_version", "dataset_hash", "code_revision",
        "source_run", "pipeline_execution", "artifact_digest", "artifact_signature", "serving_signature", "stage",
    )  # fmt: skip
    return Version(
        **{name: getattr(draft, name) for name in same},
        **names,
        id=new_id(),
        major=semantic.major,
        minor=semantic.minor,
        patch=semantic.patch,
        stage_since=now,
        size_bytes=sum(file.size_bytes for file in draft.files),
        made_at=now,
    )


def _file_rows(version_id: UUID, draft: Draft) -> list[dict[str, Any]]:
    parts = {Part.ARTIFACT: draft.files, Part.ROWS: draft.rows, Part.SERVING: draft.serving_files}
    return [
        {"version_id": version_id, "part": part, **asdict(file)}
        for part, files in parts.items()
        for file in files
    ]


_ADD_VERSION, _ADD_FILE = PreparedInsert(Version), PreparedInsert(VersionFile)


async def set_alias(session: AsyncSession, version: Version, alias: str) -> None:
    """Let an alias point to a version; it may have pointed elsewhere before.

    Raises:
        BadAlias: MLflow's rule for aliases forbids it.
        VersionNotFound: the version was deleted meanwhile.
    """
    problem = alias_problem(alias)
    if problem:
        raise BadAlias(alias, problem)
    await lock_version(session, version.id)
    row = insert(Alias).values(
        model_id=version.model_id, alias=alias, version_id=version.id, set_at=clock.now()
    )
    moved = {"version_id": version.id, "set_at": clock.now()}
    await session.execute(row.on_conflict_do_update(index_elements=[Alias.model_id, Alias.alias], set_=moved))
    announce(session, facts.AliasSet(version.model_name, version.number, alias))
    notify(session, CHANNEL, version.model_name)


async def drop_alias(session: AsyncSession, name: str, alias: str) -> bool:
    """Let an alias point nowhere; False when it did already.

    Raises:
        ModelNotFound: there is no such model.
    """
    model = await get_model(session, name)
    gone = delete(Alias).where(Alias.model_id == model.id, Alias.alias == alias)
    if await session.scalar(gone.returning(Alias.alias)) is None:
        return False
    announce(session, facts.AliasDropped(name, alias))
    notify(session, CHANNEL, name)
    return True


async def edit_model(session: AsyncSession, name: str, changes: dict[str, Any]) -> Model:
    """Change a model's description, tags, log mode, sensitive columns or gates.

    Raises:
        ModelNotFound: there is no such model.
    """
    model = await get_model(session, name)
    for attribute, value in changes.items():
        setattr(model, attribute, value)
    announce(session, facts.ModelEdited(name, _without_rows(changes)))
    notify(session, CHANNEL, name)
    return model


def _without_rows(changes: dict[str, Any]) -> dict[str, Any]:
    """Changes as the audit trail tells them: edge cases are rows, which may be sensitive, so only their count is told."""
    if "gates" not in changes:
        return changes
    gates = changes["gates"]
    return changes | {"gates": gates | {"edge_cases": len(gates.get("edge_cases", ()))}}


async def edit_version(session: AsyncSession, version_id: UUID, changes: dict[str, Any]) -> Version:
    """Change what people say of a version: description and tags. Nothing else of it ever changes.

    Raises:
        NotOfAVersion: some change is one of the whole model.
    """
    version = await lock_version(session, version_id)
    foreign = sorted(set(changes) - {"description", "tags"})
    if foreign:
        raise NotOfAVersion(foreign, version.model_name)
    for attribute, value in changes.items():
        setattr(version, attribute, value)
    announce(session, facts.VersionEdited(version.model_name, version.number, changes))
    return version
