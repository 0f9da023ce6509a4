"""Data that scikit-learn brings is what scikit-learn itself reads, without its import."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits

from trustml.data.installed import BREAST_CANCER_COLUMNS, read_breast_cancer, read_digits


def test_digits_are_those_of_scikit_learn():
    images, target = read_digits()
    theirs = load_digits()
    assert np.array_equal(images, theirs.images) and np.array_equal(target, theirs.target)


def test_breast_cancer_is_that_of_scikit_learn():
    values, target, names = read_breast_cancer()
    theirs = load_breast_cancer()
    assert np.array_equal(values, theirs.data) and np.array_equal(target, theirs.target)
    assert names == tuple(theirs.target_names) and BREAST_CANCER_COLUMNS == tuple(theirs.feature_names)


def test_neither_imports_it():
    told = "from trustml.data.installed import read_breast_cancer, read_digits; read_digits(), read_breast_cancer()"
    code = f"import sys; {told}; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
