"""How good models are beside those of scripts as the libraries' own documentation writes them, seed by seed.

``python benchmarks/beside_scripts.py housing text cifar --seeds 6``. A comparison takes a ready scenario's data, as it
is prepared, and one of its regimes: trustml trains it in PyTorch, and a script of plain PyTorch (or of Opacus's
tutorials) trains the same network by the same number of epochs, batch size, optimizer and learning rate, from starting
weights, batches and noise of its own. What is compared is the score on the same held-out examples: the mean difference
over seeds with its 90 % interval (Student's t over the paired differences), so that what a seed does is in it. Nothing
is timed. Writes ``benchmarks/results/beside_scripts.json`` and ``.md`` after every few seeds; results of comparisons
that are not run stay. ``--within 0.02`` goes on, up to ``--most`` seeds, until the interval lies within that;
``--more`` goes on from the seeds that are written there.

Those of images leave augmentation out of both, as Opacus's tutorial has none, and take images halved, so that a laptop
is done: ``--epochs`` and ``--size`` take more.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import trustml
from trustml.data.dataset import Dataset
from trustml.data.datasets import load_dataset
from trustml.models.answers import score
from trustml.models.tasks import facts_of
from trustml.scenario.attacks import Attacks
from trustml.scenario.read import read_scenario
from trustml.scenario.ready import find_scenario
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.spec import Execution, Explanations, Scenario

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "beside_scripts.json"
LARGEST = 64
"""Examples that are clipped at once, as Opacus's tutorial has it."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A regime of a ready scenario, and the script beside it.

    Attributes
    ----------
    scenario : str
    regime : int
        Its place among the scenario's.
    script : callable
        Data, scenario, which has the one regime, and a seed to outputs of the held-out examples.
    what : str
        The script in words.
    """

    scenario: str
    regime: int
    script: Callable[[Dataset, Scenario, int], np.ndarray]
    what: str


def tensors(data: Dataset, part: str) -> tuple[Tensor, Tensor]:
    """Inputs, images with channels first, and labels."""
    examples = getattr(data, part)
    inputs = torch.from_numpy(np.ascontiguousarray(examples.inputs))
    return (inputs.permute(0, 3, 1, 2) if inputs.ndim == 4 else inputs), torch.from_numpy(examples.labels)


def loader_of(data: Dataset, batch_size: int) -> DataLoader:
    """Shuffled batches."""
    return DataLoader(TensorDataset(*tensors(data, "train")), batch_size=batch_size, shuffle=True)


def fit(
    model: nn.Module, optimizer: torch.optim.Optimizer, criterion: nn.Module, batches: DataLoader, epochs: int
) -> None:
    """Train, as PyTorch's quickstart has it."""
    for _ in range(epochs):
        for inputs, labels in batches:
            optimizer.zero_grad()
            criterion(model(inputs), labels).backward()
            optimizer.step()


@torch.no_grad()
def outputs_of(model: nn.Module, data: Dataset) -> np.ndarray:
    """What the model gives for the held-out examples."""
    model.eval()
    return np.concatenate([model(part).numpy() for part in tensors(data, "test")[0].split(256)])


def housing_script(data: Dataset, scenario: Scenario, seed: int) -> np.ndarray:
    """A regression as PyTorch's quickstart writes it."""
    torch.manual_seed(seed)
    regime = scenario.training[0]
    features = data.train.inputs.shape[1]
    model = nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=regime.optimizer.learning_rate, momentum=0.9)
    fit(model, optimizer, nn.MSELoss(), loader_of(data, regime.batch_size), regime.epochs)
    return outputs_of(model, data)


class TextEncoder(nn.Module):
    """PyTorch's own encoder layer over vectors of tokens and positions; the mean of what is no padding."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(258, 16)
        self.positions = nn.Parameter(torch.zeros(steps, 16))
        self.norm = nn.LayerNorm(16, eps=1e-12)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, activation="gelu", batch_first=True)
        self.classifier = nn.Linear(16, 2)
        for part in (self.tokens.weight, self.positions):
            nn.init.trunc_normal_(part, std=0.02, a=-0.04, b=0.04)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of token ids (n, steps)."""
        padding = ids == 0
        values = self.layer(self.norm(self.tokens(ids.long()) + self.positions), src_key_padding_mask=padding)
        there = (~padding).float()[..., None]
        return self.classifier((values * there).sum(dim=1) / there.sum(dim=1).clamp(min=1))


def text_script(data: Dataset, scenario: Scenario, seed: int) -> np.ndarray:
    """A small encoder trained by Adam and weighted cross-entropy."""
    torch.manual_seed(seed)
    regime = scenario.training[0]
    model = TextEncoder(data.train.inputs.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=regime.optimizer.learning_rate)
    criterion = nn.CrossEntropyLoss(weight=torch.tensor(scenario.task.class_weights))
    fit(model, optimizer, criterion, loader_of(data, regime.batch_size), regime.epochs)
    return outputs_of(model, data)


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut (He et al., CVPR 2016), with GroupNorm."""

    def __init__(self, before: int, filters: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, filters, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.GroupNorm(8, filters) for _ in range(2))
        self.shortcut = nn.Sequential()
        if stride > 1 or before != filters:
            self.shortcut = nn.Sequential(nn.Conv2d(before, filters, 1, stride, bias=False), nn.GroupNorm(8, filters))

    def forward(self, x: Tensor) -> Tensor:
        """Channels of images (n, channels, rows, columns)."""
        y = functional.relu(self.norms[0](self.first(x)))
        return functional.relu(self.norms[1](self.second(y)) + self.shortcut(x))


def resnet20() -> nn.Module:
    """ResNet-20 with GroupNorm, which starts as torchvision's networks do, those of Opacus's tutorial."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.GroupNorm(8, 16), nn.ReLU()]
    before = 16
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            layers.append(BasicBlock(before, filters, 2 if stage and not block else 1))
            before = filters
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    return model


def cifar_plain_script(data: Dataset, scenario: Scenario, seed: int) -> np.ndarray:
    """A network of images as PyTorch's tutorial trains it."""
    torch.manual_seed(seed)
    regime = scenario.training[0]
    model = resnet20()
    optimizer = torch.optim.Adam(model.parameters(), lr=regime.optimizer.learning_rate)
    fit(model, optimizer, nn.CrossEntropyLoss(), loader_of(data, regime.batch_size), regime.epochs)
    return outputs_of(model, data)


def cifar_script(data: Dataset, scenario: Scenario, seed: int) -> np.ndarray:
    """A private network as Opacus's image tutorial writes it."""
    from opacus import PrivacyEngine
    from opacus.utils.batch_memory_manager import BatchMemoryManager

    torch.manual_seed(seed)
    regime = scenario.training[0]
    model = resnet20()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=regime.optimizer.learning_rate, momentum=regime.optimizer.momentum
    )
    engine = PrivacyEngine()
    model, optimizer, batches = engine.make_private_with_epsilon(
        module=model,
        optimizer=optimizer,
        data_loader=loader_of(data, regime.batch_size),
        epochs=regime.epochs,
        target_epsilon=regime.epsilon,
        target_delta=regime.delta,
        max_grad_norm=regime.clipping_norm,
    )
    for _ in range(regime.epochs):
        with BatchMemoryManager(data_loader=batches, max_physical_batch_size=LARGEST, optimizer=optimizer) as pieces:
            fit(model, optimizer, nn.CrossEntropyLoss(), pieces, 1)
    return outputs_of(model, data)


COMPARISONS = {
    "housing": Comparison(scenario="housing", regime=0, script=housing_script, what="plain PyTorch, nn.Sequential"),
    "text": Comparison(
        scenario="text_spam", regime=0, script=text_script, what="plain PyTorch, nn.TransformerEncoderLayer"
    ),
    "cifar_plain": Comparison(
        scenario="cifar_small", regime=0, script=cifar_plain_script, what="plain PyTorch, nn.Module"
    ),
    "cifar": Comparison(
        scenario="cifar_small", regime=1, script=cifar_script, what="Opacus, make_private_with_epsilon"
    ),
}


def scenario_of(one: Comparison, *, epochs: int | None, size: int | None) -> Scenario:
    """The one regime of the scenario, in PyTorch, with nothing else to do."""
    whole = read_scenario(find_scenario(one.scenario))
    regime = whole.training[one.regime]
    assert isinstance(regime, Plain | DPSGD)
    changed = {"augmentation": None} if epochs is None else {"augmentation": None, "epochs": epochs}
    if isinstance(regime, DPSGD):
        changed |= {"steps": None, "epochs": epochs or 1}
    data = whole.data if size is None else replace(whole.data, size=(size, size))
    return replace(
        whole,
        data=data,
        training=(replace(regime, **changed),),
        explanations=Explanations(methods=(), examples=1),
        attacks=Attacks(),
        backends=("torch",),
        execution=Execution(threads=1),
        chosen_from_data=(),
    )


def trained_by_trustml(scenario: Scenario) -> list[float]:
    """Held-out score of each seed, in their order."""
    with tempfile.TemporaryDirectory() as folder:
        run = trustml.run(scenario, out=folder)
        table = run.measures()
    rows = table[table.measure == facts_of(scenario.task).score].sort_values("seed")
    if len(rows) != len(scenario.seeds) or rows.value.isna().any():
        raise SystemExit(f"{scenario.name}: a training failed: {list(rows.note)}")
    return [float(value) for value in rows.value]


def difference_of(ours: list[float], theirs: list[float]) -> list[float]:
    """Mean of the paired differences, and its 90 % interval."""
    from scipy import stats

    differences = np.array(ours) - np.array(theirs)
    reach = float(stats.t.ppf(0.95, len(ours) - 1) * differences.std(ddof=1) / math.sqrt(len(ours)))
    mean = float(differences.mean())
    return [mean, mean - reach, mean + reach]


def compared(name: str, one: Comparison, asked: argparse.Namespace, earlier: dict) -> Iterator[dict]:
    """Both scores of the seeds so far, with those of earlier, and the interval of their mean difference."""
    scenario = scenario_of(one, epochs=asked.epochs, size=asked.size)
    data = load_dataset(scenario.data, scenario.task)
    facts = about(one, scenario, data)
    if any(earlier[key] != facts[key] for key in earlier.keys() & facts.keys() - {"command", "date"}):
        raise SystemExit(f"{name}: what is written was compared otherwise; leave out --more")
    ours: list[float] = [*earlier.get("trustml", ())]
    theirs: list[float] = [*earlier.get("beside", ())]
    within = False
    while len(ours) < asked.seeds or (asked.within is not None and not within and len(ours) < asked.most):
        seeds = tuple(range(len(ours), len(ours) + asked.together))
        ours += trained_by_trustml(replace(scenario, seeds=seeds))
        theirs += [score(scenario.task, one.script(data, scenario, seed), data.test.labels) for seed in seeds]
        difference = difference_of(ours, theirs)
        within = asked.within is not None and max(map(abs, difference)) <= asked.within
        for seed in seeds:
            line = f"{name}, seed {seed}: trustml {ours[seed]:.4f}, script {theirs[seed]:.4f}"
            print(line, file=sys.stderr, flush=True)
        yield facts | {"trustml": ours, "beside": theirs, "difference": difference, "within": asked.within}


def about(one: Comparison, scenario: Scenario, data: Dataset) -> dict:
    """What is compared, and where."""
    labels, regime = data.test.labels, scenario.training[0]
    return {
        "scenario": one.scenario,
        "script": one.what,
        "measure": facts_of(scenario.task).score,
        "regime": f"{regime.title}, {regime.epochs} epochs of batches of {regime.batch_size}",
        "inputs": list(data.input_shape),
        "train": len(data.train),
        "test": len(labels),
        "constant": 0.0 if labels.dtype.kind == "f" else float(np.bincount(labels).max() / len(labels)),
        "command": " ".join(["python", *sys.argv]).partition(" --output")[0],
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {version('torch')}, "
        f"opacus {version('opacus')}",
    }


def page(results: dict[str, dict]) -> str:
    """Write the table."""
    lines = [
        "# Held-out scores beside plain scripts",
        "",
        f"{' '.join((__doc__ or '').split('``python')[0].split())} Differences are trustml less the script, mean over",
        "seeds with the 90 % interval of Student's t over paired differences.",
        "",
        "| | regime | beside | measure | a constant | trustml | script | difference | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in results.items():
        mean, low, high = one["difference"]
        form = f"inputs {tuple(one['inputs'])}, {one['train']} to train on"
        lines.append(
            f"| {name}: `{one['scenario']}`, {form} | {one['regime']} | "
            f"{one['script']} | {one['measure']} | {one['constant']:.3f} | {np.mean(one['trustml']):.4f} | "
            f"{np.mean(one['beside']):.4f} | {mean:+.4f} [{low:+.4f}, {high:+.4f}] | {len(one['trustml'])} |"
        )
    lines += ["", *(f"- {name}: `{one['command']}`, {one['date']}, {one['machine']}." for name, one in results.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the comparisons that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="+", choices=sorted(COMPARISONS))
    parser.add_argument("--seeds", type=int, default=4, help="at least")
    parser.add_argument("--together", type=int, default=2, help="seeds between two looks at the interval; 2 at least")
    parser.add_argument("--within", type=float, help="go on until the 90 %% interval lies between minus this and this")
    parser.add_argument("--most", type=int, default=30, help="seeds, with --within")
    parser.add_argument("--more", action="store_true", help="go on from the seeds that are written")
    parser.add_argument("--epochs", type=int, help="instead of the scenario's")
    parser.add_argument("--size", type=int, help="rows and columns of images")
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    results = json.loads(asked.output.read_text()) if asked.output.is_file() else {}
    for name in asked.names:
        earlier = results.get(name, {}) if asked.more else {}
        for so_far in compared(name, COMPARISONS[name], asked, earlier):
            results[name] = so_far
            asked.output.write_text(json.dumps(results, indent=2) + "\n")
            asked.output.with_suffix(".md").write_text(page(results))


if __name__ == "__main__":
    main()
