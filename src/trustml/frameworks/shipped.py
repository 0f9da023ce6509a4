"""The backends that come with trustml."""

from __future__ import annotations

from trustml.frameworks.entry import BackendEntry, LiveModels, Missing, Noise, Regimes, Style, Supported

_TF_OPTIMIZER = Missing(reason="stock_optimizer is TF Privacy's DPKerasSGDOptimizer")
_CUDA_11 = (
    "nvidia-cublas-cu11==11.11.3.6",
    "nvidia-cuda-cupti-cu11==11.8.87",
    "nvidia-cuda-nvcc-cu11==11.8.89",
    "nvidia-cuda-runtime-cu11==11.8.89",
    "nvidia-cudnn-cu11==8.7.0.84",
    "nvidia-cufft-cu11==10.9.0.58",
    "nvidia-curand-cu11==10.3.0.86",
    "nvidia-cusolver-cu11==11.4.1.48",
    "nvidia-cusparse-cu11==11.7.5.86",
)
"""What ``tensorflow[and-cuda]==2.14.1`` names but TensorRT, of which there is no such version for Python 3.11: because
of it that extra cannot be installed."""


def _explaining(backend: str) -> tuple[str, ...]:
    parts = ("device", "network", "attribution", "gradient_methods", "layer_methods", "perturbation_methods")
    return tuple(f"{backend}.{part}" for part in parts)


# Colours are of Okabe and Ito's palette: told apart by colour-blind readers; shapes repeat what colour says.
SHIPPED: tuple[BackendEntry, ...] = (
    BackendEntry(
        name="torch",
        title="PyTorch",
        module="trustml.backends.torch",
        preloaded=_explaining("trustml.backends.torch"),
        packages=("torch", "opacus", "captum"),
        fix="pip install 'trustml[torch]'",
        devices="""
import torch
print("device", "cpu", sep="\\t")
for i in range(torch.cuda.device_count()): print("device", torch.cuda.get_device_name(i), sep="\\t")
""",
        unused_gpu=(
            "PyTorch sees no GPU: it was built without CUDA, or for a newer driver",
            "pip install torch==2.13.0",
        ),
        several_devices=True,
        grad_sample_modes=True,
        regimes=Regimes(
            plain=Supported(library="PyTorch"),
            private=Supported(library="Opacus"),
            users=Supported(library="Opacus"),
            federated=Supported(library="pfl"),
            engines={"stock": Supported(library="Opacus make_private"), "stock_optimizer": _TF_OPTIMIZER},
            mechanisms={
                "TreeAggregation": Supported(library="pfl, noise of trustml"),
                "BandedMatrix": Supported(library="pfl"),
                "BufferedToeplitz": Supported(library="pfl, noise of trustml"),
            },
            update_canaries=Supported(library="pfl"),
        ),
        noise=Noise(
            examples="torch.sfc64",
            users="torch",
            earlier=("torch",),
            engine="torch.normal",
            engine_sampling="poisson",
            former=5.76,
        ),
        channels_first=True,
        live=(LiveModels(packages=("torch",), base="Module", kind="torch.nn.Module ({})"),),
        traced=(LiveModels(packages=("torch",), base="Module", kind="torch.nn.Module ({})"),),
        live_files=(".pt2", ".onnx", ".pte"),
        live_packages=("torch", "captum"),
        style=Style(colour="#D55E00", shape="circle", dash=(1, 0)),
    ),
    BackendEntry(
        name="jax",
        title="JAX",
        module="trustml.backends.jax",
        preloaded=_explaining("trustml.backends.jax"),
        packages=("jax", "jaxlib"),
        fix="pip install 'trustml[jax]'",
        devices="""
import jax
for d in jax.devices(): print("device", "cpu" if d.platform == "cpu" else d.device_kind, sep="\\t")
""",
        unused_gpu=(
            "JAX sees no GPU: its CUDA plugin is not installed, or too new",
            "pip install 'jax[cuda12]==0.10.2'",
        ),
        compiled=("jax", "jaxlib"),
        several_devices=True,
        regimes=Regimes(
            plain=Supported(library="JAX"),
            private=Supported(library="trustml on JAX"),
            users=Supported(library="trustml on JAX"),
            federated=Supported(library="trustml on JAX"),
            engines={
                "stock": Missing(
                    reason="JAX has no library with a training loop of its own here: trustml's is the only one"
                ),
                "stock_optimizer": _TF_OPTIMIZER,
            },
            mechanisms={
                "TreeAggregation": Supported(library="trustml on JAX"),
                "BandedMatrix": Supported(library="trustml on JAX"),
                "BufferedToeplitz": Supported(library="trustml on JAX"),
            },
            update_canaries=Supported(library="trustml on JAX"),
            shadows=Supported(library="trustml on JAX"),
        ),
        noise=Noise(examples="jax", users="jax", former=5.22),
        live=(LiveModels(packages=("trustml",), base="JaxModel", kind="JAX function"),),
        traced=(
            LiveModels(packages=("flax.nnx",), base="Module", kind="Flax NNX module ({})"),
            LiveModels(packages=("trustml",), base="JaxModel", kind="JAX function"),
        ),
        live_files=(".stablehlo",),
        live_packages=("jax",),
        style=Style(colour="#0072B2", shape="square", dash=(7, 4)),
    ),
    BackendEntry(
        name="tensorflow",
        title="TensorFlow",
        module="trustml.backends.tensorflow",
        preloaded=_explaining("trustml.backends.tensorflow"),
        packages=("tensorflow", "tensorflow_federated", "tf_explain"),
        lock="tensorflow",
        fix="trustml setup tensorflow",
        devices="""
import tensorflow as tf
for d in tf.config.list_physical_devices(): print("device", d.device_type.lower(), sep="\\t")
""",
        unused_gpu=(
            "TensorFlow 2.14 sees no GPU: it needs the libraries of CUDA 11.8 and cuDNN 8, newer ones do not serve",
            f"pip install --no-deps {' '.join(_CUDA_11)}",
        ),
        regimes=Regimes(
            plain=Supported(library="Keras"),
            private=Supported(library="TF Privacy"),
            users=Supported(library="TF Privacy"),
            federated=Supported(library="TensorFlow Federated"),
            engines={
                "stock": Supported(library="TF Privacy DPModel.fit"),
                "stock_optimizer": Supported(library="TF Privacy DPKerasSGDOptimizer"),
            },
            mechanisms={
                "TreeAggregation": Supported(library="TensorFlow Federated"),
                "BandedMatrix": Supported(library="TensorFlow Federated, noise of trustml"),
                "BufferedToeplitz": Supported(library="TensorFlow Federated, noise of trustml"),
            },
            aggregations=True,
            update_canaries=Missing(reason="TFF computes every client's update itself and takes none from outside"),
        ),
        noise=Noise(
            examples="numpy",
            users="tff",
            engine="tf.random.normal",
            former=5.67,
            former_users="TensorFlow's generator, seeded with 32 bits where noise is independent",
        ),
        live=(LiveModels(packages=("keras", "tf_keras", "tensorflow"), base="Model", kind="Keras model ({})"),),
        live_files=(".keras", ".tflite", "saved_model.pb", "model.json"),
        live_packages=("tensorflow", "keras"),
        style=Style(colour="#009E73", shape="triangle-up", dash=(2, 3)),
    ),
)
