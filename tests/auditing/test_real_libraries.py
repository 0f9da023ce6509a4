"""Models of libraries that need not be installed, made as their users make them: asked rightly, with every check.

Each test needs one library, and says which where it is not there. ``test_recognised.py`` holds doubles that are as
these were seen to be.
"""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

import trustml
from trustml.auditing.models import JaxModel, target_of
from trustml.errors import UsageError

GENERATOR = np.random.default_rng(0)
INPUTS = GENERATOR.normal(size=(80, 4)).astype(np.float32)
LABELS = (INPUTS[:, 0] + 0.5 * INPUTS[:, 1] > 0).astype(int)
TRAIN, HOLDOUT = (INPUTS[:40], LABELS[:40]), (INPUTS[40:], LABELS[40:])
NAMES = ["body mass", "age", "n", "height"]
FRAME = pd.DataFrame(INPUTS, columns=NAMES)


def library(name):
    """Import a library, or skip and say so."""
    if name == "keras":
        os.environ.setdefault("KERAS_BACKEND", "jax")
    return pytest.importorskip(name, reason=f"{name} is not installed: this looks at the real one")


def audited(model, *, train=TRAIN, holdout=HOLDOUT, outputs="auto"):
    """What an audit finds, by its names."""
    record = trustml.audit(model, train=train, holdout=holdout, outputs=outputs, explain_seconds=30).record
    return record.models[0], {finding.id: finding for finding in record.findings}


def looked_at_gradients(model):
    """Audit a model, see that every check ran that gradients allow, and give it."""
    described, found = audited(model, outputs="logits")
    for name in ("completeness", "sanity", "stability"):
        assert found[f"explanations.{name}"].severity != "not checked", found[f"explanations.{name}"].reason
    assert described.identity.kind == "weights"
    return described


@pytest.mark.jax
@pytest.mark.parametrize("state", [False, True])
def test_transforms_of_haiku(state):
    hk = library("haiku")
    import jax

    def network(x):
        scale = hk.get_state("scale", (), init=jax.numpy.ones) if state else 1.0
        return hk.Linear(2)(jax.numpy.tanh(hk.Linear(3)(x))) * scale

    made = (hk.transform_with_state if state else hk.transform)(network)
    params = made.init(jax.random.key(0), INPUTS)
    expected = made.apply(*params, None, INPUTS)[0] if state else made.apply(params, None, INPUTS)
    without = hk.without_apply_rng(made)
    for model in (
        *((one, params) for one in (made, without, made.apply, without.apply, jax.jit(made.apply))),
        JaxModel(made.apply, params),
    ):
        np.testing.assert_allclose(target_of(model).ask(INPUTS), expected, atol=1e-6)
    assert looked_at_gradients((made.apply, params)).kind == "Haiku transform"
    with pytest.raises(UsageError, match=r"audit `trustml\.JaxModel\(transformed\.apply, "):
        target_of(made)
    if state:
        with pytest.raises(UsageError, match="with a state, which is not given"):
            target_of((made.apply, params[0]))


@pytest.mark.jax
def test_modules_of_flax_linen():
    linen = library("flax.linen")
    import jax

    module = linen.Sequential([linen.Dense(3), jax.numpy.tanh, linen.Dense(2)])
    variables = module.init(jax.random.key(0), INPUTS)
    expected = module.apply(variables, INPUTS)
    for model in ((module, variables), (module.apply, variables), module.bind(variables), JaxModel(module, variables)):
        np.testing.assert_allclose(target_of(model).ask(INPUTS), expected, atol=1e-6)
    assert looked_at_gradients(module.bind(variables)).kind == "Flax module (Sequential)"
    with pytest.raises(UsageError, match=r"audit `trustml\.JaxModel\(module\.apply, variables\)`"):
        target_of(module)


@pytest.mark.jax
def test_modules_of_flax_nnx_in_evaluation_mode():
    nnx = library("flax.nnx")
    import jax

    rngs = nnx.Rngs(0)
    module = nnx.Sequential(
        nnx.Linear(4, 3, rngs=rngs),
        nnx.BatchNorm(3, rngs=rngs),
        jax.numpy.tanh,
        nnx.Dropout(0.5, rngs=rngs),
        nnx.Linear(3, 2, rngs=rngs),
    )
    looked_at = looked_at_gradients(module)
    assert looked_at.kind == "Flax NNX module (Sequential)"
    found, mean = target_of(module).ask(INPUTS), np.asarray(module.layers[1].mean[...])
    assert not mean.any() and not module.layers[3].deterministic  # left in training mode, its running mean unmoved
    module.eval()
    np.testing.assert_allclose(found, module(INPUTS), atol=1e-6)
    graph, state = nnx.split(module)  # with the keys of its generators
    assert looked_at_gradients(JaxModel(lambda state, x: nnx.merge(graph, state)(x), state)).kind == "JAX function"


@pytest.mark.jax
def test_modules_of_equinox_which_take_one_example():
    eqx = library("equinox")
    import jax

    module = eqx.nn.Sequential([eqx.nn.MLP(4, 2, 3, 1, key=jax.random.key(0)), eqx.nn.Dropout(0.5)])
    quiet = eqx.nn.inference_mode(module)
    expected = jax.vmap(quiet)(INPUTS)
    for model in (module, eqx.filter_jit(module), eqx.filter_vmap(quiet)):
        np.testing.assert_allclose(target_of(model).ask(INPUTS), expected, atol=1e-6)
    assert looked_at_gradients(module).kind == "Equinox module (Sequential)"


@pytest.mark.jax
@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
def test_models_of_keras_3_on_the_backend_at_hand():
    keras = library("keras")
    if not keras.__version__.startswith("3."):
        pytest.skip(f"keras {keras.__version__} is installed: this looks at Keras 3")

    class Own(keras.Model):  # Keras cannot copy it, as nobody told it of the class
        def __init__(self):
            super().__init__()
            self.inner = keras.Sequential(
                [keras.layers.Dense(3, "tanh"), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
            )

        def call(self, inputs, training=False):
            return self.inner(inputs, training=training)

    model = Own()
    expected = keras.ops.convert_to_numpy(model(INPUTS))
    before = [keras.ops.convert_to_numpy(one).copy() for one in model.variables]
    assert looked_at_gradients(model).kind == f"Keras model on {keras.config.backend()} (Own)"
    np.testing.assert_allclose(target_of(model).ask(INPUTS), expected, atol=1e-6)
    for one, kept in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), kept)
    ids, mask = (keras.Input((5,), dtype="int32", name=name) for name in ("input_ids", "attention_mask"))
    shown = keras.ops.cast(keras.ops.expand_dims(mask, -1), "float32")
    pooled = keras.ops.sum(keras.layers.Embedding(9, 4)(ids) * shown, axis=1)
    reader = keras.Model({"input_ids": ids, "attention_mask": mask}, keras.layers.Dense(2)(pooled))
    parts = {"input_ids": GENERATOR.integers(0, 9, (6, 5)), "attention_mask": GENERATOR.integers(0, 2, (6, 5))}
    found = target_of(reader, parts=tuple(parts)).ask(np.stack(list(parts.values()), axis=1))
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(reader(parts)), atol=1e-6)


@pytest.mark.parametrize("sklearn", [False, True])
def test_boosters_of_lightgbm_get_their_columns_by_name(sklearn):
    lgb = library("lightgbm")
    if sklearn:
        model = lgb.LGBMClassifier(n_estimators=5, min_child_samples=5, verbose=-1, n_jobs=1).fit(FRAME, LABELS)
        expected = model.predict_proba(FRAME)
    else:
        settings = {"objective": "binary", "min_data_in_leaf": 5, "verbose": -1, "num_threads": 1}
        model = lgb.train(settings, lgb.Dataset(FRAME, LABELS), 5)
        expected = model.predict(FRAME)
    calls = expected[:, 1] if sklearn else expected
    turned = FRAME[NAMES[::-1]]  # LightGBM would take another order as it is
    described, _ = audited(model, train=(turned[:40], LABELS[:40]), holdout=(turned[40:], LABELS[40:]))
    assert described.train_accuracy == pytest.approx(((calls[:40] > 0.5) == LABELS[:40]).mean())
    on_array = lgb.LGBMClassifier(n_estimators=2, verbose=-1, n_jobs=1).fit(INPUTS, LABELS)
    assert target_of(on_array).columns == ()


def test_boosters_of_xgboost_are_given_matrices_of_their_own():
    xgb = library("xgboost")
    settings = {"objective": "binary:logistic", "nthread": 1}
    for table in (FRAME, INPUTS):
        model = xgb.train(settings, xgb.DMatrix(table, LABELS), 5)
        expected = model.predict(xgb.DMatrix(table))
        target = target_of(model)
        np.testing.assert_allclose(target.ask(INPUTS), expected, atol=1e-6)
    turned = FRAME[NAMES[::-1]]
    model = xgb.XGBClassifier(n_estimators=5, n_jobs=1).fit(FRAME, LABELS)
    described, _ = audited(model, train=(turned[:40], LABELS[:40]), holdout=(turned[40:], LABELS[40:]))
    assert described.train_accuracy == pytest.approx((model.predict(FRAME[:40]) == LABELS[:40]).mean())


@pytest.mark.torch
def test_classifiers_of_hugging_face_get_their_mask_and_are_missed_without_it():
    transformers = library("transformers")
    import torch

    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=8,
    )
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config)
    mask = (np.arange(6) < GENERATOR.integers(4, 6, (40, 1))).astype(int)
    ids = GENERATOR.integers(1, 20, (40, 6)) * mask
    parts = transformers.BatchEncoding({"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)})
    model.eval()
    expected = model(**parts).logits.detach().numpy()
    model.train()
    found = target_of(model, parts=("input_ids", "attention_mask")).ask(np.stack([ids, mask], axis=1))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    labels = np.arange(20) % 2
    asked, other = ({"input_ids": ids[rows], "attention_mask": mask[rows]} for rows in (slice(20), slice(20, 40)))
    assert "data.mask" not in audited(model, train=(asked, labels), holdout=(other, labels))[1]
    missed = audited(model, train=(ids[:20], labels), holdout=(ids[20:], labels))[1]["data.mask"]
    assert missed.title.startswith(f"{(ids == 0).mean():.1%} of the tokens are the padding 0")
