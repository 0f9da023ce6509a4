"""trustml: what privacy, federation and the choice of framework cost, and whether the claims can be trusted.

>>> import trustml
>>> run = trustml.run("scenarios/digits.py")        # doctest: +SKIP
>>> run.measures()                                  # doctest: +SKIP

What is imported here is what is public. Scenarios are data, whose modules need msgspec alone and load in every
backend's environment; what runs and audits them is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from trustml.errors import (
    DataError as DataError,
    EnvironmentMissingError as EnvironmentMissingError,
    PrivacyError as PrivacyError,
    RecordError as RecordError,
    RunNotFoundError as RunNotFoundError,
    ScenarioError as ScenarioError,
    TrustmlError as TrustmlError,
    UsageError as UsageError,
)
from trustml.models.layers import (
    GELU as GELU,
    GRU as GRU,
    LSTM as LSTM,
    AdaptiveAvgPool as AdaptiveAvgPool,
    Add as Add,
    Architecture as Architecture,
    AvgPool as AvgPool,
    BatchNorm as BatchNorm,
    Concatenate as Concatenate,
    Conv1D as Conv1D,
    Conv2D as Conv2D,
    ConvTranspose1D as ConvTranspose1D,
    ConvTranspose2D as ConvTranspose2D,
    Dense as Dense,
    Dropout as Dropout,
    Flatten as Flatten,
    GlobalAvgPool as GlobalAvgPool,
    GlobalMaxPool as GlobalMaxPool,
    GroupNorm as GroupNorm,
    LayerNorm as LayerNorm,
    LeakyReLU as LeakyReLU,
    MaxPool as MaxPool,
    Multiply as Multiply,
    Node as Node,
    ReLU as ReLU,
    RMSNorm as RMSNorm,
    Scale as Scale,
    Sigmoid as Sigmoid,
    SiLU as SiLU,
    Softplus as Softplus,
    Tanh as Tanh,
    Transpose as Transpose,
)
from trustml.models.tasks import (
    Binary as Binary,
    Classes as Classes,
    Labels as Labels,
    NextToken as NextToken,
    Regression as Regression,
)
from trustml.models.token_layers import (
    Attention as Attention,
    Embedding as Embedding,
    FeatureTokens as FeatureTokens,
    LearnedPositions as LearnedPositions,
    Mask as Mask,
    MaskedMean as MaskedMean,
    Pick as Pick,
    Prepend as Prepend,
    Reshape as Reshape,
    SinusoidalPositions as SinusoidalPositions,
    Unembedding as Unembedding,
)
from trustml.scenario.attacks import (
    Attacks as Attacks,
    AttributeInference as AttributeInference,
    Canaries as Canaries,
    Extraction as Extraction,
    Game as Game,
    GradientInversion as GradientInversion,
    MembershipInference as MembershipInference,
    ModelInversion as ModelInversion,
    PropertyInference as PropertyInference,
)
from trustml.scenario.baselines import (
    Background as Background,
    Blur as Blur,
    Constants as Constants,
    HeldOutExample as HeldOutExample,
    Mean as Mean,
    Median as Median,
    PublicExample as PublicExample,
    TrainingExample as TrainingExample,
)
from trustml.scenario.clipping import (
    Adaptive as Adaptive,
    Flat as Flat,
    PerLayer as PerLayer,
)
from trustml.scenario.federated import (
    BandedMatrix as BandedMatrix,
    BufferedToeplitz as BufferedToeplitz,
    DPFedAvg as DPFedAvg,
    FedAdagrad as FedAdagrad,
    FedAdam as FedAdam,
    FedAvg as FedAvg,
    FedProx as FedProx,
    FedSGD as FedSGD,
    FedYogi as FedYogi,
    IndependentNoise as IndependentNoise,
    LocalDPFedAvg as LocalDPFedAvg,
    SiloDPFedAvg as SiloDPFedAvg,
    TreeAggregation as TreeAggregation,
)
from trustml.scenario.groups import (
    GroupMap as GroupMap,
)
from trustml.scenario.groups import (
    Superpixels as Superpixels,
)
from trustml.scenario.methods import (
    LRP as LRP,
    AttentionRollout as AttentionRollout,
    Deconvolution as Deconvolution,
    DeepLift as DeepLift,
    DeepLiftShap as DeepLiftShap,
    FeatureAblation as FeatureAblation,
    FeaturePermutation as FeaturePermutation,
    GradCam as GradCam,
    GradientShap as GradientShap,
    GuidedBackprop as GuidedBackprop,
    GuidedGradCam as GuidedGradCam,
    InputXGradient as InputXGradient,
    IntegratedGradients as IntegratedGradients,
    InternalInfluence as InternalInfluence,
    KernelShap as KernelShap,
    LayerActivation as LayerActivation,
    LayerConductance as LayerConductance,
    LayerDeepLift as LayerDeepLift,
    LayerGradientXActivation as LayerGradientXActivation,
    LayerIntegratedGradients as LayerIntegratedGradients,
    Lime as Lime,
    NeuronIntegratedGradients as NeuronIntegratedGradients,
    Occlusion as Occlusion,
    RandomControl as RandomControl,
    Saliency as Saliency,
    ShapleyValueSampling as ShapleyValueSampling,
    SmoothGrad as SmoothGrad,
    TransformerLRP as TransformerLRP,
)
from trustml.scenario.optimizers import (
    SGD as SGD,
    Adam as Adam,
    Schedule as Schedule,
)
from trustml.scenario.partition import (
    IID as IID,
    Dirichlet as Dirichlet,
    Everyone as Everyone,
    FixedCohort as FixedCohort,
    InTurn as InTurn,
    NaturalKey as NaturalKey,
    PoissonCohort as PoissonCohort,
    Quantity as Quantity,
    Shards as Shards,
)
from trustml.scenario.regimes import (
    DPSGD as DPSGD,
    Ablation as Ablation,
    Augmentation as Augmentation,
    Plain as Plain,
)
from trustml.scenario.sources import (
    Audio as Audio,
    BreastCancer as BreastCancer,
    Csv as Csv,
    Digits as Digits,
    Idx as Idx,
    Images as Images,
    Json as Json,
    Module as Module,
    Npz as Npz,
    Parquet as Parquet,
    Series as Series,
    Text as Text,
)
from trustml.scenario.spec import (
    Execution as Execution,
    Explanations as Explanations,
    Probes as Probes,
    Scenario as Scenario,
    Tuning as Tuning,
)
from trustml.scenario.trainable import (
    Head as Head,
    LoRA as LoRA,
    Named as Named,
    NormsAndBiases as NormsAndBiases,
)

if TYPE_CHECKING:
    from trustml.drafting.draft import Draft as Draft, draft as draft
    from trustml.explanation.explain import Explanation as Explanation, explain as explain
    from trustml.importing.model import ImportedModel as ImportedModel, import_model as import_model
    from trustml.api import (
        Run as Run,
        load as load,
        resume as resume,
        run as run,
    )
    from trustml.models.native import Native as Native
    from trustml.tuning import tune as tune
    from trustml.audits import (
        Audit as Audit,
        Claim as Claim,
        Endpoint as Endpoint,
        JaxModel as JaxModel,
        audit as audit,
    )

_LATE = {
    "Run": "trustml.api",
    "load": "trustml.api",
    "resume": "trustml.api",
    "run": "trustml.api",
    "tune": "trustml.tuning",
    "Audit": "trustml.audits",
    "Claim": "trustml.audits",
    "Endpoint": "trustml.audits",
    "JaxModel": "trustml.audits",
    "audit": "trustml.audits",
    "Draft": "trustml.drafting.draft",
    "draft": "trustml.drafting.draft",
    "Explanation": "trustml.explanation.explain",
    "explain": "trustml.explanation.explain",
    "ImportedModel": "trustml.importing.model",
    "import_model": "trustml.importing.model",
    "Native": "trustml.models.native",
}

__all__ = [name for name, value in globals().items() if isinstance(value, type)] + list(_LATE)

if not TYPE_CHECKING:  # or every name that is not there would be one

    def __getattr__(name: str) -> object:
        """Import what runs and audits on first use."""
        if name not in _LATE:
            raise AttributeError(f"module 'trustml' has no attribute {name!r}")
        value = getattr(importlib.import_module(_LATE[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
