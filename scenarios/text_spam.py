"""Spam among text messages: a small encoder on bytes; plain and private.

One message in eight is spam. Weights of the classes are constants that are multiplied into the loss before clipping;
one is below 1 instead of the other above it, as what is clipped anyway gains nothing by a larger loss. The file is
taken from the folder ``sms_spam`` below ``TRUSTML_DATA``, or below ``data`` beside this file.
"""

import os

from trustml import (
    DPSGD,
    Adam,
    Attacks,
    Classes,
    Execution,
    Explanations,
    FeatureAblation,
    Game,
    InputXGradient,
    IntegratedGradients,
    MembershipInference,
    Plain,
    Saliency,
    Scenario,
    Text,
)
from trustml.models.transformers import encoder

folder = os.path.join(os.environ.get("TRUSTML_DATA", "data"), "sms_spam")

scenario = Scenario(
    name="text_spam",
    description="spam among text messages, an encoder on bytes; plain and private",
    data=Text(
        path=f"{folder}/SMSSpamCollection.tsv.gz",
        text="column2",
        label="column1",
        separator="\t",
        quote="",
        header=False,
        length=64,
    ),
    task=Classes(class_weights=(0.2, 1.0)),
    model=encoder(vocabulary=258, classes=2, width=16, heads=2, blocks=1, hidden=32),
    training=(
        Plain(epochs=6, batch_size=64, optimizer=Adam(learning_rate=0.005)),
        DPSGD(epsilon=3.0, delta=1e-5, epochs=10, batch_size=512, optimizer=Adam(learning_rate=0.01)),
    ),
    explanations=Explanations(
        methods=(Saliency(), InputXGradient(), IntegratedGradients(n_steps=32), FeatureAblation()),
        examples=16,
        timing=False,
    ),
    attacks=Attacks(membership=MembershipInference(shadow_models=0), games=(Game(trials=2_000),)),
    execution=Execution(threads=1, parallel_jobs=2),
    chosen_from_data=("task.class_weights", "model", "training"),  # by trial runs on these messages
)
