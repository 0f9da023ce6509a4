"""Trained models of three networks, plain and private, leave to every target: what the table of the run then says."""

from __future__ import annotations

import pytest

import trustml
from tests.deployment.exported_cases import added
from tests.deployment.test_exporting import GRADIENTS, LOGITS
from trustml import DPSGD, SGD, Architecture, Digits, Explanations, Flatten, Plain, Scenario
from trustml.compare.table import fact_of
from trustml.deployment.targets import TARGETS
from trustml.launch.added import added_variables
from trustml.models.residual import residual_network
from trustml.models.zoo import mlp, small_cnn
from trustml.record.exports import read_exports

NETWORKS = {
    "torch": small_cnn(),
    "tensorflow": Architecture(layers=(Flatten(), *mlp([32], classes=10).layers)),
    "jax": residual_network(filters=(4, 8), blocks=1, groups=2, classes=10),
}
"""By the framework that trains it; files are written and asked in all of them."""

pytestmark = [pytest.mark.long, pytest.mark.torch, pytest.mark.jax, pytest.mark.tensorflow, pytest.mark.timeout(3600)]


@pytest.fixture
def variables(monkeypatch):
    """Folders of packages for some targets alone, as processes that write files get them."""
    for name, folder in added_variables().items():
        monkeypatch.setenv(name, folder)


@pytest.mark.parametrize("backend", NETWORKS)
def test_every_target_says_what_the_trained_model_says(backend, tmp_path, variables):
    scenario = Scenario(
        name="leaving",
        data=Digits(),
        model=NETWORKS[backend],
        training=(
            Plain(epochs=3, batch_size=32, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
            DPSGD(epsilon=8.0, epochs=3, batch_size=128, optimizer=SGD(learning_rate=0.5)),
        ),
        explanations=Explanations(examples=8, scope="own"),
        backends=(backend,),
    )
    run = trustml.run(scenario, out=tmp_path)
    targets = [name for name in TARGETS if added(name)]
    models = [record.id for record in run.manifest.jobs if record.kind == "train"]
    assert len(models) == 2
    for model in models:
        for target in targets:
            run.export(model, to=target)
    table = run.measures()
    exports = list(read_exports(run.directory))
    assert len(exports) == len(models) * len(targets) and all(one.statement_kept for one in exports)
    logits, differ, agree = (
        table[table.measure == f"deployed_{name}"]
        for name in ("logit_difference", "disagreement", "attribution_agreement")
    )
    assert len(logits) == len(differ) == len(exports)
    assert len(agree.drop_duplicates(["job", "subject"])) == len(exports)
    assert logits.value.max() <= LOGITS, logits[["job", "subject", "value"]].to_string()
    assert differ.value.max() == 0 and set(differ.n) == {run.manifest.data.test_examples}
    gradients = agree[agree.method == "input gradients"]
    assert set(gradients.subject) >= {name for name in targets if TARGETS[name].gradients}
    assert fact_of(gradients, "largest_difference", default=float("inf")).max() <= GRADIENTS
    asked = {name for name in targets if not TARGETS[name].gradients}
    for method in ("occlusion", "KernelSHAP"):
        found = agree[(agree.method == method) & agree.subject.isin(asked)]
        assert set(found.subject) == asked and found.value.min() > 0.99, found[["job", "subject", "value"]].to_string()
