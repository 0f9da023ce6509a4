"""The recipes of CONTRIBUTING.md, followed in a copy of the source: as few files as it says, and it works everywhere.

A measure is added by ``tests/measures/test_adding.py``, a backend by ``tests/backends/test_fourth.py``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import WHOLE

ROOT = Path(__file__).resolve().parents[2]

METHOD = {
    "scenario/methods.py": [
        (
            "class GuidedBackprop(MethodSpec",
            'class SquaredGradient(MethodSpec, frozen=True, kw_only=True, tag="SquaredGradient"):\n'
            '    """Square of the gradient of the target logit."""\n\n\n',
        ),
        ("    | RandomControl\n)", "    | SquaredGradient\n"),
    ],
    "catalogue/methods.py": [
        (
            "    m.Deconvolution: MethodEntry(",
            "    m.SquaredGradient: MethodEntry(\n"
            '        title="Squared gradient",\n        paper="none",\n'
            '        needs="gradients",\n        signed=False,\n'
            '        by={"torch": captum("gradient_methods:squared_gradient", "Saliency"), '
            '"jax": ours("gradient_methods:squared_gradient")},\n    ),\n',
        )
    ],
    "backends/torch/gradient_methods.py": [
        (
            "def smooth_grad(",
            "def squared_gradient(module: nn.Sequential, request: ExplainRequest, method: m.Method) -> Attributions:\n"
            '    """Captum\'s saliency with its sign, squared."""\n'
            "    library = captum.attr.Saliency(module)\n"
            "    def squared(piece: Piece) -> Tensor:\n"
            "        return library.attribute(piece.inputs, target=piece.targets, abs=False) ** 2\n\n"
            '    return {"native": piecewise(request, squared)}\n\n\n',
        )
    ],
    "backends/jax/gradient_methods.py": [
        (
            "def smooth_grad(",
            "def squared_gradient(request: ExplainRequest, method: m.Method) -> Floats:\n"
            '    """Square of the gradient."""\n    return gradient_method(request, _GRADIENT) ** 2\n\n\n',
        )
    ],
}
ATTACK = {
    "attacks/threshold.py": [
        (
            "def entropy_scores(",
            "def margin_scores(logits: Floats, labels: npt.NDArray[np.int64]) -> Floats:\n"
            '    """Logit of the label over the largest other."""\n'
            "    own = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]\n"
            "    others = np.where(np.arange(logits.shape[1]) == labels[:, None], -np.inf, logits)\n"
            "    return np.asarray(own - others.max(axis=1), np.float64)\n\n\n",
        )
    ],
    "attacks/catalogue.py": [
        ("    modified_entropy_scores,\n)", "    margin_scores,\n"),
        (
            '    Attack(\n        name="label-only"',
            '    Attack(name="margin", title="Margin", paper="none", '
            'score=lambda seen: (margin_scores(seen.logits, seen.labels), "")),\n',
        ),
    ],
}
REGIME = {
    "scenario/federated.py": [
        (
            "class MechanismSpec(",
            'class FedSign(LocalSpec, frozen=True, kw_only=True, tag="FedSign"):\n'
            '    """The server moves by the sign of the average gradient."""\n\n\n',
        ),
        (" | DPFedAvg\n", " | FedSign"),
    ],
    "__init__.py": [("    FedYogi as FedYogi,", "    FedSign as FedSign,\n")],
    "backends/torch/server_optimizers.py": [
        (
            "        case FedProx():",
            "        case FedSign():\n            return ServerSign(parameters, {'lr': rate})\n",
        ),
        ("FedProx, FedYogi\n", "FedSign, "),
        (
            "class ServerAdam(",
            "class ServerSign(torch.optim.Optimizer):\n"
            "    @torch.no_grad()\n    def step(self, closure=None):\n"
            "        for group in self.param_groups:\n            for one in group['params']:\n"
            "                one -= group['lr'] * one.grad.sign()\n\n\n",
        ),
    ],
    "backends/jax/server_optimizers.py": [
        (
            "        case FedAdagrad():",
            "        case FedSign():\n"
            "            rate = regime.server_learning_rate\n"
            "            return lambda params: {}, lambda params, state, gradient: (\n"
            "                jax.tree.map(lambda w, g: w - rate * jnp.sign(g), params, gradient), state)\n",
        ),
        ("FedSGD, FedYogi\n", "FedSign, "),
    ],
    "backends/tensorflow/server_optimizers.py": [
        (
            "        case FedProx():",
            "        case FedSign():\n            return tff.learning.optimizers.build_sgdm(rate)  # to be written\n",
        ),
        ("FedSGD, FedYogi\n", "FedSign, "),
    ],
}
SCENARIO = """
name = "recipe"
backends = ["jax"]
data = {kind = "Digits", test_fraction = 0.8}
model = {layers = [{kind = "Flatten"}, {kind = "Dense", units = 16}, {kind = "ReLU"}, {kind = "Dense", units = 10}]}
explanations = {examples = 8, methods = [{kind = "SquaredGradient"}], timing = false}
execution = {threads = 1}

[[training]]
kind = "FedSign"
partition = {kind = "iid", clients = 4}
rounds = 3
server_learning_rate = 0.01
"""


@pytest.fixture
def copy(tmp_path):
    """The package in a folder of its own, in which recipes are followed."""
    shutil.copytree(ROOT / "src" / "trustml", tmp_path / "src" / "trustml")  # with what is compiled of it
    return tmp_path


def follow(copy: Path, recipe: dict[str, list[tuple[str, str]]]) -> int:
    """Put each text before its place; the number of files."""
    for file, insertions in recipe.items():
        path = copy / "src" / "trustml" / file
        text = path.read_text(encoding="utf-8")
        for place, added in insertions:
            assert text.count(place) == 1, (file, place)
            text = text.replace(place, added + place)
        path.write_text(text, encoding="utf-8")
    return len(recipe)


def trustml(copy: Path, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(copy / "src"), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "trustml.cli", *words], cwd=copy, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert words[0] != "run" or "status: success" in done.stderr, "as people see it"
    return done.stdout


def stated(recipe: str) -> int:
    """Files that CONTRIBUTING.md says a recipe touches."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return int(re.search(rf"^\| {recipe} \| (\d+) ", text, re.MULTILINE)[1])


def test_recipes_touch_as_many_files_as_is_said(copy):
    for name, recipe in (("regime", REGIME), ("method", METHOD), ("attack", ATTACK)):
        assert follow(copy, recipe) == stated(name)


@pytest.mark.long  # in short an attack is added
@pytest.mark.torch
@pytest.mark.jax
def test_a_federated_regime_and_a_method_of_explanation(copy):
    """Both in one copy, since its run takes the time."""
    assert follow(copy, REGIME) == stated("regime") <= 6
    assert follow(copy, METHOD) == stated("method") <= 4
    (copy / "s.toml").write_text(SCENARIO.replace('"jax"', '"torch", "jax"') if WHOLE else SCENARIO)
    trustml(copy, "run", "s.toml")
    shown = trustml(copy, "show", "latest")
    found = [float(one) for one in re.findall(r"FedSign +(?:torch|jax) +(0\.\d+) +0\.\d+-", shown)]
    assert len(found) == 1 + WHOLE and max(found) == pytest.approx(min(found), abs=0.02) and min(found) > 0.2
    assert re.search(r"SquaredGradient +trustml-jax ", shown)
    if WHOLE:
        assert re.search(r"SquaredGradient +captum ", shown)
        assert re.search(r"SquaredGradient +captum ~ trustml-jax +1\.000", shown)


def test_an_attack(copy):
    assert follow(copy, ATTACK) == stated("attack") <= 2
    code = (
        "import numpy as np; from trustml.attacks.membership import attack_membership\n"
        "from trustml.auditing.checks_membership import check_membership\n"
        "g = np.random.default_rng(0); logits, labels = g.normal(size=(400, 3)), g.integers(0, 3, 400)\n"
        "logits[np.arange(200), labels[:200]] += 3\n"
        "found = check_membership(logits[:200], labels[:200], logits[200:], labels[200:], references=None,\n"
        "    confidence=0.99, alike=True, subject='x')\n"
        "(one,) = [f for f in found.findings if f.id == 'membership.margin']\n"
        "print(one.severity, one.title)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(copy / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("risk Margin tells members from others")
