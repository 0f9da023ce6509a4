"""jax-privacy's module on audits, as a second opinion on :mod:`trustml.attacks.bounds`.

The module needs numpy, scipy and dp-accounting; its package imports JAX, which the core must not. So the file is
found through the distribution's own list and loaded by itself.

What it is good for, as tested here: ``CanaryScoreAuditor.epsilon_one_run``, ``epsilon_one_run_fdp`` and
``epsilon_clopper_pearson`` at an ``Explicit`` threshold that was fixed beforehand. In version 2.0.0:

- ``Bonferroni`` divides by the number of corners of the convex hull of the ROC curve, which is found from the same
  scores, and not by the number of thresholds there were (some 20 of 2,000). That is no proved correction; in
  simulations on Laplace mechanisms it did not fail, because a ratio of two Clopper-Pearson bounds has slack.
- ``Split`` takes its halves from the included and from the left-out canaries apart, so that the coins of a half are
  no longer independent, as the one-run theorems want them.
- ``epsilon_from_gdp`` takes the absolute value of a distance made from two upper bounds. Where those add up to more
  than 1 that is no bound in either direction: scores without any signal give epsilons far above 0.
- One-run bounds guess "there" alone, and cannot be asked about an attack without a single wrong guess or abstention.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType

from trustml.errors import EnvironmentMissingError

_FILE = "jax_privacy/auditing.py"
_NAME = "trustml_peer_jax_privacy_auditing"  # not its own name, lest an import of the package finds half of it


@functools.cache
def jax_privacy_auditing() -> ModuleType:
    """Load the module once, without its package.

    Raises
    ------
    EnvironmentMissingError
        If jax-privacy is not installed, or holds no such file.
    """
    fix = "run `pip install --no-deps jax-privacy==2.0.0`"
    try:
        files = distribution("jax-privacy").files or []
    except PackageNotFoundError as error:
        raise EnvironmentMissingError(f"jax-privacy is not installed; {fix}") from error
    path = next((found.locate() for found in files if found.as_posix() == _FILE), None)
    spec = importlib.util.spec_from_file_location(_NAME, str(path)) if path is not None else None
    if spec is None or spec.loader is None:
        raise EnvironmentMissingError(f"jax-privacy is installed without {_FILE}; {fix}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module  # its dataclasses look themselves up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[_NAME]
        raise
    return module
