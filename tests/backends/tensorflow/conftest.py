"""Cases that are explained in both environments."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.tensorflow.captum_side import Explained
from tests.backends.tensorflow.explained_cases import draw_arrays


@pytest.fixture(scope="session")
def given() -> dict[str, np.ndarray]:
    return draw_arrays()


@pytest.fixture(scope="session")
def cnn(given) -> Explained:
    return Explained("cnn", given)


@pytest.fixture(scope="session")
def mlp(given) -> Explained:
    return Explained("mlp", given)
