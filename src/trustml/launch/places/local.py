"""Workers as processes of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import cast

from trustml.launch.compiled import reused_by
from trustml.launch.environments import find_environment
from trustml.launch.places.contract import Work
from trustml.launch.process import JobLimits, Worker
from trustml.plan.attack_files import logs_folder
from trustml.plan.job import Job
from trustml.plan.switches import job_variables, reuse_compiled
from trustml.scenario.places import PlacedKind, Resources

NOTHING = Resources()


@dataclass(frozen=True)
class LocalPlace:
    """See :class:`trustml.launch.places.contract.Place`. Workers hold the run's lock."""

    def start(self, work: Work) -> Worker:
        """Start a worker in the environment of its backend."""
        job, run = work.job, work.run
        environment = find_environment(job.backend)
        python = environment.require()
        compiled = reused_by(job, python=python, of_run=work.compiled)
        variables = job_variables(job) | environment.variables | work.variables
        if compiled is not None:
            variables |= reuse_compiled(compiled)
        folder, forked = run.job_folder(job.id), None
        if work.warm is not None:
            forked = partial(work.warm.fork, backend=job.backend, python=python, folder=folder, lock=work.lock)
        return Worker(
            python=python,
            folder=folder,
            variables=variables,
            limits=job_limits(job),
            lock=work.lock,
            logs=run.file(logs_folder(job.id)),
            forked=forked,
        )


def resources_of(job: Job) -> Resources:
    """What a job asks a place for."""
    return job.execution.resources.get(cast(PlacedKind, job.__struct_config__.tag), NOTHING)


def job_limits(job: Job) -> JobLimits:
    """What a job may use: the smaller of its execution's limits and its resources."""
    asked, execution = resources_of(job), job.execution
    seconds = min(execution.timeout, 60 * asked.time or execution.timeout)
    gibibytes = min((one for one in (execution.memory_limit, asked.memory) if one), default=0.0)
    return JobLimits(timeout=seconds, memory=int(gibibytes * 2**30))
