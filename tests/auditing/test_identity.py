"""Which model was audited: one hash for one model, another for any other."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import trustml
from tests.auditing.serving import serving
from trustml.auditing.identity import identity_of, probe_of
from trustml.auditing.models import JaxModel, Target, target_of
from trustml.errors import DataError
from trustml.record.files import arrays_digest

KERNEL = np.random.default_rng(0).normal(size=(4, 3))


def answers(inputs):
    return inputs.reshape(len(inputs), -1) @ KERNEL


def test_arrays_are_one_model_in_any_order_and_another_one_in_any_other_way():
    pairs = [("a", np.arange(6.0).reshape(2, 3)), ("b", np.zeros(2, np.float32))]
    found = arrays_digest(pairs)
    assert found == arrays_digest(reversed(pairs)) == arrays_digest([(n, np.asfortranarray(a)) for n, a in pairs])
    assert found == arrays_digest([(n, a.astype(a.dtype.newbyteorder(">"))) for n, a in pairs])
    others = [
        [("a", pairs[0][1])],
        [("c", pairs[0][1]), pairs[1]],
        [("a", pairs[0][1].reshape(3, 2)), pairs[1]],
        [("a", pairs[0][1].astype(np.float32)), pairs[1]],
        [("a", np.nextafter(pairs[0][1], 9.0)), pairs[1]],
        [("a", pairs[1][1]), ("b", pairs[0][1])],
    ]
    assert len({found, *map(arrays_digest, others)}) == len(others) + 1


def test_what_cannot_be_opened_is_known_by_its_answers_to_a_probe_that_anybody_can_make():
    found = identity_of(target_of(answers), shape=(2, 2), dtype="<f4")
    assert (found.kind, found.shape, found.dtype) == ("answers", (8, 2, 2), "<f4")
    probe = np.random.default_rng(0).random((8, 2, 2)).astype("<f4")
    assert found.sha256 == arrays_digest([("answers", answers(probe).astype(float).round(3) + 0.0)])
    near = identity_of(target_of(lambda inputs: answers(inputs) + 1e-9), shape=(2, 2), dtype="<f4")
    far = identity_of(target_of(lambda inputs: answers(inputs) + 0.01), shape=(2, 2), dtype="<f4")
    assert near == found and far.sha256 != found.sha256
    assert set(probe_of((50,), "<i8")) == {0, 1} and set(probe_of((50,), "|b1")) == {False, True}


def test_a_model_that_answers_by_chance_or_takes_no_numbers_is_not_identified():
    generator = np.random.default_rng()
    with pytest.raises(DataError, match="same answers twice"):
        identity_of(target_of(lambda inputs: generator.random((len(inputs), 2))), shape=(4,), dtype="<f8")
    with pytest.raises(DataError, match="no numbers"):
        identity_of(target_of(answers), shape=(4,), dtype="<U3")
    with pytest.raises(DataError, match="no example says"):
        identity_of(target_of(answers))


class Empty:
    """A live model whose arrays are elsewhere."""

    def digest(self):
        return arrays_digest(())


def test_models_without_arrays_of_their_own_are_not_all_one_model():
    one, other = (
        identity_of(Target(kind="", ask=ask, live=Empty()), shape=(4,), dtype="<f4")
        for ask in (answers, lambda inputs: 2 * answers(inputs))
    )
    assert one.kind == other.kind == "answers" and one.sha256 != other.sha256


def test_an_endpoint_is_named_by_its_address_without_what_is_secret_in_it():
    with serving(answers) as url:
        endpoint = trustml.Endpoint(f"{url}/predictions/digits?token=secret", protocol="torchserve")
        served = identity_of(
            target_of(trustml.Endpoint(url, protocol="torchserve", model="digits", batch_size=3)),
            shape=(4,),
            dtype="<f4",
        )
    assert target_of(endpoint).source == f"{url}/predictions/digits"
    assert served.source == f"{url}/predictions/digits"
    assert served.sha256 == identity_of(target_of(answers), shape=(4,), dtype="<f4").sha256


@pytest.mark.torch
def test_a_torch_module_is_known_by_parameters_and_buffers():
    import torch
    from torch import nn

    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    found = target_of(module).live.digest()
    again = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    assert target_of(again).live.digest() != found
    again.load_state_dict(module.state_dict())
    assert target_of(again).live.digest() == found
    again[1].running_mean += 1e-6
    assert target_of(again).live.digest() != found
    assert target_of(module.to(torch.bfloat16)).live.digest() != found


@pytest.mark.jax
def test_a_jax_function_is_known_by_its_parameters():
    params = {"dense": {"kernel": KERNEL, "bias": np.zeros(3)}}
    found = identity_of(target_of(JaxModel(lambda p, x: x @ p["dense"]["kernel"], params)))
    assert found.kind == "weights"
    changed = {"dense": {"kernel": KERNEL, "bias": np.ones(3)}}
    assert target_of(JaxModel(lambda p, x: x, changed)).live.digest() != found.sha256


def test_an_audit_holds_the_hash_in_record_json_report_and_card(tmp_path):
    generator = np.random.default_rng(1)
    data = [(generator.random((40, 4)), generator.integers(0, 3, 40)) for _ in range(2)]
    audit = trustml.audit(answers, train=data[0], holdout=data[1], checks=("membership",))
    identity = audit.record.models[0].identity
    assert identity.sha256 == identity_of(target_of(answers), shape=(4,), dtype="<f8").sha256
    assert f'"sha256": "{identity.sha256}"' in audit.to_json()
    for path in (audit.report(tmp_path / "a.html"), audit.model_card(tmp_path / "a.md")):
        assert identity.sha256 in path.read_text()
    assert not any(finding.id == "data.identity" for finding in audit.findings)


def test_a_model_that_cannot_be_identified_is_a_finding_and_no_failure():
    generator = np.random.default_rng(1)
    data = [(generator.random((40, 4)), generator.integers(0, 3, 40)) for _ in range(2)]
    audit = trustml.audit(
        lambda inputs: generator.normal(size=(len(inputs), 3)), train=data[0], holdout=data[1], checks=("membership",)
    )
    assert audit.record.models[0].identity is None
    (finding,) = [one for one in audit.findings if one.id == "data.identity"]
    assert finding.severity == "not checked" and "twice" in finding.title


def test_a_keras_file_is_known_by_its_bytes(tmp_path):
    target = Target(kind="", ask=answers, source="m.keras", file_digest=hashlib.sha256(b"x").hexdigest())
    found = identity_of(target)
    assert (found.kind, found.source, found.sha256) == ("file", "m.keras", target.file_digest)


@pytest.mark.jax
def test_keys_of_generators_among_the_parameters_are_part_of_what_a_model_is():
    import jax

    def model(seed):
        params = {"w": np.ones((4, 2), np.float32), "key": jax.random.key(seed)}
        return target_of(JaxModel(lambda p, x: x @ p["w"], params))

    assert identity_of(model(0)).sha256 == identity_of(model(0)).sha256 != identity_of(model(1)).sha256
    with model(0).live.randomised(0) as other:
        np.testing.assert_array_equal(other.outputs(np.ones((3, 4))), 4.0)
