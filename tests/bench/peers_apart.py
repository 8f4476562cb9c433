"""The drift checks of others; run by `tests.bench.peers` with the Python of an environment that has them."""

import json
import sys
import time

import numpy as np
import pandas as pd

ENOUGH_SECONDS = 10.0


def main() -> None:
    """Read the rows, and print how long each check takes."""
    from alibi_detect.cd import KSDrift
    from evidently import Report
    from evidently.presets import DataDriftPreset

    data, times = np.load(sys.argv[1]), int(sys.argv[2])
    reference, window = np.ascontiguousarray(data["reference"]), np.ascontiguousarray(data["window"])
    names = [f"x{i}" for i in range(reference.shape[1])]
    was, now = (pd.DataFrame(rows, columns=names) for rows in (reference, window))

    def alibi() -> None:
        found = KSDrift(reference, p_val=0.05).predict(window)
        assert found["data"]["is_drift"] == 1

    def evidently() -> None:
        Report([DataDriftPreset()]).run(now, was).dict()

    print(
        json.dumps(
            {
                "alibi-detect: KSDrift": least(alibi, times),
                "evidently: DataDriftPreset": least(evidently, times),
            }
        )
    )


def least(work, times: int) -> float:
    """Of several runs; one that takes long is not taken again."""
    found = []
    while len(found) < times and sum(found) < ENOUGH_SECONDS:
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


if __name__ == "__main__":
    main()
