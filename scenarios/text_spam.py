"""Spam among text messages: a small encoder on bytes; plain and private.

The file is taken from the folder ``sms_spam`` below ``TRUSTML_DATA``, or below ``data`` beside this file.
"""

import os

from trustml import (
    DPSGD,
    Adam,
    Explanations,
    FeatureAblation,
    InputXGradient,
    IntegratedGradients,
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
        length=96,
    ),
    model=encoder(vocabulary=258, classes=2, width=32, heads=2, blocks=1, hidden=64),
    training=(
        Plain(epochs=4, batch_size=64, optimizer=Adam(learning_rate=0.003)),
        DPSGD(epsilon=3.0, delta=1e-5, epochs=6, batch_size=256, optimizer=Adam(learning_rate=0.003)),
    ),
    explanations=Explanations(
        methods=(Saliency(), InputXGradient(), IntegratedGradients(n_steps=32), FeatureAblation()), examples=16
    ),
)
