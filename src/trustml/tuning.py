"""Private training with settings that are drawn by lot and of which the best alone is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trustml import api
from trustml.measures.measure import leading
from trustml.record.store import RunDirectory
from trustml.scenario.check import check_scenario
from trustml.scenario.read import overridden, read_scenario, tuning_scenarios
from trustml.scenario.ready import find_scenario
from trustml.scenario.spec import Scenario


def tune(
    scenario: str | Path | Scenario,
    *,
    grid: Sequence[str],
    mean_runs: float,
    out: str | Path = api.DEFAULT_ROOT,
    overrides: Sequence[str] = (),
    listener: Callable[[dict[str, Any]], None] | None = None,
) -> api.Run | None:
    """Train a private model a random number of times, each time with values drawn from a grid, and keep the best alone.

    The number of runs is Poisson distributed and told to nobody; all others are deleted. The statement of the one that
    is left says what choosing it costs: far less than releasing all (Papernot and Steinke, ICLR 2022).

    Parameters
    ----------
    scenario : path, name of a ready scenario, or Scenario
        Of one private regime, one backend and one seed.
    grid : sequence of str
        Fields and values that do not change what a run is charged for:
        ``training.0.optimizer.learning_rate=0.1,0.3,1``.
    mean_runs : float
        Mean number of runs, 1 to 1000.
    out : path
    overrides : sequence of str
    listener : callable, optional
        As for :func:`run`. What it tells of the other runs, and of how many there were, must not be released.

    Returns
    -------
    Run or None
        The best by its score on held-out rows; None where no run was drawn, or none has a score.

    Raises
    ------
    UsageError
        If the scenario cannot work; nothing has run then.
    KeyboardInterrupt
        If a run was interrupted: nothing is left then, as the best of some would cost more than is stated.
    """
    from trustml.data.streams import secret_generator

    if isinstance(scenario, Scenario):
        wanted = overridden(scenario, overrides)
    else:
        wanted = read_scenario(find_scenario(str(scenario)), overrides=overrides)
    candidates = tuning_scenarios(wanted, grid, mean_runs=mean_runs)
    for candidate in candidates:
        check_scenario(candidate)
    root, generator = Path(out).resolve(), secret_generator()
    root.mkdir(parents=True, exist_ok=True)
    best: tuple[float, Path] | None = None
    with tempfile.TemporaryDirectory(prefix=".trustml-tries-", dir=root) as folder:
        for _ in range(int(generator.poisson(mean_runs))):
            candidate = candidates[int(generator.integers(len(candidates)))]
            found = api.run(candidate, out=folder, listener=listener, progress=False)
            if found.status == "interrupted":
                raise KeyboardInterrupt
            table = found.measures()
            scores = table[(table.measure == leading(set(table.measure))) & table.value.notna()].value
            if len(scores) and (best is None or float(scores.iloc[0]) > best[0]):
                best = float(scores.iloc[0]), found.path
        return None if best is None else api.Run(RunDirectory(best[1].rename(root / best[1].name)))
