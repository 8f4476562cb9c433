"""The form in which a scikit-learn model is served: as it is, or as an ONNX model that was proved equal to it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from app.artifacts.cache import ArtifactCache
from app.artifacts.signing import ArtifactSigner
from app.artifacts.store import ArtifactStore
from app.artifacts.uploads import open_staging
from app.core.facts import announce
from app.core.jobs import WORKER, Claim
from app.registry.facts import ServingFormChosen
from app.registry.files import StoredFile, keep_blobs, manifest_of
from app.registry.queries import files_of, lock_version
from app.registry.tables import Part, Version
from app.runtimes.errors import NotConvertible
from app.runtimes.onnx import Conversion
from app.runtimes.probe import Prober

log = structlog.get_logger()

NOT_CONVERTED = "not_converted"
"""Where a version's probe keeps the reason why it is served as it is."""
WORTH_IT = 1.2
"""How many times faster the converted model must be to be chosen without being asked for."""


@dataclass(frozen=True)
class ServingForm:
    """A converted model in the store, signed like any artifact."""

    signature: bytes
    files: tuple[StoredFile, ...]
    proof: dict[str, Any]


class Converter:
    """Converts models in the prober's child, and keeps what comes out."""

    def __init__(self, base_path: Path, store: ArtifactStore, signer: ArtifactSigner, prober: Prober) -> None:
        self._base_path = base_path
        self.store = store
        self._signer = signer
        self._prober = prober

    async def convert(
        self, directory: Path, signature: dict[str, Any], sample_input: list[Any], *, at_least: float = 0.0
    ) -> ServingForm:
        """The ONNX form of the model in a directory.

        Raises:
            NotConvertible: it has no equal form, or none that is `at_least` so many times faster.
        """
        made = await self._prober.convert(directory, signature=signature, sample_input=sample_input)
        if made.speed_up < at_least:
            raise NotConvertible(f"ONNX is only {made.speed_up:.2f} times as fast here")
        async with open_staging(self._base_path) as staging:
            file = await staging.receive("model.onnx", _only(made.model), max_bytes=len(made.model))
            await self.store.put_file(file.path, file.sha256)
            signed = await asyncio.to_thread(self._signer.sign_directory, staging.files_directory)
        return ServingForm(signed, (StoredFile(file.name, file.sha256, file.size),), _proof(made))


async def _only(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _proof(made: Conversion) -> dict[str, Any]:
    return {name: value for name, value in asdict(made).items() if name != "model"}


class BackgroundConversion:
    """The job that looks, after a registration, whether the version is better served as ONNX."""

    def __init__(self, converter: Converter, artifacts: ArtifactCache) -> None:
        self._converter = converter
        self._artifacts = artifacts

    async def __call__(self, claim: Claim) -> None:
        """Convert one version if that is sound and worth it; keep the reason where it is not."""
        version_id = UUID(claim.payload["version_id"])
        async with claim.database.reads() as session:
            version = await session.get(Version, version_id)
            files = await files_of(session, version_id)
        if version is None or version.deleted_at is not None:
            return
        directory = await self._artifacts.materialise(manifest_of(files), version.artifact_signature)
        try:
            form = await self._converter.convert(
                directory, version.signature, version.probe["sample_input"], at_least=WORTH_IT
            )
        except NotConvertible as refusal:
            log.info("served_as_it_is", version=version.model_reference, reason=str(refusal))
            await self._keep_reason(claim, version_id, str(refusal))
        else:
            await self._keep_form(claim, version_id, form)

    async def _keep_reason(self, claim: Claim, version_id: UUID, reason: str) -> None:
        async with claim.database.writes(WORKER) as session:
            version = await lock_version(session, version_id)
            version.probe = version.probe | {NOT_CONVERTED: reason}

    async def _keep_form(self, claim: Claim, version_id: UUID, form: ServingForm) -> None:
        async with claim.database.writes(WORKER) as session:
            await keep_blobs(session, self._converter.store, [file.digest for file in form.files])
            version = await lock_version(session, version_id)
            if version.serving_signature is not None:
                return  # done before, by a worker that could not say so any more
            version.serving_signature = form.signature
            version.probe = version.probe | {"served_as": "onnx", "proof": form.proof}
            session.add_all(file.as_row(version_id, Part.SERVING) for file in form.files)
            announce(session, ServingFormChosen(version.model_name, version.number, "onnx", form.proof))
