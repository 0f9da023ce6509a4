"""Where jobs run, as data: on this machine, or on the nodes of a cluster."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from trustml.ranges import AT_LEAST_ONE, CountOrNone, NotNegative

PlacedKind: TypeAlias = Literal["train", "explain", "shadow", "canary", "game", "reconstruction"]
"""Kinds of jobs, as records have them."""


class Resources(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one job asks a node for. 0 leaves cores to the place; memory and time are then those of the execution.

    Parameters
    ----------
    cores : int
    memory : float
        GiB, which the job may not pass either.
    gpus : int
    time : float
        Minutes, which the job may not pass either.
    """

    cores: CountOrNone = 0
    memory: NotNegative = 0.0
    gpus: CountOrNone = 0
    time: NotNegative = 0.0


class PlaceSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Where jobs run. None of them ever runs again by itself: another attempt is `trustml run --resume`."""


class Local(PlaceSpec, frozen=True, kw_only=True, tag="local"):
    """Processes of this machine."""


class Slurm(PlaceSpec, frozen=True, kw_only=True, tag="slurm"):
    """Jobs of Slurm, by submitit (``trustml[slurm]``).

    Parameters
    ----------
    partition, account : str
        As ``sbatch`` has them; empty leaves them out.
    cluster : {"slurm", "local"}
        ``"local"`` has submitit start processes of this machine, to try a scenario without Slurm.
    setup : tuple of str
        Lines of shell before the job, such as ``module load python``.
    python : str
        Interpreter on the node that has trustml and submitit; the one of this process where it is empty.
    """

    partition: str = ""
    account: str = ""
    cluster: Literal["slurm", "local"] = "slurm"
    setup: tuple[str, ...] = ()
    python: str = ""


class Ray(PlaceSpec, frozen=True, kw_only=True, tag="ray"):
    """Tasks of a Ray cluster (``trustml[ray]``), each of which starts the command of a job; no data goes through Ray.

    Parameters
    ----------
    address : str
        Of the cluster; ``auto`` finds the one of this machine.
    node_resources : dict
        Custom resources that a node must have, such as ``{"tensorflow": 1}``.
    python : str
        Interpreter on the node that has trustml; the one of this process where it is empty.
    """

    address: str = "auto"
    node_resources: dict[str, float] = {}
    python: str = ""


class Command(PlaceSpec, frozen=True, kw_only=True, tag="command"):
    """Anything that is driven by commands: kubectl, SkyPilot, ssh, a script.

    Each is a tuple of words. In them and in `stdin`, ``{{id}}`` stands for what submitting printed last, ``{{name}}``
    for a name of the job, ``{{cores}}``, ``{{memory}}`` (MiB), ``{{gpus}}`` and ``{{minutes}}`` for its resources,
    ``{{folder}}`` for a private folder of the job in the run, ``{{shell}}`` for the command of the job as a line of
    shell, and ``{{json}}`` as a list in JSON. A word that is ``{{command}}`` becomes the words of that command.

    Parameters
    ----------
    submit : tuple of str
        Ends at once; the last line that it prints identifies the job.
    poll : tuple of str
        Ends with 0 and prints something as long as the job waits or runs, and prints nothing once it is gone. One that
        fails and says why could not ask: the job is taken to be there, for ten minutes if no node is heard of.
    stop : tuple of str
        Ends the job.
    stdin : str
        What `submit` reads, such as a manifest of Kubernetes.
    python : str
        Interpreter on the node that has trustml; the one of this process where it is empty.
    """

    submit: Annotated[tuple[str, ...], AT_LEAST_ONE]
    poll: Annotated[tuple[str, ...], AT_LEAST_ONE]
    stop: tuple[str, ...] = ()
    stdin: str = ""
    python: str = ""


SUBMIT_WORDS = ("name", "cores", "memory", "gpus", "minutes", "folder", "shell", "json", "command")
"""What stands for something in `submit` and `stdin` of a :class:`Command`."""

Place: TypeAlias = Local | Slurm | Ray | Command
