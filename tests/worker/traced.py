"""``python traced.py JOB_DIR TRACE``: the worker itself, its private trainer watched from outside.

Before each update a line is appended to TRACE, and after it another one with batch and noise. A kill loses no line
that was written.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

from trustml.backends.contract import Backend, Model, PrivateTrainer
from trustml.backends.settings import PrivateSettings
from trustml.plan.job import decode_job
from trustml.worker import __main__ as worker
from trustml.worker import pipeline
from trustml.worker.forwarding import TracingTrainer


def main(folder: str, trace: str) -> int:
    job = decode_job((Path(folder) / "job.json").read_bytes())
    attempt, expected = job.mechanism.attempt, job.mechanism.expected_batch_size
    handle = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(content: dict) -> None:
        os.write(handle, json.dumps(content).encode() + b"\n")

    load = pipeline.load_backend

    def watched(name: str) -> Backend:
        backend = load(name)

        def private(model: Model, settings: PrivateSettings, dropout_seed: int) -> PrivateTrainer:
            return TracingTrainer(
                backend.private(model, settings, dropout_seed),
                attempt=attempt,
                expected_batch_size=expected,
                tell=lambda step: write(dataclasses.asdict(step)),
                begin=lambda: write({"begin": attempt}),
            )

        return dataclasses.replace(backend, private=private)

    pipeline.load_backend = watched
    return worker.main([folder])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
