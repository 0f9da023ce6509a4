"""Sanity checks of explanations, on networks whose nodes have names or are numbered; no framework is asked."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from trustml.backends.contract import ExplainRequest, Model
from trustml.backends.numpy import network as oracle
from trustml.models.layers import Architecture, Dense, Node, Tanh
from trustml.models.weights import initial_weights
from trustml.record.files import encode_arrays, read_arrays
from trustml.scenario.methods import Saliency
from trustml.scenario.spec import Probes
from trustml.worker.probing import probe

LAYERS = (Dense(units=4), Tanh(), Dense(units=3))


def gradients(request):
    """Explain by the oracle's gradients."""
    rows = zip(request.inputs, request.targets, strict=True)
    found = [oracle.input_gradient(request.model, one, int(target)) for one, target in rows]
    return {"native": np.stack(found).astype(np.float32)}


@pytest.mark.parametrize(
    "names, stored",
    [(("body", "squashed", "head"), np.array(["head", "body"])), (("0", "1", "2"), np.array([2, 0], np.float32))],
)
def test_randomised_layers_are_stored_by_the_names_of_their_nodes(names, stored, tmp_path):
    named = tuple(Node(name=name, layer=layer) for name, layer in zip(names, LAYERS, strict=True))
    architecture = Architecture(layers=LAYERS if names[0] == "0" else named)
    generator = np.random.default_rng(0)
    inputs, targets = generator.normal(size=(2, 5)).astype(np.float32), np.array([0, 2])
    model = Model(
        architecture=architecture,
        input_shape=(5,),
        weights=initial_weights(architecture, (5,), generator=generator),
    )
    request = ExplainRequest(
        model=model,
        inputs=inputs,
        targets=targets,
        method=Saliency(absolute=False),
        baseline=np.zeros_like(inputs),
        background=inputs[:0],
        features=np.arange(5),
        layer=-1,
        seed=0,
    )
    job = SimpleNamespace(
        probes=Probes(faithfulness=False, randomisation=True, examples=2, n_perturbations=2),
        model=architecture,
        input_shape=(5,),
        task=model.task,
        quantity="logit",
    )
    found = probe(
        job,
        SimpleNamespace(explain=gradients),
        (None, None),
        {"Saliency": request},
        {"targets": targets, "Saliency.native": gradients(request)["native"]},
        {"baseline": request.baseline, "features": request.features},
        at=SimpleNamespace(progress=SimpleNamespace(stage=lambda title: None)),
    )
    (tmp_path / "probes.npz").write_bytes(encode_arrays(found))
    kept = read_arrays(tmp_path / "probes.npz")
    layers = kept["Saliency.native.mprt_layers"]
    np.testing.assert_array_equal(layers, stored)
    assert layers.dtype.kind == stored.dtype.kind
    cascade = kept["Saliency.native.mprt_cascading.signed"]
    assert 2 in cascade.shape and np.isfinite(cascade).all() and (np.abs(cascade) < 1).any()
