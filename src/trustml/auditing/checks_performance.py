"""How long predictions take here, and how far those of a regression are off; notes and no judgement."""

from __future__ import annotations

import math
import time

import numpy as np

from trustml.attribution.asking import Doubles
from trustml.auditing.models import Array, Target
from trustml.auditing.result import Finding, Measurement
from trustml.measures.accuracy import error_estimates

_REPEATS, _SECONDS = 20, 5.0


def check_errors(said: Doubles, true: Doubles, *, of: str) -> Finding:
    """Measure the errors of a regression on the training examples or the hold-out.

    Parameters
    ----------
    said, true : float64 arrays of shape (n,)
    of : str
        ``holdout`` or ``train``.
    """
    found, unit = error_estimates(true, said), {"r2": "1"}
    value = found["r2"].value
    told = f"R2 is {value:.3f}" if math.isfinite(value) else "all targets are the same, so that there is no R2"
    constant = f"always answering their mean has RMSE {true.std():.4g}, their median MAE "
    return Finding(
        id=f"performance.errors.{of}",
        check="performance",
        severity="note",
        title=f"On the {'hold-out' if of == 'holdout' else 'training examples'} {told}, RMSE "
        f"{found['rmse'].value:.4g} and MAE {found['mae'].value:.4g}",
        measured=tuple(
            Measurement(
                measure=name,
                value=one.value,
                low=one.low,
                high=one.high,
                confidence=0.95,
                unit=unit.get(name, "of target"),
                n=len(true),
                note="bootstrap over examples",
            )
            for name, one in found.items()
            if math.isfinite(one.value)
        ),
        how=f"Beside it, {constant}{np.abs(true - np.median(true)).mean():.4g}.",
        would_change="other examples of the same source, within the intervals",
    )


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
