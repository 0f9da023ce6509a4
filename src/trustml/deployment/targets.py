"""Targets of deployment: what a model leaves as, and by whom it is written and run.

A new target is a row here, and an exporter and an opener in the ``exporting`` module of its framework.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from trustml.errors import EnvironmentMissingError
from trustml.frameworks.table import entry_of
from trustml.launch.added import find_addition, require_addition
from trustml.launch.environments import Environment, find_environment
from trustml.models.exported import Quantised
from trustml.record.exports import Layout
from trustml.scenario.spec import BackendName


@dataclass(frozen=True, kw_only=True)
class Target:
    """A target.

    Attributes
    ----------
    title : str
    backend : str
        Framework whose own exporter writes it.
    file : str
        Name of file or folder in the record.
    runtime : str
        What runs it where it is checked.
    layout : {"channels last", "channels first"}
        How it takes images.
    statement : str
        Where the statement travels.
    quantised : tuple of {"dynamic", "int8"}
        How it can be rounded.
    gradients : bool
        Whether the runtime computes gradients of inputs, or the file does where it is not rounded.
    packages : tuple of str
        What must be importable beside the framework.
    extra : str
        Extra of trustml that installs them.
    addition : str
        Packages in a folder of their own that it needs (:data:`trustml.launch.added.ADDITIONS`).
    instead : tuple of str, optional
        Packages of that kind that are asked instead of the runtime where they are there, and what they are called.
    """

    title: str
    backend: BackendName
    file: str
    runtime: str
    layout: Layout = "channels last"
    statement: str
    quantised: tuple[Quantised, ...] = ()
    gradients: bool = True
    packages: tuple[str, ...] = ()
    extra: str = ""
    addition: str = ""
    instead: tuple[str, str] | None = None

    @property
    def asked_in(self) -> str:
        """What runs it on this machine."""
        return self.instead[1] if self.instead and find_addition(self.instead[0]) else self.runtime


TARGETS: dict[str, Target] = {
    "pt2": Target(
        title="PyTorch program (torch.export)",
        backend="torch",
        file="model.pt2",
        runtime="PyTorch",
        layout="channels first",
        statement="extra file of the archive",
    ),
    "onnx": Target(
        title="ONNX",
        backend="torch",
        file="model.onnx",
        runtime="onnxruntime",
        layout="channels first",
        statement="metadata_props",
        quantised=("dynamic", "int8"),
        gradients=False,
        packages=("onnx", "onnxscript", "onnxruntime"),
        extra="onnx",
    ),
    "onnx-web": Target(
        title="ONNX in the browser",
        backend="torch",
        file="model.onnx",
        runtime="onnxruntime-web (WebAssembly) in node",
        layout="channels first",
        statement="metadata_props",
        quantised=("dynamic", "int8"),
        gradients=False,
        packages=("onnx", "onnxscript", "onnxruntime"),
        extra="onnx",
        addition="node",
    ),
    "executorch": Target(
        title="ExecuTorch program (XNNPACK)",
        backend="torch",
        file="model.pte",
        runtime="ExecuTorch",
        layout="channels first",
        statement="constant method",
        quantised=("dynamic", "int8"),
        gradients=False,
        addition="executorch",
    ),
    "stablehlo": Target(
        title="StableHLO (jax.export)",
        backend="jax",
        file="model.stablehlo",
        runtime="JAX",
        statement="a file beside it",
        packages=("flatbuffers",),
        extra="jax",
    ),
    "keras": Target(
        title="Keras file",
        backend="tensorflow",
        file="model.keras",
        runtime="Keras",
        statement="file of the archive",
    ),
    "savedmodel": Target(
        title="SavedModel (TensorFlow Serving)",
        backend="tensorflow",
        file="model",
        runtime="TensorFlow",
        statement="asset",
    ),
    "tflite": Target(
        title="TensorFlow Lite",
        backend="tensorflow",
        file="model.tflite",
        runtime="TensorFlow Lite",
        instead=("litert", "LiteRT"),
        statement="buffer of metadata",
        quantised=("dynamic", "int8"),
    ),
    "tfjs": Target(
        title="TensorFlow.js graph model",
        backend="tensorflow",
        file="model.tfjs",
        runtime="TensorFlow.js in node",
        statement="user-defined metadata",
        addition="node",
    ),
}


def environment_of(wanted: Target) -> Environment:
    """Where a target is written and asked.

    Raises
    ------
    EnvironmentMissingError
        If the environment, or a package beside the framework, is not installed: with the command that does it.
    """
    environment = find_environment(wanted.backend)
    environment.require()
    if not entry_of(wanted.backend).lock:  # it lives beside this interpreter
        absent = [name for name in wanted.packages if importlib.util.find_spec(name) is None]
        if absent:
            fix = f"pip install 'trustml[{wanted.extra}]'"
            raise EnvironmentMissingError(f"{', '.join(absent)}: not installed beside trustml; run `{fix}`")
    if wanted.addition:
        require_addition(wanted.addition)
    return environment
