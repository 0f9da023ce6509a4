"""Names of jobs that attack, and of the private files that jobs leave."""

from __future__ import annotations


def events_file(job_id: str) -> str:
    """File of the progress of a job, step by step: private, as the time of a step follows its batch."""
    return f"private/events/{job_id}.jsonl"


def logs_folder(job_id: str) -> str:
    """Folder of what a job printed: private, as messages of libraries may hold values of the data."""
    return f"private/logs/{job_id}"


def shadow_id(backend: str, regime: str) -> str:
    """Identifier of a shadow job, such as ``shadow.jax.Plain``."""
    return f"shadow.{backend}.{regime}"


def canary_id(backend: str, regime: str, kind: str) -> str:
    """Identifier of a canary job, such as ``canary.torch.DPSGD.dirac-gradient``."""
    return f"canary.{backend}.{regime}.{kind.replace(' ', '-')}"


def game_id(backend: str, number: int) -> str:
    """Identifier of a game, such as ``game.torch.0``."""
    return f"game.{backend}.{number}"


def reconstruction_id(backend: str, train: str) -> str:
    """Identifier of a job that makes rows again, such as ``reconstruction.jax.of.torch.FedAvg.s0``."""
    return f"reconstruction.{backend}.of.{train.removeprefix('train.')}"


def population_id(backend: str, regime: str) -> str:
    """Identifier of the shadow models of populations, such as ``population.jax.Plain``."""
    return f"population.{backend}.{regime}"


def scores_file(train: str) -> str:
    """File of the logits of a model's own training examples: private."""
    return f"private/scores/{train}.npz"


def extracted_file(train: str) -> str:
    """File of how far a model went on with each text: private."""
    return f"private/attacks/{train}.extracted.npz"


TRAINING_SLICES = "private/attacks/slices.npz"
"""Groups of the training examples by the columns of the scenario's ``slices``."""
ATTRIBUTES = "private/attacks/attributes.npz"
"""Columns whose values are guessed, with the values that they have."""


def attributed_file(train: str) -> str:
    """File of how well each value of a column fits each row, to a model: private."""
    return f"private/attacks/{train}.attributes.npz"


def attack_file(job_id: str) -> str:
    """File of what an attacking job saw: private."""
    return f"private/attacks/{job_id}.npz"


def population_file(regime: str) -> str:
    """File of who is in which model of a population, and which share has the property: private."""
    return f"private/attacks/population.{regime}.npz"


def members_file(regime: str) -> str:
    """File of who is in which shadow model of a regime: private, as every choice of examples."""
    return f"private/attacks/members.{regime}.npz"
