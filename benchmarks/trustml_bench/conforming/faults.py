"""Faults that were found in other libraries, each with a program of its own that shows it."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec

REPRODUCTIONS = Path(__file__).resolve().parent.parent.parent / "reproductions"
STILL_THERE = 3
"""Exit code of a reproduction while the fault is there; 0 where it is mended."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault.

    Attributes
    ----------
    reproduction : str
        Name of the program, without its ending. Its first docstring says what is wrong; the title is what stands
        before the first full stop of it.
    environment : str
        Where it runs; see :func:`trustml_bench.places.find_place`.
    engines : tuple of str
        Engines of the catalogue in which the suite finds it; none where another check of trustml did.
    """

    reproduction: str
    environment: str
    engines: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Where the program is."""
        return REPRODUCTIONS / f"{self.reproduction}.py"

    def told(self) -> tuple[str, str]:
        """Title, and what is wrong."""
        text = ast.get_docstring(ast.parse(self.path.read_text("utf-8"))) or ""
        title, _, rest = text.partition("\n")
        return title.rstrip("."), rest.strip()


FAULTS: tuple[Fault, ...] = (
    Fault(reproduction="opacus_channels_last", environment="torch"),
    Fault(
        reproduction="opacus_not_finite",
        environment="torch",
        engines=("opacus", "opacus-functorch", "opacus-ghost", "opacus-peft"),
    ),
    Fault(reproduction="torch_seed", environment="torch"),
    Fault(reproduction="jax_privacy_gdp", environment="jax"),
    Fault(reproduction="tf_vectorized_pad", environment="tensorflow"),
    Fault(
        reproduction="tf_privacy_not_finite",
        environment="tensorflow",
        engines=("tf-privacy-optimizer", "tf-privacy-model", "tf-privacy-fast"),
    ),
    Fault(reproduction="tff_fedprox", environment="tensorflow"),
    Fault(reproduction="tff_norm_overflow", environment="tensorflow", engines=("tff",)),
    Fault(reproduction="pfl_banded_matrix", environment="torch"),
    Fault(reproduction="pfl_cohort", environment="torch", engines=("pfl",)),
    Fault(reproduction="flower_zero_update", environment="flower", engines=("flower-server", "flower-client")),
    Fault(reproduction="flower_not_finite", environment="flower", engines=("flower-server", "flower-client")),
    Fault(reproduction="flower_weights", environment="flower", engines=("flower-server", "flower-client")),
)
