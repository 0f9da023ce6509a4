"""No secret has a default: who forgets one must hear of it, and not add noise that anybody can repeat."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

from tests.architecture.test_rules import MODULES, SOURCE
from trustml.backends.settings import FederatedSettings, PrivateSettings, StockSettings
from trustml.backends.shadows import ShadowModels
from trustml.scenario.federated import FedAvg
from trustml.scenario.optimizers import SGD

_SECRET = re.compile(
    r"(^|_)(noise|dropout|sampling|augmentation|canary|private)?_?(seeds?|entropy|key|nonce|salt|words)$"
)
_ROOMS = ("backends", "worker", "privacy", "data", "plan", "launch")
NONE_IS_NO_SEED = {
    ("backends/jax/training.py", "key"): "of dropout: without one there is no dropout",
    ("backends/jax/network.py", "key"): "of dropout: without one there is no dropout",
    ("backends/jax/clipping.py", "key"): "of dropout: without one there is no dropout",
    ("backends/torch/postprocessors.py", "seed"): "pfl's signature: 32 bits that are not used",
}


def defaults(tree: ast.Module) -> list[str]:
    """Names of fields and parameters that have a default."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            fields = [part for part in node.body if isinstance(part, ast.AnnAssign) and part.value is not None]
            found += [part.target.id for part in fields if isinstance(part.target, ast.Name)]
        if isinstance(node, ast.FunctionDef):
            every = node.args
            plain = [*every.posonlyargs, *every.args]
            found += [part.arg for part in plain[len(plain) - len(every.defaults) :]]
            found += [
                part.arg for part, value in zip(every.kwonlyargs, every.kw_defaults, strict=True) if value is not None
            ]
    return found


@pytest.mark.parametrize("room", _ROOMS)
def test_no_secret_has_a_default(room):
    found = {
        (path.relative_to(SOURCE).as_posix(), name)
        for path in MODULES
        if path.relative_to(SOURCE).parts[0] == room
        for name in defaults(ast.parse(path.read_text()))
        if _SECRET.search(name)
    }
    assert found <= set(NONE_IS_NO_SEED), sorted(found - set(NONE_IS_NO_SEED))


def test_the_search_finds_them():
    source = "class A:\n    noise_seed: int = 0\n    seed: int\ndef f(a, key=None, *, entropy=(), word=1, other): ...\n"
    assert [name for name in defaults(ast.parse(source)) if _SECRET.search(name)] == ["noise_seed", "key", "entropy"]


@pytest.mark.parametrize(
    ("kind", "given", "missing"),
    [
        (FederatedSettings, {"regime": FedAvg(), "batch_size": 1}, "noise_seed"),
        (PrivateSettings, {"optimizer": SGD(), "expected_batch_size": 1}, "noise_seed"),
        (
            StockSettings,
            {
                "optimizer": SGD(),
                "keras_optimizer": False,
                "clipping_norm": 1.0,
                "noise_multiplier": 1.0,
                "batch_size": 1,
            },
            "seed",
        ),
    ],
)
def test_settings_without_a_secret_are_none(kind, given, missing):
    with pytest.raises(TypeError, match=missing):
        kind(**given)


def test_shadow_models_are_told_their_seeds():
    parameters = inspect.signature(ShadowModels).parameters
    assert all(parameters[name].default is inspect.Parameter.empty for name in ("noise_seeds", "dropout_seeds"))
