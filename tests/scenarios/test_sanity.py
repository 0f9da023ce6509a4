"""The sanity check of Adebayo et al. on the MNIST network: guided backpropagation fails it, the gradient does not."""

from __future__ import annotations

import pytest

import trustml
from trustml.models.zoo import mnist_cnn


@pytest.mark.long
@pytest.mark.torch
def test_guided_backpropagation_is_flagged_on_the_mnist_network(real_data, tmp_path):
    folder = real_data / "mnist"
    scenario = trustml.Scenario(
        name="sanity",
        data=trustml.Idx(
            images=str(folder / "train-images-idx3-ubyte.gz"),
            labels=str(folder / "train-labels-idx1-ubyte.gz"),
            test_images=str(folder / "t10k-images-idx3-ubyte.gz"),
            test_labels=str(folder / "t10k-labels-idx1-ubyte.gz"),
            first=5_000,
        ),
        model=mnist_cnn(),
        training=(trustml.Plain(epochs=3, batch_size=64, optimizer=trustml.SGD(learning_rate=0.05, momentum=0.9)),),
        backends=("torch",),
        explanations=trustml.Explanations(
            examples=24,
            methods=(trustml.Saliency(absolute=False, name="Gradient"), trustml.GuidedBackprop()),
            probes=trustml.Probes(faithfulness=False, randomisation=True, examples=24, n_perturbations=2),
            timing=False,
        ),
    )
    run = trustml.run(scenario, out=tmp_path)
    assert run.status == "success"
    table = run.measures().set_index(["measure", "method"])
    assert table.value["accuracy", ""] > 0.85
    assert table.note["mprt_signed_similarity", "GuidedBackprop"].startswith("fails the sanity check")
    assert "fails" not in table.note["mprt_signed_similarity", "Gradient"]
    assert table.low["mprt_similarity", "GuidedBackprop"] > table.high["mprt_similarity", "Gradient"]
    assert abs(table.value["mprt_signed_similarity", "RandomControl"]) < 0.1
