"""From what a caller sends to a draft of a version: staged, loaded once in a child process, signed, stored."""

import asyncio
from dataclasses import replace
from typing import Any

from app.artifacts.archives import ArchiveLimits, is_archive
from app.artifacts.manifests import Manifest, store_artifact
from app.artifacts.signing import ArtifactSigner
from app.artifacts.store import ArtifactStore
from app.artifacts.uploads import StagedFile, Staging, open_staging
from app.core.config import Settings
from app.core.database import Database
from app.core.errors import FieldProblem
from app.registry.actions import Draft
from app.registry.conversion import Converter
from app.registry.files import StoredFile, files_in
from app.registry.known import BYTES_TELL, CONVERTIBLE, Found, recall_artifact
from app.registry.queries import get_version
from app.registry.registration import IncomingFile, Registration
from app.registry.rules import Stage
from app.registry.schemas import VersionDetails
from app.runtimes.probe import Prober

_Taken = tuple[Manifest, Found, tuple[StoredFile, ...]]


class Intake:
    """Takes registrations in; everything here happens before the registry's transaction."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        store: ArtifactStore,
        signer: ArtifactSigner,
        prober: Prober,
        converter: Converter,
    ) -> None:
        self._settings = settings
        self._database = database
        self._store = store
        self._signer = signer
        self._prober = prober
        self._converter = converter

    async def draft(self, registration: Registration, *, creator: str) -> Draft:
        """A version ready to be registered; its bytes are in the store.

        Bytes that were registered before are neither loaded nor signed again, unless something new is said of them.

        Raises:
            Refusal: a file, an archive, the model or the sample can't be used; nothing of it is left behind.
        """
        if registration.details.reference_time and registration.reference is None:
            raise FieldProblem("reference_time", "names a column of `reference`, which was not sent")
        manifest, found, rows = await self._recall_held(registration) or await self._take_in(registration)
        return await self._assemble(registration.details, manifest, found, rows, creator)

    async def _recall_held(self, registration: Registration) -> _Taken | None:
        """What is known of an artifact that is in memory whole: nothing of it has to be written then."""
        manifest = _manifest_at_hand(registration, self._settings.max_upload_bytes)
        found = await recall_artifact(self._database, manifest.digest) if manifest else None
        return (manifest, found, ()) if manifest and found else None

    async def _take_in(self, registration: Registration) -> _Taken:
        async with open_staging(self._settings.base_path) as staging:
            aside = staging.beside("rows")
            staged = await self._receive_artifact(staging, registration)
            reference = await self._receive_rows(aside, registration.reference, "reference")
            evaluation = await self._receive_rows(aside, registration.evaluation, "evaluation")
            manifest = Manifest.of(staged)
            found = None if registration.says_anew else await recall_artifact(self._database, manifest.digest)
            if found is None:
                found = await self._examine(staging, staged, reference, registration.details)
                if not registration.says_anew:
                    found = replace(found, probe=found.probe | {BYTES_TELL: found.told_by_bytes})
            return manifest, found, await self._keep_rows(reference=reference, evaluation=evaluation)

    async def _receive_artifact(self, staging: Staging, registration: Registration) -> list[StagedFile]:
        staged: list[StagedFile] = []
        for file in registration.artifact:
            expected = registration.details.sha256.get(file.name)
            arrived = await self._receive(staging, file, expected)
            staged.extend(
                await staging.unpack(arrived, ArchiveLimits(total_bytes=self._settings.max_upload_bytes))
            )
        return staged

    async def _receive(self, staging: Staging, file: IncomingFile, expected: str | None = None) -> StagedFile:
        return await staging.receive(
            file.name,
            file.blocks,
            max_bytes=self._settings.max_upload_bytes,
            declared_bytes=file.size,
            expected_sha256=expected,
        )

    async def _receive_rows(self, aside: Staging, file: IncomingFile | None, name: str) -> StagedFile | None:
        return await self._receive(aside, IncomingFile(name, file.blocks, file.size)) if file else None

    async def _examine(
        self,
        staging: Staging,
        staged: list[StagedFile],
        reference: StagedFile | None,
        details: VersionDetails,
    ) -> Found:
        sample = await asyncio.to_thread(reference.path.read_bytes) if reference else None
        directory = staging.files_directory
        report = await self._prober.probe(
            directory, sample=sample, signature=details.signature, time_column=details.reference_time
        )
        form = None
        if details.serve_as == "onnx" and report.format in CONVERTIBLE:
            form = await self._converter.convert(directory, report.signature, report.sample_input)
        artifact_signature, _ = await asyncio.gather(
            asyncio.to_thread(self._signer.sign_directory, directory), store_artifact(self._store, staged)
        )
        return Found(
            format=report.format,
            framework=report.framework,
            algorithm=report.algorithm,
            signature=report.signature,
            parameters=report.parameters,
            requirements=[
                f"{package}=={version}" for package, version in sorted(report.requirements.items())
            ],
            latency_ms=report.latency_ms_per_row,
            memory_bytes=report.memory_bytes,
            artifact_signature=artifact_signature,
            serving_signature=form.signature if form else None,
            serving_files=form.files if form else (),
            probe={
                "file": report.file,
                "sample_input": report.sample_input,
                "sample_output": report.sample_output,
                "labels_from_probabilities": report.labels_from_probabilities,
                "feature_importances": report.feature_importances,
                "warnings": report.warnings,
                **({"served_as": "onnx", "proof": form.proof} if form else {}),
            },
        )

    async def _keep_rows(self, **files: StagedFile | None) -> tuple[StoredFile, ...]:
        """Store the rows that came beside the artifact, under the names of what they are."""
        kept = [(name, file) for name, file in files.items() if file is not None]
        for _, file in kept:
            await self._store.put_file(file.path, file.sha256)
        return tuple(StoredFile(name, file.sha256, file.size) for name, file in kept)

    async def _assemble(
        self,
        details: VersionDetails,
        manifest: Manifest,
        found: Found,
        rows: tuple[StoredFile, ...],
        creator: str,
    ) -> Draft:
        digests = {file.path: file.digest for file in rows}
        return Draft(
            artifact_digest=manifest.digest,
            artifact_signature=found.artifact_signature,
            files=files_in(manifest),
            rows=rows,
            format=found.format,
            framework=details.framework or found.framework,
            algorithm=details.algorithm or found.algorithm,
            signature=found.signature,
            probe=found.probe
            | {"rows": digests, "target": details.target, "reference_time": details.reference_time},
            parameters=found.parameters | details.parameters,
            metrics=details.metrics,
            requirements=details.requirements or found.requirements,
            creator=details.creator or creator,
            description=details.description,
            tags=details.tags,
            latency_ms=found.latency_ms,
            memory_bytes=found.memory_bytes,
            dataset_version=details.dataset_version,
            dataset_hash=details.dataset_hash or digests.get("reference"),
            code_revision=details.code_revision,
            source_run=details.source_run,
            pipeline_execution=details.pipeline_execution,
            parent_id=await self._find_parent(details.parent),
            semantic=details.semantic,
            stage=Stage(details.stage),
            serving_signature=found.serving_signature,
            serving_files=found.serving_files,
            may_be_converted=details.serve_as == "auto" and found.is_unjudged,
        )

    async def _find_parent(self, reference: str | None) -> Any:
        if reference is None:
            return None
        async with self._database.reads() as session:
            return (await get_version(session, reference)).id


def _manifest_at_hand(registration: Registration, max_bytes: int) -> Manifest | None:
    """Of an artifact that can be looked up before it is staged; None where staging has something to unpack or refuse."""
    if registration.says_anew or registration.evaluation:
        return None
    held = [(file.name, file.held) for file in registration.artifact if not is_archive(file.name)]
    bodies = [(name, body) for name, body in held if body is not None]
    if len(bodies) < len(registration.artifact):
        return None
    manifest, told = Manifest.of_bytes(bodies), registration.details.sha256
    is_as_told = all(told.get(each.path, each.sha256).lower() == each.sha256 for each in manifest.files)
    return manifest if is_as_told and all(each.size <= max_bytes for each in manifest.files) else None
