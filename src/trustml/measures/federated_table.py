"""The measures of federated training."""

from __future__ import annotations

from trustml.measures.described import Measure

FEDERATED_MEASURES: dict[str, Measure] = {
    "client_accuracy_mean": Measure(
        unit="1",
        better="higher",
        title="client accuracy, mean",
        meaning="Mean over clients of the accuracy on the held-out examples that stand for each: those of its key, or "
        "dealt out by its share of each class.",
    ),
    "client_accuracy_tenth": Measure(
        unit="1",
        better="higher",
        title="client accuracy, 10th percentile",
        meaning="Accuracy below which a tenth of the clients lie.",
    ),
    "client_accuracy_worst": Measure(
        unit="1", better="higher", title="client accuracy, worst", meaning="Accuracy of the worst-served client."
    ),
    "rounds_to_target": Measure(
        unit="rounds",
        better="lower",
        title="rounds to target",
        meaning="First round after which the held-out accuracy is the regime's target accuracy or more.",
    ),
    "held_out_loss": Measure(
        unit="nats",
        better="lower",
        title="held-out loss",
        meaning="Mean cross-entropy on held-out examples after the last round.",
    ),
    "client_update_norm": Measure(
        unit="1",
        better="neither",
        title="client drift",
        meaning="L2 norm of a client's update, mean over the clients of a round: how far clients drift from the "
        "global model before they are averaged.",
    ),
    "bytes_down": Measure(
        unit="bytes", better="lower", title="bytes down", meaning="Sent from the server to the clients in a round."
    ),
    "bytes_up": Measure(
        unit="bytes", better="lower", title="bytes up", meaning="Sent from the clients to the server in a round."
    ),
    "round_ratio": Measure(
        unit="1",
        better="lower",
        title="round against central",
        meaning="Median time of a round over the time that the same backend's plain training takes for as many "
        "examples.",
    ),
}
