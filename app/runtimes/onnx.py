"""scikit-learn models as ONNX, taken only when they are proved equal on the stored sample.

A conversion can be wrong without any sign: native categorical splits come out wrong, and thresholds are compared in
float32, so a feature that float32 can't hold exactly may fall on the other side of one.
"""

import base64
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from app.runtimes.errors import NotConvertible
from app.runtimes.examine import own_model, read_rows
from app.runtimes.onnx_models import OnnxModel, open_session
from app.runtimes.parts import parts_of
from app.runtimes.rows import Rows
from app.runtimes.schema import ColumnType, Signature, Task
from app.runtimes.scores import Model, Scores
