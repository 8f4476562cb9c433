"""Files of rows as they come: CSV or Parquet, read as a table whose columns are all named differently."""

import io
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app.runtimes.errors import BadSample
from app.runtimes.traits import first_line

if TYPE_CHECKING:
    import pandas as pd

PARQUET = b"PAR1"


def is_csv(content: bytes) -> bool:
    """Whether a file is not Parquet; then nothing but its cells tells what its columns are."""
    return not content.startswith(PARQUET)


def read_sample(content: bytes, text: Sequence[str] = ()) -> "pd.DataFrame":
    """The rows of a CSV or Parquet file, numbered from 0.

    Args:
        content: the file.
        text: columns of a CSV that are text whatever they look like.

    Raises:
        BadSample: it can't be read, or holds no rows.
    """
    import pandas as pd  # noqa: PLC0415 - only the probe's child needs it here

    frame: pd.DataFrame
    try:
        if is_csv(content):
            frame = _read_csv(content, text)
        else:
            import pyarrow.parquet as pq  # noqa: PLC0415

            file = pq.ParquetFile(io.BytesIO(content))
            _require_different(file.schema_arrow.names)  # PyArrow reads none that names one twice
            frame = file.read(use_threads=False).to_pandas(use_threads=False)
    except UnicodeDecodeError as error:
        raise BadSample(
            "the file is neither Parquet nor a CSV in UTF-8, as which it is read; save it as UTF-8"
        ) from error
    except (ValueError, OSError) as error:
        raise BadSample(f"the file is neither CSV nor Parquet: {first_line(error)}") from error
    if frame.empty:
        raise BadSample("the file holds no rows")
    if is_csv(content):
        _require_different(_header(content))
    return frame.set_axis(list(map(str, frame.columns)), axis=1).reset_index(drop=True)


def _read_csv(content: bytes, text: Sequence[str]) -> "pd.DataFrame":
    """Rows with more cells than there are names are refused: pandas would take the first for the row's own name.

    With `low_memory` it would guess the type of a column anew every few thousand rows. Of whole numbers that no 64 bits
    hold it makes objects: they stay text until it is known what the column is.
    """
    import pandas as pd  # noqa: PLC0415 - as above

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame = pd.read_csv(
                io.BytesIO(content), index_col=False, dtype=dict.fromkeys(text, "str"), low_memory=False
            )
        except pd.errors.ParserWarning as warning:
            raise BadSample(
                "the file has rows with more cells than its first line has names; cells are parted by commas, "
                "and one that holds a comma stands in double quotes"
            ) from warning
    whole = [name for name in frame.columns[frame.dtypes == "object"] if _holds_large(frame[name])]
    return frame.assign(**{name: frame[name].map(str, na_action="ignore").astype("str") for name in whole})


def _holds_large(series: "pd.Series[Any]") -> bool:
    return any(type(cell) is int for cell in series)


def _header(content: bytes) -> list[str]:
    """The names in the first line of a CSV as they stand there: pandas makes those different that are not."""
    import pandas as pd  # noqa: PLC0415 - as above

    first = pd.read_csv(io.BytesIO(content), header=None, nrows=1, dtype="str", index_col=False)
    return first.iloc[0].dropna().tolist()


def _require_different(names: Sequence[str]) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        told = ", ".join(twice[:10])
        raise BadSample(f"the file names a column twice: {told}; leave all but one out, or rename them")
