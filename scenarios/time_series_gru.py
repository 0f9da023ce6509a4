"""GunPoint again, by gated recurrent units; the files are looked for where ``time_series.py`` looks for them."""

import os

from trustml import (
    DPSGD,
    SGD,
    Adam,
    Attacks,
    Execution,
    Explanations,
    FeatureAblation,
    Game,
    IntegratedGradients,
    MembershipInference,
    Plain,
    Probes,
    Scenario,
    Series,
)
from trustml.models.sequences import gru_classifier

folder = os.path.join(os.environ.get("TRUSTML_DATA", "data"), "gunpoint")
window = 15

scenario = Scenario(
    name="time_series_gru",
    description="hand movements of GunPoint, gated recurrent units; plain and private",
    data=Series(path=f"{folder}/GunPoint_TEST.txt", test_path=f"{folder}/GunPoint_TRAIN.txt"),
    model=gru_classifier(classes=2, units=16, window=8, stride=4),
    training=(
        Plain(epochs=30, batch_size=16, optimizer=Adam(learning_rate=0.01)),
        DPSGD(epsilon=8.0, delta=1e-3, epochs=20, batch_size=50, optimizer=SGD(learning_rate=2.0)),
    ),
    explanations=Explanations(
        methods=(IntegratedGradients(n_steps=32), FeatureAblation(patch=window)),
        examples=8,
        probes=Probes(patch=window),
    ),
    attacks=Attacks(membership=MembershipInference(shadow_models=0), games=(Game(trials=2_000),)),
    execution=Execution(threads=1, parallel_jobs=2),
)
