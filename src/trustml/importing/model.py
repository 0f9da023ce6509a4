"""``trustml.import_model``: somebody's model as an architecture and weights, proved to compute the same."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import EnvironmentMissingError, UsageError
from trustml.frameworks.entry import BackendEntry
from trustml.frameworks.shipped import SHIPPED
from trustml.importing.carrying import Carried, carry
from trustml.importing.checkpoints import checkpoint_source
from trustml.importing.draft import Note
from trustml.importing.folding import Norms
from trustml.importing.keras_models import keras_source
from trustml.importing.onnx_files import onnx_source
from trustml.importing.program import Array, Source
from trustml.importing.proof import Proof, prove
from trustml.models.layers import Architecture
from trustml.models.network_files import ENDING, encode_network
from trustml.models.weights import Weights
from trustml.record.files import write_atomic

_TRACERS = ("trustml.backends.torch.exported", "trustml.backends.jax.exported")
"""Modules that trace what users of their frameworks write, and compute what was carried."""

Network: TypeAlias = Callable[[Architecture, tuple[int, ...], Weights], Callable[[Array], npt.NDArray[np.float32]]]


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import did.

    Attributes
    ----------
    kind : str
        What was imported.
    carried : int
        Number of nodes.
    notes : tuple of Note
        What was folded, replaced, written out, left out, or copied.
    proof : Proof, optional
        That both compute the same; None where the original could not be asked here.
    unproved : str
        Why it could not; or that norms were replaced since.
    remarks : tuple of str
        What else its owner should know, a line each.
    input_order : tuple of int
        Axes of the original's inputs in the order in which ours has them.
    """

    kind: str
    carried: int
    notes: tuple[Note, ...]
    proof: Proof | None
    unproved: str
    remarks: tuple[str, ...] = ()
    input_order: tuple[int, ...]

    def __str__(self) -> str:
        """Say it in lines."""
        lines = [f"{self.kind}: {self.carried} nodes"]
        if self.proof is not None:
            lines.append(
                f"logits equal the original's on {self.proof.inputs} inputs: largest difference "
                f"{self.proof.largest_difference:.2g} of {self.proof.largest_logit:.3g}"
            )
        if self.unproved:
            lines.append(self.unproved)
        lines += self.remarks
        counts: dict[tuple[str, str], list[str]] = {}
        for note in self.notes:
            counts.setdefault((note.kind, note.what), []).append(note.node)
        for (kind, what), nodes in counts.items():
            told = ", ".join(nodes[:4]) + (f" and {len(nodes) - 4} more" if len(nodes) > 4 else "")
            lines.append(f"{kind}: {what} ({told})")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class ImportedModel:
    """A model that was carried over.

    Attributes
    ----------
    architecture : Architecture
    weights : dict of str to float32 array
        Canonical (:mod:`trustml.models.weights`).
    input_shape : tuple of int
        Of one example, channels last.
    report : ImportReport
    """

    architecture: Architecture
    weights: Weights
    input_shape: tuple[int, ...]
    report: ImportReport

    def logits(self, inputs: Array) -> npt.NDArray[np.float32]:
        """Outputs for inputs (n, *x) with channels last.

        Raises
        ------
        UsageError
            If inputs have another shape.
        """
        given = np.ascontiguousarray(inputs, dtype=np.float32)
        if given.shape[1:] != self.input_shape or not len(given):
            raise UsageError(f"inputs have shape {given.shape}; give (n, {', '.join(map(str, self.input_shape))})")
        found: npt.NDArray[np.float32] = _tracer().network(self.architecture, self.input_shape, self.weights)(given)
        return found

    def save(self, path: str | Path) -> Path:
        """Write a file that a scenario can name as its model (:mod:`trustml.models.network_files`); give its path."""
        path = Path(path)
        path = path if path.suffix == ENDING else path.with_name(path.name + ENDING)
        content = encode_network(self.architecture, self.weights, self.input_shape, kind=self.report.kind)
        write_atomic(path, content)
        return path


def import_model(model: Any, *, example: Any = None, norms: Norms = None) -> ImportedModel:
    """Carry a model over to an architecture that every backend builds, and prove that it computes the same.

    Parameters
    ----------
    model : torch.nn.Module, flax.nnx.Module, JaxModel or path
        A module is traced in evaluation mode, and left as it was; so is a function of JAX with its parameters. A path
        is of a folder of Hugging Face's (BERT, DistilBERT, GPT-2, ViT, ResNet), or of a ResNet of torchvision's, in
        safetensors.
    example : array or tensor
        Inputs (n, ...) as the model takes them. The import is held against the model on these and on random ones. Of a
        path it may be left out.
    norms : GroupNorm, or mapping of str to GroupNorm, optional
        What takes the place of BatchNorms, all or by their names, for private training; without it they are folded
        into the weights before them. What is replaced computes something else, which the report says.

    Raises
    ------
    UsageError
        Naming what cannot be carried and what works instead; or that outputs differ.
    """
    if isinstance(model, str | Path):
        return imported(file_source(Path(model), example), norms=norms)
    entry = _traced_by(model)
    if entry is None:
        kinds = ", ".join(one.kind.format("...") for known in SHIPPED for one in known.traced)
        raise UsageError(
            f"model: a {type(model).__name__} is not traced and is no path; give one of {kinds}, or a path"
        )
    if example is None:
        raise UsageError("example: is missing; give inputs (n, ...) as the model takes them")
    tracer = _tracer(entry)
    return imported(tracer.source(model, example), norms=norms, network=tracer.network)


def file_source(path: Path, example: Any) -> Source:
    """Read the program of a file or folder.

    Raises
    ------
    UsageError
        If it is none that is known.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder; name a module:attribute, a folder, or a .safetensors file")
    given = None if example is None else np.asarray(example)
    if path.suffix == ".onnx":
        return onnx_source(path, given)
    if path.suffix == ".keras":
        return keras_source(path, given)
    shape = None if given is None else given.shape[1:]
    source = checkpoint_source(path, input_shape=shape, original=_tracer().written_by)
    return source if given is None else replace(source, example=given)


def imported(source: Source, *, norms: Norms = None, network: Network | None = None) -> ImportedModel:
    """Carry a program over and prove it by a backend's network; norms are replaced after the proof."""
    plain = carry(source.program)
    proof = None
    if source.original is not None:
        ours = (network or _tracer().network)(plain.architecture, plain.input_shape, plain.weights)
        proof = prove(plain, source, ours)
    found: Carried = plain if norms is None else carry(source.program, norms=norms)
    unproved = "" if proof is not None else f"not held against the original: {source.why_not}"
    if norms is not None:
        unproved = "norms were replaced after that: this model computes something else until it is trained"
    report = ImportReport(
        kind=source.kind,
        carried=len(found.architecture.layers),
        notes=found.notes,
        proof=proof,
        unproved=unproved,
        remarks=source.remarks,
        input_order=found.order,
    )
    return ImportedModel(
        architecture=found.architecture, weights=found.weights, input_shape=found.input_shape, report=report
    )


def _traced_by(model: Any) -> BackendEntry | None:
    """Give the backend whose users write such models."""
    for entry in SHIPPED:
        for one in entry.traced:
            for kind in type(model).__mro__:
                named = any(f"{kind.__module__}.".startswith(f"{package}.") for package in one.packages)
                if kind.__name__ == one.base and named:
                    return entry
    return None


def _tracer(entry: BackendEntry | None = None) -> Any:
    """Give the module that traces for a backend; without one that whose framework is loaded, or else is there."""
    able = [one for one in SHIPPED if one.traced] if entry is None else [entry]
    able.sort(key=lambda one: one.packages[0] not in sys.modules)
    missing: list[str] = []
    for one in able:
        try:
            return importlib.import_module(next(name for name in _TRACERS if name.startswith(f"{one.module}.")))
        except ImportError as error:
            missing.append(f"{error.name or error} is not installed beside this interpreter; {one.fix}")
    raise EnvironmentMissingError(f"import: {missing[0]}") from None
