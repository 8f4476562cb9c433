"""Promotes of versions already gated and warm over many models, and how long one takes to reach every process.

python -m tests.bench.promotes
"""

import asyncio
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.artifacts.manifests import Manifest, store_artifact
from app.artifacts.signing import open_signer
from app.artifacts.store import open_artifact_store
from app.artifacts.uploads import StagedFile, open_staging
from app.core.config import Settings
from app.core.database import Actor
from tests import make
