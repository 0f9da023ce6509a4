"""Names of the jobs that attack, and of the private files they leave."""

from __future__ import annotations


def shadow_id(backend: str, regime: str) -> str:
    """Identifier of a shadow job, such as ``shadow.jax.Plain``."""
    return f"shadow.{backend}.{regime}"


def canary_id(backend: str, regime: str, kind: str) -> str:
    """Identifier of a canary job, such as ``canary.torch.DPSGD.dirac-gradient``."""
    return f"canary.{backend}.{regime}.{kind.replace(' ', '-')}"


def game_id(backend: str, number: int) -> str:
    """Identifier of a game, such as ``game.torch.0``."""
    return f"game.{backend}.{number}"


def scores_file(train: str) -> str:
    """File of the logits of a model's own training examples: private."""
    return f"private/scores/{train}.npz"


def attack_file(job_id: str) -> str:
    """File of what an attacking job saw: private."""
    return f"private/attacks/{job_id}.npz"


def members_file(regime: str) -> str:
    """File of who is in which shadow model of a regime: private, as every choice of examples."""
    return f"private/attacks/members.{regime}.npz"
