"""A client: it trains on the batches of its own file, as the numpy oracle of trustml trains."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from trustml.backends.contract import Model
from trustml.backends.numpy.federated import NumpyFederation
from trustml.backends.settings import FederatedSettings
from trustml.plan.job import TrainJob, decode_job
from trustml.privacy.secure_aggregation import Keys, SecureClient, encoded
from trustml.privacy.secure_settings import SecureAggregation

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train from the weights of the message, and answer with new ones and the number of examples."""
    config = message.content.config_records["config"]
    if "stage" in config:
        return _secure(message, context)
    arrays = _arrays(message)
    update, examples = trained(_folder(context), arrays, int(config["server-round"]))
    weights = {name: Array(np.asarray(start + update[name], np.float32)) for name, start in arrays.items()}
    content = RecordDict({"arrays": ArrayRecord(weights), "metrics": MetricRecord({"num-examples": examples})})
    return Message(content=content, reply_to=message)


def _secure(message: Message, context: Context) -> Message:
    """Take one of the five steps of secure aggregation; each is a process of its own, and the state lies between."""
    config = message.content.config_records["config"]
    stage, heard = int(config["stage"]), bytes(config["said"])
    settings = msgspec.json.decode(bytes(config["settings"]), type=SecureAggregation)
    if stage == 1:
        client = SecureClient(int(config["number"]), settings)
        said = encoded(client.advertise())
    else:
        client = SecureClient.restored(bytes(context.state.config_records["secure"]["kept"]), settings)
        match stage:
            case 2:
                said = encoded(client.share(msgspec.msgpack.decode(heard, type=dict[int, Keys])))
            case 3:
                update, _ = trained(_folder(context), _arrays(message), int(config["server-round"]))
                vector = np.concatenate([part.ravel() for part in update.values()])
                said = encoded(client.masked(msgspec.msgpack.decode(heard, type=dict[int, bytes]), vector))
            case 4:
                said = encoded(client.confirm(msgspec.msgpack.decode(heard, type=list[int])))
            case _:
                said = encoded(client.reveal(msgspec.msgpack.decode(heard, type=dict[int, bytes])))
    context.state.config_records["secure"] = ConfigRecord({"kept": client.kept()})
    return Message(content=RecordDict({"config": ConfigRecord({"said": said})}), reply_to=message)


def trained(folder: Path, arrays: dict[str, Any], number: int) -> tuple[dict[str, Any], int]:
    """Give the change of the weights in a round, counted from 1, and how many examples were gone through."""
    job = decode_job((folder / "job.json").read_bytes())
    assert isinstance(job, TrainJob)
    with np.load(folder / "own.npz") as own:
        if f"indices{number}" not in own:
            raise RuntimeError(f"this client does not answer in round {number}: so the cohort of the run was drawn")
        inputs, labels = own["inputs"], own["labels"]
        indices, offsets = own[f"indices{number}"], own[f"offsets{number}"]
    batches = [indices[start:end] for start, end in itertools.pairwise(offsets)]
    model = Model(architecture=job.model, input_shape=job.input_shape, weights=arrays, task=job.task)
    settings = FederatedSettings(regime=job.regime, noise_seed=(0, 0, 0, 0), batch_size=max(map(len, batches)))
    federation = NumpyFederation(model, settings)
    return federation.update([(inputs[batch], labels[batch]) for batch in batches]), len(indices)


def _folder(context: Context) -> Path:
    return Path(str(context.node_config["folder"]))


def _arrays(message: Message) -> dict[str, Any]:
    return {name: array.numpy() for name, array in message.content.array_records["arrays"].items()}
