"""One engine of federated averaging in a process of its own: ``python federated_engines.py ENGINE WORKLOAD``.

Reads lines from standard input, each a number of rounds to run, and answers each with a line of JSON: the seconds of
every round. The first answer, before any input, holds the time from import to the end of the first round.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trustml.backends.contract import Client, Model
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp, small_cnn
from trustml.scenario.federated import FedAvg
from trustml.scenario.optimizers import SGD

WORKLOADS = {
    "cnn, 20 x 75": (small_cnn(), (8, 8, 1), 10, 20, 75, 25),
    "cnn, 100 x 18": (small_cnn(), (8, 8, 1), 10, 100, 18, 9),
    "mlp, 20 x 64": (mlp([64], classes=5), (20,), 5, 20, 64, 16),
}
"""Architecture, input shape, classes, clients, examples of each, batch size."""
CLIENT = SGD(learning_rate=0.1)


def make_clients(workload: str) -> list[Client]:
    """Every client's batches, random but the same in every engine."""
    _, shape, classes, clients, examples, batch_size = WORKLOADS[workload]
    generator = np.random.default_rng(0)
    made = []
    for _ in range(clients):
        inputs = generator.random((examples, *shape), np.float32)
        labels = generator.integers(0, classes, examples)
        starts = range(0, examples, batch_size)
        made.append([(inputs[s : s + batch_size], labels[s : s + batch_size]) for s in starts])
    return made


def make_model(workload: str) -> Model:
    """The same starting weights in every engine."""
    architecture, shape, *_ = WORKLOADS[workload]
    weights = initial_weights(architecture, shape, generator=np.random.default_rng(1))
    return Model(architecture=architecture, input_shape=shape, weights=weights)


def ours(backend: str, workload: str) -> Callable[[], object]:
    """A round by trustml's backend."""
    from trustml.backends.settings import FederatedSettings
    from trustml.backends.table import load_backend

    loaded = load_backend(backend)
    loaded.open_device("cpu", 0)
    settings = FederatedSettings(regime=FedAvg(client_optimizer=CLIENT), batch_size=WORKLOADS[workload][-1])
    federation = loaded.federated(make_model(workload), settings)
    clients = make_clients(workload)
    return lambda: federation.round(clients)


def tff(workload: str) -> Callable[[], object]:
    """TFF's fastest loop as its user writes it: a functional model, data sets made once, the dataset iterator."""
    import tensorflow as tf
    import tensorflow_federated as tff

    from trustml.backends.tensorflow.network import build_keras

    model = make_model(workload)
    functional = tff.learning.models.functional_model_from_keras(
        build_keras(model),
        loss_fn=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        input_spec=(tf.TensorSpec((None, *model.input_shape), tf.float32), tf.TensorSpec((None,), tf.int64)),
    )
    process = tff.learning.algorithms.build_weighted_fed_avg(
        functional,
        client_optimizer_fn=tff.learning.optimizers.build_sgdm(CLIENT.learning_rate),
        loop_implementation=tff.learning.LoopImplementation.DATASET_ITERATOR,
    )
    batch_size = WORKLOADS[workload][-1]
    data = []
    for client in make_clients(workload):
        inputs, labels = (np.concatenate(part) for part in zip(*client, strict=True))
        data.append(tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(batch_size))
    state = [process.initialize()]

    def one() -> None:
        state[0] = process.next(state[0], data).state

    return one


def fedjax(workload: str) -> Callable[[], object]:
    """FedJAX's federated averaging with its default backend, on the same JAX network as ours."""
    import jax

    jax.tree_map = jax.tree_util.tree_map  # FedJAX 0.0.17 is older than this name's end
    import fedjax
    from fedjax.algorithms import fed_avg

    from trustml.backends.jax.network import apply, to_params
    from trustml.backends.jax.training import cross_entropy

    model = make_model(workload)

    def loss(params, batch, rng):
        mask = np.ones(1, np.float32)
        return cross_entropy(model.architecture, params, (batch["x"], batch["y"], mask * (batch["y"] >= 0)))

    assert apply is not None
    algorithm = fed_avg.federated_averaging(
        jax.grad(loss),
        fedjax.optimizers.sgd(CLIENT.learning_rate),
        fedjax.optimizers.sgd(1.0),
        fedjax.ShuffleRepeatBatchHParams(batch_size=WORKLOADS[workload][-1], num_epochs=1),
    )
    clients = []
    for number, client in enumerate(make_clients(workload)):
        inputs, labels = (np.concatenate(part) for part in zip(*client, strict=True))
        data = fedjax.ClientDataset({"x": inputs, "y": labels.astype(np.int32)})
        clients.append((str(number).encode(), data, jax.random.PRNGKey(number)))
    state = [algorithm.init(to_params(model.weights))]

    def one() -> None:
        state[0], _ = algorithm.apply(state[0], clients)
        jax.block_until_ready(state[0].params)

    return one


def main() -> None:
    """Answer until standard input ends."""
    engine, workload = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print, and children that outlive us, must not hold the pipe of the answers
    begin = time.perf_counter()
    match engine:
        case "TFF":
            one = tff(workload)
        case "FedJAX":
            one = fedjax(workload)
        case _:
            one = ours(engine.removeprefix("trustml "), workload)
    one()
    print(json.dumps([time.perf_counter() - begin]), file=answers, flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            one()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), file=answers, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
