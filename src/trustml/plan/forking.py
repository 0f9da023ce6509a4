"""Which jobs may be forked from a process that has imported their framework, and what such a process is asked.

Only jobs whose times are no figure of the record, and from whose memory nothing can be learnt: explanations without
timing of plain models that nobody attacks, of architectures of ours. Never a training, never what is private.
"""

from __future__ import annotations

import msgspec

from trustml.frameworks.table import entry_of
from trustml.models.native import native_of
from trustml.plan.attacking import unattacked
from trustml.plan.job import ExplainJob, Job, TrainJob
from trustml.scenario.places import Local
from trustml.scenario.regimes import Plain

READY = b"ready"
LARGEST = 2**16
"""Bytes of a question."""


class Fork(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Fork a worker; the answer is its process id.

    Descriptors that come with it: its standard output and error, the pipe of the launcher with which it ends, and what
    it holds as long as it lives.

    Attributes
    ----------
    folder : str
        Of the job.
    """

    folder: str


class Collect(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Wait for the end of a worker; the answer is its exit code, or the negative number of a signal.

    Until then its process id is nobody else's.
    """

    pid: int


def may_be_forked(job: Job, subject: Job | None) -> bool:
    """Whether a job may be forked.

    Parameters
    ----------
    job : Job
    subject : Job, optional
        The training of the model that it explains.
    """
    if not isinstance(job, ExplainJob) or job.timing or not isinstance(subject, TrainJob):
        return False
    plain = isinstance(subject.regime, Plain) and subject.regime.ablation is None and subject.mechanism is None
    ours = native_of(job.model) is None and isinstance(job.execution.place, Local)
    return (
        job.execution.warm_workers
        and plain
        and ours
        and unattacked(subject) == subject
        and bool(entry_of(job.backend).preloaded)
    )
