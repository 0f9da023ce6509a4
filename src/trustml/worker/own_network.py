"""Looking at a network of somebody's own code before anything is trained: what it is, and whether it can be private.

Runs in the environment of its backend, in a process of its own, on random numbers alone.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import msgspec
import numpy as np

from trustml.backends.contract import Backend, Model, PrivateTrainer
from trustml.backends.settings import PrivateSettings
from trustml.backends.table import load_backend
from trustml.conformance.step import check_sum
from trustml.conformance.subject import StepSettings
from trustml.data.dataset import LabelArray
from trustml.errors import TrustmlError, UsageError
from trustml.models.layers import Architecture
from trustml.models.native import ANSWER, REQUEST, Answer, OwnNetwork, Request, code_digest, start_file
from trustml.models.tasks import Task, are_classes
from trustml.models.weights import Weights, encode_weights
from trustml.record.files import write_atomic
from trustml.scenario.optimizers import SGD
from trustml.scenario.spec import GradSampleMode
from trustml.worker.__main__ import one_line
from trustml.worker.conformance import step_factory
from trustml.worker.private import entropy_words

_EXAMPLES, _BATCH = 16, 8


def look(request: Request, backend: Backend, folder: Path) -> Answer:
    """Build the network once for each seed, keep its starting weights in `folder`, and try it.

    Raises
    ------
    UsageError
        Naming what keeps it from being trained, and what to do about it.
    """
    own = request.network
    if backend.own is None:
        raise UsageError(f"model: {own.backend} builds architectures alone, and no own code; use another backend")
    code = code_digest(own.module, own.folder)
    if own.code and own.code != code:
        raise UsageError(
            f"model.layers.0.code: {own.module} in {own.folder} is other code than the scenario was recorded with; "
            "leave code out to run it as it is now"
        )
    found = backend.own(own, request.input_shape, request.seeds)
    if found.mixes:
        raise UsageError(
            f"model: {found.mixes} mixes examples: what it gives for one follows from the others of the batch, so no "
            "example has a gradient of its own; use a norm of each example, such as GroupNorm or LayerNorm"
        )
    if found.moves:
        raise UsageError(
            f"model: {', '.join(found.moves[:3])} change while it trains and are no weights; use a norm without "
            "running statistics, such as GroupNorm, or import the model (docs/importing.md)"
        )
    if len(found.weights) > 1 and not own.weights and _alike(found.weights):
        raise UsageError(
            f"seeds: {own.module} draws the same weights for each of {len(found.weights)} seeds; let it draw them by "
            "the framework's generator, or in JAX by a key that it takes, or use one seed"
        )
    parameters = tuple((name, tuple(array.shape)) for name, array in found.weights[0].items())
    resolved = msgspec.structs.replace(own, code=code, parameters=parameters, outputs=found.outputs)
    if request.private:
        _require_private(found, Architecture(layers=(resolved,)), request, backend)
    for seed, weights in zip(request.seeds, found.weights, strict=True):
        write_atomic(folder / start_file(seed), encode_weights(weights))
    return Answer(network=resolved)


def _alike(several: tuple[Weights, ...]) -> bool:
    first, *others = several
    return all(np.array_equal(array, other[name]) for other in others for name, array in first.items())


def _require_private(found: OwnNetwork, architecture: Architecture, request: Request, backend: Backend) -> None:
    """Refuse a step that does not clip each of them by itself.

    Raises
    ------
    UsageError
    """
    model = Model(
        architecture=architecture, input_shape=request.input_shape, weights=found.weights[0], task=request.task
    )

    def make(settings: StepSettings, mode: GradSampleMode) -> PrivateTrainer:
        private = PrivateSettings(
            optimizer=SGD(),
            expected_batch_size=settings.expected_batch_size,
            noise_seed=entropy_words(),
            grad_sample_mode=mode,
        )
        return backend.private(model, private, 0)

    generator = np.random.default_rng(0)
    inputs = generator.normal(0, 1, (_EXAMPLES, *request.input_shape)).astype(np.float32)
    kinds = model.outputs if are_classes(request.task) else 2
    labels = generator.integers(0, max(2, kinds), _EXAMPLES)
    steps = step_factory(make, labels_of=lambda numbers: _as_labels(request.task, numbers, model.label_shape))
    wrong = [one for one in check_sum(steps, inputs, labels, draws=found.draws) if not one.passed]
    if wrong:
        raise UsageError(
            f"model: its private step fails the check on random numbers that {wrong[0].check!r}: "
            f"{wrong[0].diagnosis}; docs/how_to/own_module.md says what a network must keep to"
        )


def _as_labels(task: Task, numbers: LabelArray, shape: tuple[int, ...]) -> LabelArray:
    """Give whole numbers the form of the task's labels."""
    if are_classes(task):
        return numbers
    return np.broadcast_to(numbers.reshape(-1, *[1] * len(shape)), (len(numbers), *shape)).astype(np.float32)


def main(arguments: list[str]) -> int:
    """Answer the request of a folder."""
    if len(arguments) != 1 or not (Path(arguments[0]) / REQUEST).is_file():
        print(f"usage: python -m trustml.worker.own_network FOLDER (that holds {REQUEST})", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    try:
        request = msgspec.json.decode((folder / REQUEST).read_bytes(), type=Request)
        backend = load_backend(request.network.backend)
        backend.open_device("cpu", 0)
        answer = look(request, backend, folder)
    except TrustmlError as error:
        answer = Answer(problem=str(error))
    except Exception as error:  # whatever somebody's code does
        traceback.print_exc()
        answer = Answer(problem=f"model: its code fails with {one_line(error)}; fix it")
    write_atomic(folder / ANSWER, msgspec.json.encode(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
