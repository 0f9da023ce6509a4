"""Cases that are explained in both environments."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.tensorflow.captum_side import Explained, explain_in_tensorflow, explained_in
from tests.backends.tensorflow.explained_cases import SEEDS, draw_arrays
from tests.conftest import filled_once


@pytest.fixture(scope="session")
def given() -> dict[str, np.ndarray]:
    return draw_arrays()


@pytest.fixture(scope="session")
def explained(given, tmp_path_factory) -> tuple[dict[str, np.ndarray], dict]:
    """Attributions of both libraries in their environment, and what else was seen there."""
    return explained_in(
        filled_once(
            tmp_path_factory,
            "explained",
            lambda folder: explain_in_tensorflow(given, folder, repetitions=len(SEEDS)),
        )
    )


@pytest.fixture(scope="session")
def cnn(given) -> Explained:
    return Explained("cnn", given)


@pytest.fixture(scope="session")
def mlp(given) -> Explained:
    return Explained("mlp", given)
