"""Which cells of a sample a model takes, where neither it nor the file tells: the model is asked, one row at a time."""

from typing import TYPE_CHECKING, Any

import numpy as np

from app.runtimes.rows import parse_rows
from app.runtimes.samples import cells_of, infer_signature, nulls_in, type_of
from app.runtimes.schema import ColumnType
from app.runtimes.sifting import Apart, read_either
from app.runtimes.sklearn_models import SklearnModel
from app.runtimes.traits import Loaded, Traits

if TYPE_CHECKING:
    import pandas as pd


def usable_cells(
    loaded: Loaded, traits: Traits, frame: "pd.DataFrame", *, is_csv: bool
) -> "dict[str, pd.Series[Any]]":
    """Of the columns of a sample that hold cells which the model does not take, the other cells.

    A column with numbers beside text may be one of numbers with errors, or one of codes some of which consist of digits;
    empty cells may be what the model was trained with, or what somebody forgot.
    """
    apart = {
        name: read_either(frame[name]) if is_csv else Apart(frame[name], frame[name].notna().to_numpy())
        for i, name in enumerate(frame.columns)
        if type_of(frame[name]) == ColumnType.STRING and not _is_known_text(traits, i)
    }
    if not traits.tells_types:
        return _Interview(loaded, traits, frame, apart, is_csv=is_csv).usable()
    return {name: cells.usable() for name, cells in apart.items()}


def _is_known_text(traits: Traits, place: int) -> bool:
    return traits.columns is not None and traits.columns[place].type == ColumnType.STRING


def _is_read_as_number(cell: str) -> bool:
    """Whether NumPy makes a number of it, as scikit-learn has it do with text: of `1_000` too, which no CSV means so."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


_WORD = "word"
"""Asked with where a column holds none."""


class _Interview:
    """Questions of one row each, all about the same one: that of the sample with the fewest cells in question."""

    def __init__(
        self, loaded: Loaded, traits: Traits, frame: "pd.DataFrame", apart: dict[str, Apart], *, is_csv: bool
    ) -> None:
        self._loaded, self._traits, self._frame, self._apart = loaded, traits, frame, apart
        self._is_csv = is_csv
        self._gaps = {name: gaps for name in frame.columns if (gaps := nulls_in(frame[name])).any()}
        odd = [cells.is_odd for cells in apart.values()]
        doubts = sum([*odd, *self._gaps.values()], start=np.zeros(len(frame), int))
        self._row = frame.iloc[[int(np.argmin(doubts))]]

    def usable(self) -> "dict[str, pd.Series[Any]]":
        """The cells that it takes, of the columns with others; nothing where it does not even take such a row."""
        if not self._apart and not self._gaps:
            return {}
        numbers = {name: self._number_of(name) for name in self._apart}
        rows = (self._row, self._row.assign(**{name: [number] for name, number in numbers.items()}))
        row = next(filter(self._takes, rows), None)
        if row is None:
            return {}
        found = {
            name: self._apart[name].usable()
            for name, number in numbers.items()
            if not self._takes(row.assign(**{name: [self._odd_cell(name)]}))
            and self._takes(row.assign(**{name: [number]}))
        }
        return found | {name: found.get(name, self._frame[name]).dropna() for name in self._forbidden(row)}

    def _forbidden(self, row: "pd.DataFrame") -> list[str]:
        """The columns whose empty cells it does not take."""
        nulls = {name: self._frame[name][gaps].iloc[:1].array for name, gaps in self._gaps.items()}
        if self._takes(row.assign(**nulls)):
            return []
        return [name for name, null in nulls.items() if not self._takes(row.assign(**{name: null}))]

    def _odd_cell(self, name: str) -> Any:
        """Text that stands for a column's others: not such as a model of numbers would read as one.

        In Parquet it may be: the column is text by its type.
        """
        odd = self._frame[name][self._apart[name].is_odd]
        words = (cell for cell in odd if not _is_read_as_number(cell))
        return next(words, _WORD if self._is_csv else odd.iloc[0])

    def _number_of(self, name: str) -> Any:
        cells = self._apart[name].usable()
        finite = cells[np.isfinite(cells.to_numpy(np.float64))]
        return finite.iloc[0] if len(finite) else 0.0

    def _takes(self, row: "pd.DataFrame") -> bool:
        try:
            if isinstance(self._loaded, SklearnModel):
                self._loaded.own_answers(row)
            else:
                signature = infer_signature(self._traits, row)
                rows = parse_rows({"instances": cells_of(row, signature)}, signature, max_rows=1)
                self._loaded.serve(signature).score(rows)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - a model may raise anything, and every refusal is an answer here
            return False
        return True
