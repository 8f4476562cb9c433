"""A bounded sample of a series, evenly spread over it, and the latest values as they came."""

from dataclasses import dataclass, replace

import numpy as np

KEPT = 512  # values of a regime, evenly spread over it, and as many of the whole life
LATEST = 128  # values as they came: where the sample has one of many, a regime that has just begun is found in these


@dataclass(frozen=True)
class Sample:
    """Values, each with the one before it, evenly spread over all that came: when there are too many, every other goes."""

    values: tuple[float, ...] = ()
    before: tuple[float, ...] = ()
    places: tuple[int, ...] = ()
    stride: int = 1
    count: int = 0

    def add(self, value: float, before: float, place: int) -> "Sample":
        """With one value more, if it is its turn.

        >>> sample = Sample()
        >>> for place in range(2 * KEPT):
        ...     sample = sample.add(0.0, 0.0, place)
        >>> sample.places[:3], sample.count
        ((0, 2, 4), 1024)
        """
        if self.count % self.stride:
            return replace(self, count=self.count + 1)
        grown = self._grown(value, before, place)
        return grown if len(grown.values) <= KEPT else grown._thin()

    def push(self, value: float, before: float, place: int) -> "Sample":
        """With one value more, and no more than the `LATEST`."""
        grown = self._grown(value, before, place)
        return grown._part(slice(-LATEST, None), len(grown.values[-LATEST:]))

    def _grown(self, value: float, before: float, place: int) -> "Sample":
        values, befores = (*self.values, value), (*self.before, before)
        return Sample(values, befores, (*self.places, place), self.stride, self.count + 1)

    def _thin(self) -> "Sample":
        return replace(self._part(slice(None, None, 2), self.count), stride=2 * self.stride)

    def _part(self, part: slice, count: int) -> "Sample":
        return Sample(self.values[part], self.before[part], self.places[part], count=count)

    def until(self, place: int) -> "Sample":
        """The values before a place, and how many they stand for.

        >>> Sample((1.0, 2.0), (1.0, 1.0), (0, 4), stride=4, count=7).until(3)
        Sample(values=(1.0,), before=(1.0,), places=(0,), stride=1, count=4)
        """
        end = int(np.searchsorted(self.places, place))
        return self._part(slice(end), min(self.count, end * self.stride))

    def since(self, place: int, latest: "Sample") -> "Sample":
        """The values from a place on: the `latest` as they came, before those what was kept; from now on every value is taken.

        >>> latest = Sample((4.0, 5.0), (3.0, 4.0), (4, 5), count=2)
        >>> Sample((1.0, 3.0), (1.0, 2.0), (0, 3), stride=3, count=6).since(4, latest).values
        (4.0, 5.0)
        >>> Sample((1.0, 3.0), (1.0, 2.0), (0, 3), stride=3, count=6).since(2, latest).values
        (3.0, 4.0, 5.0)
        """
        late = latest._part(slice(int(np.searchsorted(latest.places, place)), None), 0)
        first = int(np.searchsorted(self.places, place))
        last = int(np.searchsorted(self.places, late.places[0]))
        if first >= last:
            return replace(late, count=len(late.values))
        early = self._part(slice(first, last), self.count - first * self.stride)
        joined = Sample(
            early.values + late.values,
            early.before + late.before,
            early.places + late.places,
            count=early.count,
        )
        return joined if len(joined.values) <= KEPT else joined._thin()


EMPTY = Sample()
