"""Every engine that is put under the suite; adding one is adding a row."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from trustml.backends.contract import Model
from trustml.data.dataset import Floats, Ints
from trustml.data.streams import Stream, public_generator
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, MaxPool, ReLU
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp

Suite: TypeAlias = Literal["step", "rounds"]
"""A step of DP-SGD, or rounds of federated training that is private for users."""

_EXAMPLES = 48
NETWORKS: dict[str, tuple[Architecture, tuple[int, ...]]] = {
    "mlp": (mlp([40, 24], classes=10), (64,)),
    "cnn": (
        Architecture(
            layers=(
                Conv2D(filters=6, padding=((1, 1), (1, 1))),
                ReLU(),
                MaxPool(size=(2, 2), stride=(2, 2)),
                Conv2D(filters=8, padding=((1, 1), (1, 1))),
                ReLU(),
                Flatten(),
                Dense(units=24),
                ReLU(),
                Dense(units=10),
            )
        ),
        (8, 8, 1),
    ),
}


class PeerEngine(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which a library trains privately.

    Attributes
    ----------
    name : str
        For ``trustml conformance --engine``.
    packages : tuple of str
        Distributions whose versions the record shows, the library's own first.
    environment : str
        ``torch``, ``jax``, ``tensorflow``, or an extra one; see :func:`trustml_bench.places.find_place`.
    maker : str
        ``module:function`` below ``conforming.engines``: from a network to a step factory, or to a factory of federated
        trainings.
    suite : {"step", "rounds"}
    driven : str
        How: what of the library is called.
    networks : tuple of str
        Of :data:`NETWORKS`; none for federated trainings, which are of a softmax regression.
    micro_batches : bool
        Whether the adapter drives the library's micro-batches; else what is told of them is left out.
    needs_examples : bool
        Whether a client without examples stops a federated training, so that noise is watched with tiny ones.
    """

    name: str
    packages: tuple[str, ...]
    environment: str
    maker: str
    suite: Suite
    driven: str
    networks: tuple[str, ...] = ("mlp", "cnn")
    micro_batches: bool = False
    needs_examples: bool = False


ENGINES: tuple[PeerEngine, ...] = (
    PeerEngine(
        name="opacus",
        packages=("opacus", "torch"),
        environment="torch",
        maker="opacus_step:hooks",
        suite="step",
        micro_batches=True,
        driven="`PrivacyEngine.make_private` (hooks), Poisson loader, micro-batches by `signal_skip_step`",
    ),
    PeerEngine(
        name="opacus-functorch",
        packages=("opacus", "torch"),
        environment="torch",
        maker="opacus_step:functorch",
        suite="step",
        micro_batches=True,
        driven='the same with `grad_sample_mode="functorch"`',
    ),
    PeerEngine(
        name="opacus-ghost",
        packages=("opacus", "torch"),
        environment="torch",
        maker="opacus_step:ghost",
        suite="step",
        micro_batches=True,
        driven='the same with `grad_sample_mode="ghost"` and the criterion that it gives back',
    ),
    PeerEngine(
        name="opacus-peft",
        packages=("opacus", "peft", "torch"),
        environment="peft",
        maker="opacus_step:lora",
        suite="step",
        micro_batches=True,
        driven="`peft.get_peft_model` (LoRA of rank 4 on every dense layer), then `make_private` (hooks)",
        networks=("mlp",),
    ),
    PeerEngine(
        name="jax-privacy",
        packages=("jax-privacy", "jax", "optax"),
        environment="jax",
        maker="jax_privacy_step:make",
        suite="step",
        driven="`clipped_grad` on batches padded to a multiple of 16, then `gaussian_privatizer`",
    ),
    PeerEngine(
        name="tf-privacy-optimizer",
        packages=("tensorflow-privacy", "tensorflow"),
        environment="tensorflow",
        maker="tf_privacy_step:keras_optimizer",
        suite="step",
        driven="`DPKerasSGDOptimizer` in a compiled model, as many micro-batches as examples",
    ),
    PeerEngine(
        name="tf-privacy-model",
        packages=("tensorflow-privacy", "tensorflow"),
        environment="tensorflow",
        maker="tf_privacy_step:sequential",
        suite="step",
        driven="`DPSequential` as it comes, its `train_step`",
    ),
    PeerEngine(
        name="tf-privacy-fast",
        packages=("tensorflow-privacy", "tensorflow"),
        environment="tensorflow",
        maker="tf_privacy_step:fast_clipping",
        suite="step",
        driven="`DPSequential` with the layer registry (fast gradient clipping)",
        networks=("mlp",),
    ),
    PeerEngine(
        name="opake",
        packages=("opake", "torch"),
        environment="opake",
        maker="opake_step:make",
        suite="step",
        driven="`opake.dpsgd.clipping.clipped_grad` on `functional_call`, then `gaussian_noise`",
    ),
    PeerEngine(
        name="pfl",
        packages=("pfl", "torch"),
        environment="torch",
        maker="pfl_rounds:make",
        suite="rounds",
        driven="`CentrallyAppliedPrivacyMechanism(GaussianMechanism)` in `SimulatedBackend`, users of equal weight",
        networks=(),
    ),
    PeerEngine(
        name="tff",
        packages=("tensorflow-federated", "tensorflow-privacy", "tensorflow"),
        environment="tensorflow",
        maker="tff_rounds:make",
        suite="rounds",
        driven="`DifferentiallyPrivateFactory.gaussian_fixed` in `build_unweighted_fed_avg`",
        networks=(),
    ),
    PeerEngine(
        name="flower-server",
        packages=("flwr",),
        environment="flower",
        maker="flower_rounds:server_side",
        suite="rounds",
        driven="`DifferentialPrivacyServerSideFixedClipping` around `FedAvg`: `configure_train`, `aggregate_train`",
        networks=(),
        needs_examples=True,
    ),
    PeerEngine(
        name="flower-client",
        packages=("flwr",),
        environment="flower",
        maker="flower_rounds:client_side",
        suite="rounds",
        driven="`DifferentialPrivacyClientSideFixedClipping` around `FedAvg`, clients with `fixedclipping_mod`",
        networks=(),
        needs_examples=True,
    ),
)


def find_engine(name: str) -> PeerEngine | None:
    """Find an engine by its name."""
    return next((engine for engine in ENGINES if engine.name == name), None)


def example_model(network: str) -> Model:
    """Give a network with its starting weights, the same in every environment."""
    architecture, shape = NETWORKS[network]
    weights = initial_weights(architecture, shape, generator=public_generator(7, Stream.WEIGHTS))
    return Model(architecture=architecture, input_shape=shape, weights=weights)


def example_data(network: str) -> tuple[Floats, Ints]:
    """Give made examples, the same in every environment."""
    generator = public_generator(11, Stream.SPLIT)
    inputs = generator.normal(0, 1, (_EXAMPLES, *NETWORKS[network][1])).astype("float32")
    return inputs, generator.integers(0, 10, _EXAMPLES)
