"""A trained model of a run, alive: built in the framework that trained it, or in any other that can build it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trustml.backends.contract import Model, Network
from trustml.backends.table import load_backend
from trustml.data.dataset import Floats
from trustml.data.preparation import Preparation
from trustml.errors import EnvironmentMissingError, RecordError, UsageError
from trustml.launch.environments import find_environment
from trustml.models.answers import answers, probabilities
from trustml.models.losses import AnyArray, Doubles
from trustml.models.native import native_of, require_trust, trusting_code
from trustml.models.tasks import Task
from trustml.models.weights import read_weights
from trustml.plan.job import TrainJob
from trustml.record.explained import finished
from trustml.record.files import sha256
from trustml.record.schema import JobRecord, Manifest, task_of
from trustml.record.store import RunDirectory
from trustml.scenario.spec import BackendName


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A model with what is needed to use it.

    Attributes
    ----------
    native : torch.nn.Module, (function, dict of array) or tf.keras.Model
        As its framework's users hold it, in evaluation mode. Modules of PyTorch take channels first, as all of
        PyTorch does; of JAX it is ``function(params, inputs)`` with its params.
    backend : str
        Framework that it was built in.
    trained_by : str
        Framework that trained it.
    task : Task
    input_shape : tuple of int
        Of one example, channels last.
    class_names, feature_names : tuple of str
    preparation : Preparation
        What was done to inputs before training, and must be done to any other.
    """

    native: Any
    backend: BackendName
    trained_by: BackendName
    task: Task
    input_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    preparation: Preparation
    network: Network

    def logits(self, inputs: AnyArray) -> Floats:
        """Outputs of shape (n, c), for prepared inputs (n, *x) with channels last.

        Raises
        ------
        UsageError
            If inputs have another shape.
        """
        if not isinstance(inputs, np.ndarray) or inputs.dtype.kind not in "biuf":
            raise UsageError("inputs are no array of real numbers; give a numpy array of prepared inputs")
        given = np.ascontiguousarray(inputs, dtype=np.float32)
        if given.shape[1:] != self.input_shape or not len(given):
            raise UsageError(f"inputs have shape {given.shape}; give (n, {', '.join(map(str, self.input_shape))})")
        if not np.isfinite(given).all():
            raise UsageError("inputs hold missing or infinite numbers; prepare them as the training data were")
        return self.network.logits(given)

    def predict(self, inputs: AnyArray) -> AnyArray:
        """What the model says, in the form of the labels: class numbers, labels that hold, or scaled numbers."""
        return answers(self.task, self.logits(inputs))

    def probabilities(self, inputs: AnyArray) -> Doubles:
        """Probability that each output stands for; of a regression its outputs. Shape (n, c)."""
        return probabilities(self.task, self.logits(inputs))


def training_of(run: RunDirectory, manifest: Manifest, model: str) -> tuple[JobRecord, TrainJob, Path]:
    """Record, job and file of the weights of one trained model.

    Raises
    ------
    UsageError
        If there is no such model, or it did not end well.
    RecordError
        If its weights are not those that the run recorded.
    """
    record = finished(manifest, model)
    job = run.job(record.id)
    if not isinstance(job, TrainJob):
        raise UsageError(f"{model}: is no training; name one, such as train.torch.Plain.s0")
    weights = run.file(f"jobs/{record.id}/weights.safetensors")
    if record.artifacts.get(weights.name) != sha256(weights):
        raise RecordError(f"{weights}: is not what the run recorded; the model is another, or damaged")
    return record, job, weights


def trained_model(
    run: RunDirectory, model: str, *, backend: BackendName | None = None, trust_code: bool = False
) -> TrainedModel:
    """Build one trained model of a run in this process.

    Parameters
    ----------
    run : RunDirectory
    model : str
        Train job, such as ``train.torch.DPSGD.s0``.
    backend : str, optional
        Framework to build it in; that which trained it if left out.
    trust_code : bool
        Whether code that the run names is run here, where the model is a network of somebody's own.

    Raises
    ------
    UsageError
        If there is no such model, it did not end well, or it is own code that nobody trusts.
    RecordError
        If its weights are not those that the run recorded.
    EnvironmentMissingError
        If the framework is not installed beside this interpreter.
    """
    manifest = run.manifest()
    record, job, weights = training_of(run, manifest, model)
    wanted = backend or record.backend
    require_trust(job.model, trust_code=trust_code)
    own = native_of(job.model)
    if own is not None and wanted != own.backend:
        raise UsageError(f"{wanted}: only {own.backend} has this model, which is its own code; leave backend out")
    built = Model(
        architecture=job.model,
        input_shape=job.input_shape,
        weights=read_weights(weights),
        task=task_of(manifest),
    )
    try:
        found = load_backend(wanted)
        if found.native is None:
            raise UsageError(f"{wanted}: gives no model of its own; name another backend")
        with trusting_code() if trust_code else nullcontext():
            native, network = found.native(built), found.network(built)
    except ImportError as error:
        raise EnvironmentMissingError(
            f"{wanted} is not installed beside this interpreter ({error.name or error}); name backend= of one that is, "
            f"or {_where_it_is(wanted)}"
        ) from None
    return TrainedModel(
        native=native,
        backend=wanted,
        trained_by=record.backend,
        task=built.task,
        input_shape=built.input_shape,
        class_names=manifest.data.class_names,
        feature_names=manifest.data.feature_names,
        preparation=manifest.data.preparation,
        network=network,
    )


def _where_it_is(backend: BackendName) -> str:
    """What to do to have a model of a framework that is not beside this interpreter."""
    found = find_environment(backend)
    if found.python is None:
        return f"run `{found.fix}`"
    return f"call this by `PYTHONPATH={Path(__file__).resolve().parents[2]} {found.python}`"
