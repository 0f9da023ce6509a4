"""A stranger's LightningModule, private and explained; needs `pip install lightning`."""

from trustml import (
    DPSGD,
    SGD,
    Attacks,
    Digits,
    Explanations,
    InputXGradient,
    IntegratedGradients,
    MembershipInference,
    Native,
    Occlusion,
    Plain,
    Scenario,
)

scenario = Scenario(
    name="my_lightning",
    description="a LightningModule of somebody's own code on digits; plain and private",
    data=Digits(),
    model=Native(backend="torch", module="lightning_network:Classifier", folder="own_code"),
    training=(
        Plain(epochs=15, batch_size=32, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        DPSGD(epsilon=8.0, delta=1e-5, epochs=40, batch_size=256, optimizer=SGD(learning_rate=0.1, momentum=0.9)),
    ),
    explanations=Explanations(
        methods=(IntegratedGradients(n_steps=32), InputXGradient(), Occlusion(window=(2, 2))), examples=32
    ),
    attacks=Attacks(membership=MembershipInference(shadow_models=0)),
    backends=("torch",),
)
