"""trustml: what privacy, federation and the choice of framework cost, and whether the claims can be trusted.

>>> import trustml
>>> run = trustml.run("scenarios/digits.py")        # doctest: +SKIP
>>> run.measures()                                  # doctest: +SKIP

Names are imported when they are first used, so that ``import trustml`` costs nothing and works in every
backend's environment.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trustml.api import Run, load, resume, run
    from trustml.auditing.claim import Claim
    from trustml.auditing.endpoints import Endpoint
    from trustml.auditing.models import JaxModel
    from trustml.audits import Audit, audit
    from trustml.errors import (
        DataError,
        EnvironmentMissingError,
        PrivacyError,
        RecordError,
        RunNotFoundError,
        ScenarioError,
        TrustmlError,
        UsageError,
    )
    from trustml.models.layers import (
        GELU,
        Architecture,
        AvgPool,
        BatchNorm,
        Conv2D,
        Dense,
        Dropout,
        Flatten,
        GroupNorm,
        LayerNorm,
        MaxPool,
        ReLU,
        Tanh,
    )
    from trustml.scenario.attacks import Attacks, Canaries, Game, MembershipInference
    from trustml.scenario.baselines import Background, Blur, Mean, TrainingExample
    from trustml.scenario.methods import (
        LRP,
        Deconvolution,
        DeepLift,
        DeepLiftShap,
        FeatureAblation,
        FeaturePermutation,
        GradCam,
        GradientShap,
        GuidedBackprop,
        GuidedGradCam,
        InputXGradient,
        IntegratedGradients,
        InternalInfluence,
        KernelShap,
        LayerActivation,
        LayerConductance,
        LayerDeepLift,
        LayerGradientXActivation,
        LayerIntegratedGradients,
        Lime,
        NeuronIntegratedGradients,
        Occlusion,
        RandomControl,
        Saliency,
        ShapleyValueSampling,
        SmoothGrad,
    )
    from trustml.scenario.optimizers import SGD, Adam, Schedule
    from trustml.scenario.partition import (
        IID,
        Dirichlet,
        Everyone,
        FixedCohort,
        InTurn,
        NaturalKey,
        PoissonCohort,
        Quantity,
        Shards,
    )
    from trustml.scenario.regimes import DPSGD, Augmentation, Plain
    from trustml.scenario.sources import BreastCancer, Csv, Digits, Idx, Npz, Parquet
    from trustml.scenario.spec import Execution, Explanations, Probes, Scenario, Tuning

_HOMES = {
    "trustml.api": ("Run", "load", "resume", "run"),
    "trustml.audits": ("Audit", "audit"),
    "trustml.auditing.claim": ("Claim",),
    "trustml.auditing.endpoints": ("Endpoint",),
    "trustml.auditing.models": ("JaxModel",),
    "trustml.scenario.attacks": ("Attacks", "Canaries", "Game", "MembershipInference"),
    "trustml.errors": (
        "DataError",
        "EnvironmentMissingError",
        "PrivacyError",
        "RecordError",
        "RunNotFoundError",
        "ScenarioError",
        "TrustmlError",
        "UsageError",
    ),
    "trustml.models.layers": (
        "GELU",
        "Architecture",
        "AvgPool",
        "BatchNorm",
        "Conv2D",
        "Dense",
        "Dropout",
        "Flatten",
        "GroupNorm",
        "LayerNorm",
        "MaxPool",
        "ReLU",
        "Tanh",
    ),
    "trustml.scenario.optimizers": ("SGD", "Adam", "Schedule"),
    "trustml.scenario.clipping": ("Adaptive", "Flat", "PerLayer"),
    "trustml.scenario.federated": (
        "BandedMatrix",
        "DPFedAvg",
        "FedAdagrad",
        "FedAdam",
        "FedAvg",
        "FedProx",
        "FedSGD",
        "FedYogi",
        "IndependentNoise",
        "TreeAggregation",
    ),
    "trustml.scenario.partition": (
        "IID",
        "Dirichlet",
        "Everyone",
        "FixedCohort",
        "InTurn",
        "NaturalKey",
        "PoissonCohort",
        "Quantity",
        "Shards",
    ),
    "trustml.scenario.regimes": ("DPSGD", "Augmentation", "Plain"),
    "trustml.scenario.sources": ("BreastCancer", "Csv", "Digits", "Idx", "Npz", "Parquet"),
    "trustml.scenario.baselines": ("Background", "Blur", "Mean", "TrainingExample"),
    "trustml.scenario.methods": (
        "Deconvolution",
        "DeepLift",
        "DeepLiftShap",
        "FeatureAblation",
        "FeaturePermutation",
        "GradCam",
        "GradientShap",
        "GuidedBackprop",
        "GuidedGradCam",
        "InputXGradient",
        "IntegratedGradients",
        "InternalInfluence",
        "KernelShap",
        "LRP",
        "LayerActivation",
        "LayerConductance",
        "LayerDeepLift",
        "LayerGradientXActivation",
        "LayerIntegratedGradients",
        "Lime",
        "NeuronIntegratedGradients",
        "Occlusion",
        "RandomControl",
        "Saliency",
        "ShapleyValueSampling",
        "SmoothGrad",
    ),
    "trustml.scenario.spec": ("Execution", "Explanations", "Probes", "Scenario", "Tuning"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DPSGD",
    "GELU",
    "IID",
    "LRP",
    "SGD",
    "Adam",
    "Adaptive",
    "Architecture",
    "Attacks",
    "Audit",
    "Augmentation",
    "AvgPool",
    "Background",
    "BandedMatrix",
    "BatchNorm",
    "Blur",
    "BreastCancer",
    "Canaries",
    "Claim",
    "Conv2D",
    "Csv",
    "DPFedAvg",
    "DataError",
    "Deconvolution",
    "DeepLift",
    "DeepLiftShap",
    "Dense",
    "Digits",
    "Dirichlet",
    "Dropout",
    "Endpoint",
    "EnvironmentMissingError",
    "Everyone",
    "Execution",
    "Explanations",
    "FeatureAblation",
    "FeaturePermutation",
    "FedAdagrad",
    "FedAdam",
    "FedAvg",
    "FedProx",
    "FedSGD",
    "FedYogi",
    "FixedCohort",
    "Flat",
    "Flatten",
    "Game",
    "GradCam",
    "GradientShap",
    "GroupNorm",
    "GuidedBackprop",
    "GuidedGradCam",
    "Idx",
    "InTurn",
    "IndependentNoise",
    "InputXGradient",
    "IntegratedGradients",
    "InternalInfluence",
    "JaxModel",
    "KernelShap",
    "LayerActivation",
    "LayerConductance",
    "LayerDeepLift",
    "LayerGradientXActivation",
    "LayerIntegratedGradients",
    "LayerNorm",
    "Lime",
    "MaxPool",
    "Mean",
    "MembershipInference",
    "NaturalKey",
    "NeuronIntegratedGradients",
    "Npz",
    "Occlusion",
    "Parquet",
    "PerLayer",
    "Plain",
    "PoissonCohort",
    "PrivacyError",
    "Probes",
    "Quantity",
    "RandomControl",
    "ReLU",
    "RecordError",
    "Run",
    "RunNotFoundError",
    "Saliency",
    "Scenario",
    "ScenarioError",
    "Schedule",
    "ShapleyValueSampling",
    "Shards",
    "SmoothGrad",
    "Tanh",
    "TrainingExample",
    "TreeAggregation",
    "TrustmlError",
    "Tuning",
    "UsageError",
    "audit",
    "load",
    "resume",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'trustml' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
