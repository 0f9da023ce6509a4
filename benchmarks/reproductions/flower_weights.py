"""Flower 1.42.0: under fixed clipping clients still weigh by their examples.

The standard deviation of the noise is that of a mean over `num_sampled_clients` that weigh alike, while `FedAvg` weighs
each by `num-examples`: a client that says it has many moves the mean by up to the whole clipping norm, not by a share
of it. Only the accounted mode (an `accountant` is given) refuses unequal weights.
"""

import logging
import sys

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
from flwr.supercore.task_identity import TaskIdentity

logging.getLogger("flwr").setLevel(logging.CRITICAL)
TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1


class Nodes:
    """Four clients that are there."""

    def get_node_ids(self):
        """Give their numbers."""
        return [1, 2, 3, 4]


strategy = DifferentialPrivacyServerSideFixedClipping(
    FedAvg(fraction_evaluate=0.0), noise_multiplier=0.0, clipping_norm=1.0, num_sampled_clients=4
)
start = ArrayRecord([np.zeros(2)])
asked = strategy.configure_train(1, start, ConfigRecord(), Nodes())
answers = []
for number, message in enumerate(asked):
    update, count = (np.array([9.0, 0.0]), 10**6) if number == 0 else (np.array([0.0, 9.0]), 10)
    content = RecordDict({"arrays": ArrayRecord([update]), "metrics": MetricRecord({"num-examples": count})})
    answers.append(Message(content=content, reply_to=message))
arrays, _ = strategy.aggregate_train(1, answers)
moved = float(arrays.to_numpy_ndarrays()[0][0])
print(f"one client of four moves the mean by {moved:.3g} (0.25 is what the noise is made for)")
sys.exit(3 if moved > 0.26 else 0)
