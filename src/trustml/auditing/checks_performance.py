"""How long predictions take here; a note and no judgement."""

from __future__ import annotations

import time

import numpy as np

from trustml.auditing.models import Array, Target
from trustml.auditing.result import Finding, Measurement

_REPEATS, _SECONDS = 20, 5.0


def check_performance(target: Target, inputs: Array) -> list[Finding]:
    """Time the prediction of one batch.

    Parameters
    ----------
    target : Target
    inputs : array of shape (n, *x)
        As many of them as a batch holds are used, again and again.

    Returns
    -------
    list of Finding
    """
    batch = inputs[: target.batch_size]
    target.ask(batch)  # it may compile
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < _REPEATS and (len(times) < 3 or time.perf_counter() - begin < _SECONDS):
        start = time.perf_counter()
        np.asarray(target.ask(batch))
        times.append(time.perf_counter() - start)
    low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
    return [
        Finding(
            id="performance.prediction",
            check="performance",
            severity="note",
            title=f"A batch of {len(batch)} examples takes {1000 * median:.3g} ms",
            measured=(
                Measurement(
                    measure="prediction_time",
                    value=float(median),
                    low=float(low),
                    high=float(high),
                    unit="s",
                    n=len(times),
                    note="median and quartiles of the batches timed; not a confidence interval",
                ),
                Measurement(
                    measure="predictions_per_second", value=float(len(batch) / median), unit="1/s", n=len(times)
                ),
            ),
            how="Wall time from numpy arrays to numpy arrays, with all that lies between (HTTP, or the files of a "
            "worker) and beside whatever else the machine does; the first call is not counted.",
            would_change="another machine, batch size or load",
        )
    ]
