"""From a registered version to a model in memory: fetched, verified, loaded, and checked against its stored answers."""

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from app.artifacts.cache import ArtifactCache
from app.core.database import Database
from app.registry.files import manifest_of
from app.registry.queries import get_version_by_id, served_files_of
from app.runtimes.cache import LoadedVersion
from app.runtimes.examine import require_same_answers
from app.runtimes.formats import detect_format
from app.runtimes.loading import load_model
from app.runtimes.rows import parse_rows
from app.runtimes.samples import STORED_ROWS
from app.runtimes.schema import Signature

if TYPE_CHECKING:
    from pathlib import Path

    from app.registry.tables import Version


class VersionLoader:
    """Loads versions for the model cache."""

    def __init__(self, database: Database, artifacts: ArtifactCache, allowed_unsafe: tuple[str, ...]) -> None:
        self._database = database
        self._artifacts = artifacts
        self._allowed_unsafe = allowed_unsafe

    async def __call__(self, version_id: UUID) -> LoadedVersion:
        """The model of a version.

        Raises:
            CorruptArtifact, SignatureMismatch: its bytes are not those that were registered.
            OutputsChanged: it answers its stored sample otherwise than at registration.
            BrokenArtifact: it can't be loaded here.
        """
        async with self._database.reads() as session:
            version = await get_version_by_id(session, version_id)
            files, signature = await served_files_of(session, version)
        directory = await self._artifacts.materialise(manifest_of(files), signature)
        return await asyncio.to_thread(self._load, version, directory)

    def _load(self, version: "Version", directory: "Path") -> LoadedVersion:
        signature = Signature.from_json(version.signature)
        file = detect_format(directory, allowed_unsafe=self._allowed_unsafe)
        by_argmax = bool(version.probe.get("labels_from_probabilities"))
        model = load_model(file, signature, labels_from_probabilities=by_argmax)
        sample = parse_rows({"instances": version.probe["sample_input"]}, signature, max_rows=STORED_ROWS)
        require_same_answers(model, sample, version.probe["sample_output"])
        return LoadedVersion(
            version_id=version.id,
            model_name=version.model_name,
            number=version.number,
            model=model,
            signature=signature,
            memory_bytes=version.memory_bytes or version.size_bytes,
            sample=sample,
        )
