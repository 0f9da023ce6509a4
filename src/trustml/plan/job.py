"""A job: all that one worker process needs to know, as data.

Paths inside a job are relative to the run directory. A job holds nothing secret: batches, noise and the
seeds behind them live in files under ``private/``.
"""

from __future__ import annotations

import hashlib
from typing import Literal, TypeAlias

import msgspec

from trustml.models.layers import Architecture
from trustml.models.tasks import DEFAULT_TASK, Quantity, Task, without_later_defaults
from trustml.privacy.ledger import Drawn, NeighboringRelation, NoiseKind, PrivacyUnit
from trustml.scenario.attacks import AttributeInference, Canaries, Extraction, Game, GradientInversion, ModelInversion
from trustml.scenario.methods import Method
from trustml.scenario.regimes import DPSGD, Plain, Regime
from trustml.scenario.spec import BackendName, Execution, Probes
from trustml.scenario.trainable import Trainable


class Mechanism(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of one private training, as the ledger will charge them.

    Parameters
    ----------
    noise_multiplier : float
        Of the gradient; with adaptive clipping larger than what was asked for, as the count takes its part.
    count_noise : float
        With adaptive clipping, standard deviation of the noise on the number of unclipped examples; else 0.
    clipping_norm, sample_rate : float
    expected_batch_size : int
        What the noisy sum is divided by.
    examples : int
    sampling : {"poisson", "shuffle", "fixed", "in turn", "cyclic poisson", "all"}
    secret_sampling : bool
    largest_participation : int
        Most batches that any one example is in; all steps where the batches are secret, so as not to tell.
    total_steps : int
        Steps of the whole training.
    start_step : int
        Steps done by earlier attempts and kept in a checkpoint.
    steps : int
        Steps this attempt may take; fewer than are left where earlier attempts spent part of the budget.
    attempt : int
    steps_per_charge : int
        Steps that one line of the ledger pays for in advance.
    unit : {"example", "user"}
        For users an example is one of them, or a client, and of a federated regime a step is a round, a batch a cohort.
    noise : {"independent", "tree aggregation", "banded matrix factorisation", "buffered linear Toeplitz"}
        How the noise of the steps hangs together.
    separation : int
        Steps from one batch of an example to its next, at the least; groups of cyclic Poisson sampling.
    users : str
        Fingerprint of who holds what, where the unit is a user, or a column tells whose the examples are, or examples
        are private at their clients.
    relation : {"add or remove one", "zero out one", "replace one"}, optional
        Under which it is charged; None where that follows from the way of drawing.
    """

    noise_multiplier: float
    count_noise: float = 0.0
    clipping_norm: float
    sample_rate: float
    expected_batch_size: int
    examples: int
    sampling: Drawn
    secret_sampling: bool
    largest_participation: int
    total_steps: int
    start_step: int = 0
    steps: int
    attempt: int = 1
    steps_per_charge: int = 1
    unit: PrivacyUnit = "example"
    noise: NoiseKind = "independent"
    separation: int = 1
    users: str = ""
    relation: NeighboringRelation | None = None


class AblatedSteps(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The steps that an ablation takes, with numbers of the private training it leaves something out of.

    Parameters
    ----------
    regime : DPSGD
    noise_multiplier : float
        Over the regime's clipping norm; 0 where no noise is added.
    """

    regime: DPSGD
    noise_multiplier: float = 0.0


class JobSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all jobs share.

    Parameters
    ----------
    id : str
        Folder of the job below ``jobs/``.
    backend : str
        Whose environment runs it.
    model : Architecture
    input_shape : tuple of int
    execution : Execution
    task : Task
        Of the model.
    """

    id: str
    backend: BackendName
    model: Architecture
    input_shape: tuple[int, ...]
    execution: Execution
    task: Task = DEFAULT_TASK


class TrainJob(JobSpec, frozen=True, kw_only=True, tag="train"):
    """Train one model.

    Parameters
    ----------
    regime : Regime
    seed : int
    initial_weights, data, plan : str
        Files in the run directory. `data` and `plan` are private.
    data_fingerprint : str
    mechanism : Mechanism, optional
        Only for private regimes.
    clients : str
        File of who holds what; empty unless the regime is federated, or names a column that tells users apart.
    scores : str
        Private file for the logits of the training examples, which attacks look at; empty if there are none.
    ablated : AblatedSteps, optional
        Only for ablations, which are not private and have no mechanism.
    extraction : Extraction, optional
    extracted : str
        Private file of how many tokens of each text came out; empty where none is tried.
    attributes : AttributeInference, optional
    attribute_values, attributed : str
        Private files of the columns that are guessed, and of how well each value fits; empty where none is tried.
    """

    regime: Regime
    seed: int
    initial_weights: str
    data: str
    plan: str
    data_fingerprint: str
    mechanism: Mechanism | None = None
    clients: str = ""
    scores: str = ""
    ablated: AblatedSteps | None = None
    extraction: Extraction | None = None
    extracted: str = ""
    attributes: AttributeInference | None = None
    attribute_values: str = ""
    attributed: str = ""


class ExplainJob(JobSpec, frozen=True, kw_only=True, tag="explain"):
    """Explain one trained model with this backend's library, by several methods.

    Parameters
    ----------
    subject : str
        Identifier of the train job whose weights are explained.
    weights, examples, baselines : str
        Files in the run directory.
    methods : tuple of Method
        Those that this backend has and that fit the model; the random control is the last.
    target : {"true", "predicted"} or int
    quantity : {"logit", "probability", "loss"}
    probes : Probes
    timing : bool
        Whether to call every method twice.
    """

    subject: str
    weights: str
    examples: str
    baselines: str
    methods: tuple[Method, ...]
    target: Literal["true", "predicted"] | int
    quantity: Quantity = "logit"
    probes: Probes
    timing: bool = True


class ShadowJob(JobSpec, frozen=True, kw_only=True, tag="shadow"):
    """Train many models at once on random parts of the data: the reference models of membership inference.

    Parameters
    ----------
    regime : Regime
    mechanism : Mechanism, optional
        Only for private regimes; the noise is that of the attacked models.
    seed : int
        Starting weights and batches of every model follow from it.
    data, members : str
        Private files: the data, and who is in which model (``members``, bool of shape (models, examples), over the
        training examples followed by the held-out ones).
    clients : str
        File of who holds what; empty unless the regime is federated.
    output : str
        Private file for ``logits``, float32 of shape (models, examples, classes); of texts the mean log-probability
        of the tokens that follow, (models, examples).
    """

    regime: Regime
    mechanism: Mechanism | None = None
    seed: int
    data: str
    members: str
    clients: str = ""
    output: str


class CanaryJob(JobSpec, frozen=True, kw_only=True, tag="canary"):
    """Train one model with canaries of which each is there or not, and see how well that shows.

    It is private, but where the canaries are random tokens.

    Parameters
    ----------
    training : TrainJob
        As the regime's own model is trained, on the same data by batches of its own; its ledger is this job's.
    canaries : Canaries
    chosen : str
        Private file of the canaries: ``included``, bool of shape (m,), and what they are made of.
    output : str
        Private file for ``included`` and ``scores``, float64 of shape (m,), larger where a canary seems there; for
        random tokens also ``losses`` (m,) and ``reference_losses`` (r,) by the trained model.
    """

    training: TrainJob
    canaries: Canaries
    chosen: str
    output: str


class GameJob(JobSpec, frozen=True, kw_only=True, tag="game"):
    """Take one private step again and again, with a worst-case example in the batch and without it.

    Parameters
    ----------
    game : Game
    clipping_norm : float
    delta : float
    output : str
        Private file for ``present`` and ``absent``, float64 of shape (trials,), larger where it seems present.
    """

    game: Game
    clipping_norm: float
    delta: float
    output: str


class ReconstructionJob(JobSpec, frozen=True, kw_only=True, tag="reconstruction"):
    """Make rows again from updates of clients, and typical inputs of classes from a trained model.

    Parameters
    ----------
    subject : str
        Identifier of the train job of the model.
    regime : Regime
    noise_multiplier : float
        Of the sum of each round by itself; 0 where there is no noise, or none of which that can be said.
    initial_weights, weights, data : str
        Files in the run directory: the starting weights and the trained ones. `data` is private.
    data_fingerprint : str
    clients : str
        File of who holds what; empty unless the regime is federated.
    gradients : GradientInversion, optional
        Only for federated regimes.
    inversion : ModelInversion, optional
    output : str
        Private file of how near what was made is to rows that were trained on, and to others.
    """

    subject: str
    regime: Regime
    noise_multiplier: float = 0.0
    initial_weights: str
    weights: str
    data: str
    data_fingerprint: str
    clients: str = ""
    gradients: GradientInversion | None = None
    inversion: ModelInversion | None = None
    output: str


Job: TypeAlias = TrainJob | ExplainJob | ShadowJob | CanaryJob | GameJob | ReconstructionJob

VARIANTS = ("native", "completed", "common")
"""Of attributions: as the library returns them, made to follow the definition, and by the core's own formula."""


def train_id(backend: str, regime: str, seed: int) -> str:
    """Identifier of a train job, such as ``train.torch.Plain.s0``."""
    return f"train.{backend}.{regime}.s{seed}"


def explain_id(backend: str, subject: str) -> str:
    """Identifier of an explain job, such as ``explain.jax.of.torch.Plain.s0``."""
    return f"explain.{backend}.of.{short_model(subject)}"


def short_model(model: str) -> str:
    """Name of a model for readers: its train job without the kind of job."""
    return model.removeprefix("train.")


def timings_file(job: TrainJob) -> str:
    """File of the time and size of every step; private where the sizes are secret."""
    return f"jobs/{job.id}/timings.npz" if job.mechanism is None else f"private/timings/{job.id}.npz"


def checkpoint_file(job: TrainJob) -> str:
    """File of the latest checkpoint: private, because only the final model is released."""
    return f"private/checkpoints/{job.id}.npz"


def clients_file(regime: str, seed: int) -> str:
    """File of who holds which examples, for one regime and seed: private, as it tells of clients."""
    return f"private/clients/{regime}.s{seed}.npz"


def rounds_file(job: TrainJob) -> str:
    """File of what each round came to; private where rounds are."""
    return f"jobs/{job.id}/rounds.npz" if job.mechanism is None else f"private/rounds/{job.id}.npz"


def counts_file(job: TrainJob) -> str:
    """File of what private steps met that no epsilon covers: how many examples were not finite."""
    return f"private/counts/{job.id}.npz"


def features_file(job: TrainJob, digest: str) -> str:
    """File of what a front that stays as it is gives of the training examples: private, as they are."""
    return f"private/features/{job.backend}.{digest}.npz"


def trainable_of(job: TrainJob) -> tuple[Trainable, ...]:
    """What of the model the job trains; nothing means everything."""
    regime = job.ablated.regime if job.ablated is not None else job.regime
    return regime.trainable if isinstance(regime, Plain | DPSGD) else ()


def promises_privacy(job: Job) -> bool:
    """Whether a job trains on the data under a regime that promises privacy."""
    match job:
        case TrainJob() | ShadowJob():
            return job.mechanism is not None
        case CanaryJob():
            return job.training.mechanism is not None
    return False


def job_needs(job: Job) -> tuple[str, ...]:
    """Identifiers of the jobs that must be done first."""
    if isinstance(job, ExplainJob | ReconstructionJob):
        return (job.subject,)
    if not isinstance(job, TrainJob):
        return ()
    stop_at = job.regime.stop_at if isinstance(job.regime, Plain) else ""
    return (train_id(job.backend, stop_at, job.seed),) if stop_at else ()


def digest(job: Job) -> str:
    """SHA-256 of what the job asks for."""
    return hashlib.sha256(_encoded(job)).hexdigest()


def _encoded(job: Job) -> bytes:
    return msgspec.json.encode(without_later_defaults(msgspec.json.decode(msgspec.json.encode(job))))


def encode_job(job: Job) -> bytes:
    """Readable JSON of a job."""
    return msgspec.json.format(_encoded(job), indent=2) + b"\n"


def decode_job(content: bytes) -> Job:
    """Read a job back; raises msgspec.ValidationError if it is none."""
    return msgspec.json.decode(content, type=Job)
