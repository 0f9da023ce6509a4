"""The literal table of engines."""

from __future__ import annotations

from trustml.scenario.spec import BackendName
from trustml_bench.engine import Engine, Role
from trustml_bench.workloads import WorkloadKind

_GRADIENTS: tuple[WorkloadKind, ...] = ("integrated_gradients", "smooth_grad")
_TRYING = ("pfl_round:federated_round", "torch_shadows:eager")
_EXPLANATIONS: tuple[WorkloadKind, ...] = ("integrated_gradients", "smooth_grad", "occlusion")


def _engine(environment: str, name: str, maker: str, kinds: tuple[WorkloadKind, ...], role: Role, full: bool) -> Engine:
    """An engine; ours and the floors try several ways, and some peers, numbers of threads above all."""
    tries = role != "peer" or maker in _TRYING
    return Engine(name=name, environment=environment, maker=maker, kinds=kinds, role=role, full=full, tries=tries)


def _torch(name: str, maker: str, *kinds: WorkloadKind, role: Role = "peer", full: bool = False) -> Engine:
    return _engine("torch", name, maker, kinds, role, full)


def _jax(name: str, maker: str, *kinds: WorkloadKind, role: Role = "peer", full: bool = False) -> Engine:
    return _engine("jax", name, maker, kinds, role, full)


def _tensorflow(name: str, maker: str, *kinds: WorkloadKind, role: Role = "peer", full: bool = False) -> Engine:
    return _engine("tensorflow", name, maker, kinds, role, full)


def _ours(backend: BackendName) -> tuple[Engine, ...]:
    """Trustml in one framework; :mod:`trustml_bench.engines.own` is told which."""
    timed = backend in ("torch", "jax")
    makers: dict[str, tuple[WorkloadKind, ...]] = {
        "private_step": ("private_step",),
        "explanation": _EXPLANATIONS,
        "federated_round": ("round",),
    }
    if timed:
        makers["noise"], makers["feature_epoch"], makers["head_epoch"] = ("noise",), ("feature_epoch",), ("head_epoch",)
    plain = _engine(backend, f"trustml {backend} plain", f"own:plain_step:{backend}", ("plain_step",), "ours", False)
    others = (
        _engine(backend, f"trustml {backend}", f"own:{maker}:{backend}", kinds, "ours", False)
        for maker, kinds in makers.items()
    )
    noisy = _engine(backend, f"trustml {backend} plain", f"own:noisy_step:{backend}", ("noisy_step",), "floor", False)
    return (plain, *others, *((noisy,) if timed else ()))


def _jax_privacy(name: str, maker: str, *, full: bool = False) -> Engine:
    maker = f"jax_privacy_steps:{maker}"
    return Engine(name=name, environment="jax", maker=maker, kinds=("private_step",), role="peer", full=full)


ENGINES: tuple[Engine, ...] = (
    # Floors: what the work costs without privacy, explanations or clients.
    _torch("torch plain", "torch_plain:plain_step", "plain_step", role="floor"),
    _torch("torch.compile plain", "torch_plain:compiled_step", "plain_step", role="floor", full=True),
    _jax("jax plain", "jax_plain:plain_step", "plain_step", role="floor"),
    _jax("jax plain, lax.conv", "jax_plain:standard_step", "plain_step", full=True),
    _tensorflow("tf plain", "tensorflow_plain:plain_step", "plain_step", role="floor"),
    _tensorflow("tf plain, jit_compile", "tensorflow_plain:compiled_step", "plain_step", role="floor", full=True),
    _torch("torch plain", "torch_plain:noisy_step", "noisy_step", role="floor"),
    _jax("jax plain", "jax_plain:noisy_step", "noisy_step", role="floor"),
    _torch("torch input gradients", "torch_plain:input_gradients", *_GRADIENTS, role="floor"),
    _jax("jax input gradients", "jax_plain:input_gradients", *_GRADIENTS, role="floor"),
    _tensorflow("tf input gradients", "tensorflow_plain:input_gradients", *_GRADIENTS, role="floor"),
    _torch("torch forward passes", "torch_plain:forward_passes", "occlusion", role="floor"),
    _jax("jax forward passes", "jax_plain:forward_passes", "occlusion", role="floor"),
    _tensorflow("tf forward passes", "tensorflow_plain:forward_passes", "occlusion", role="floor"),
    _torch("torch epoch", "torch_plain:epoch", "round", role="floor"),
    _jax("jax epoch", "jax_plain:epoch", "round", role="floor"),
    _tensorflow("tf epoch", "tensorflow_plain:epoch", "round", role="floor"),
    # trustml as its users run it.
    *_ours("torch"),
    *_ours("jax"),
    _jax("trustml jax", "own:shadows:jax", "shadows", role="ours"),
    *_ours("tensorflow"),
    # Private steps.
    _torch("Opacus hooks", "opacus_steps:hooks", "private_step"),
    _torch("Opacus functorch", "opacus_steps:functorch", "private_step"),
    _torch("Opacus ew", "opacus_steps:ew", "private_step"),
    _torch("Opacus ghost", "opacus_steps:ghost", "private_step"),
    _jax_privacy("jax-privacy", "default"),
    _jax_privacy("jax-privacy, microbatch 32", "microbatches"),
    _jax_privacy("jax-privacy, our network", "default_on_ours", full=True),
    _jax_privacy("jax-privacy, microbatch 32, our network", "microbatches_on_ours", full=True),
    _tensorflow("TF Privacy DPSequential, no XLA", "tf_privacy_steps:vectorised", "private_step"),
    _tensorflow("TF Privacy DPSequential", "tf_privacy_steps:default", "private_step", full=True),
    _tensorflow("TF Privacy fast clipping", "tf_privacy_steps:fast_clipping", "private_step"),
    _tensorflow("TF Privacy DPKerasSGDOptimizer", "tf_privacy_steps:keras_optimizer", "private_step", full=True),
    # Explanations.
    _torch("Captum", "captum_attributions:integrated_gradients", "integrated_gradients"),
    _torch("Captum, batches of 256", "captum_attributions:integrated_gradients_256", "integrated_gradients"),
    _torch("Captum, batches of 8", "captum_attributions:integrated_gradients_8", "integrated_gradients", full=True),
    _tensorflow("tf-explain, image by image", "tf_explain_attributions:image_by_image", "integrated_gradients"),
    _tensorflow("tf-explain, class by class", "tf_explain_attributions:class_by_class", "integrated_gradients"),
    _torch("Captum", "captum_attributions:smooth_grad", "smooth_grad", full=True),
    _torch("Captum, samples by 5", "captum_attributions:smooth_grad_5", "smooth_grad", full=True),
    _tensorflow("tf-explain", "tf_explain_attributions:smooth_grad", "smooth_grad", full=True),
    _torch("Captum", "captum_attributions:occlusion", "occlusion"),
    _torch("Captum, 7 patches a call", "captum_attributions:occlusion_7", "occlusion"),
    _tensorflow("tf-explain", "tf_explain_attributions:occlusion", "occlusion"),
    # Rounds of federated averaging.
    _tensorflow("TFF, data set iterator", "tff_round:federated_round", "round"),
    _torch("pfl", "pfl_round:federated_round", "round"),
    Engine(name="FedJAX", environment="fedjax", maker="fedjax_round:federated_round", kinds=("round",), role="peer"),
    Engine(
        name="Flower on Ray",
        environment="flower",
        maker="flower_round:federated_round",
        kinds=("round",),
        role="peer",
        full=True,
    ),
    # Shadow models.
    _torch("torch, one after another", "torch_shadows:eager", "shadows"),
    _torch("torch, DataLoader", "torch_shadows:with_loader", "shadows"),
    _torch("torch.func vmap", "torch_shadows:side_by_side", "shadows"),
)
