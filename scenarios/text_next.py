"""The next byte of text messages: a small causal decoder; plain and private.

A message is one example, and its gradient is what is clipped. Beside accuracy and perplexity stands what the shares of
the bytes alone come to. The file is taken from the folder ``sms_spam`` below ``TRUSTML_DATA``, or below ``data`` beside
this file; its labels are not read.
"""

import os

from trustml import (
    DPSGD,
    Adam,
    Attacks,
    Execution,
    Explanations,
    FeatureAblation,
    Game,
    InputXGradient,
    IntegratedGradients,
    MembershipInference,
    NextToken,
    Plain,
    Scenario,
    Text,
)
from trustml.models.transformers import decoder

folder = os.path.join(os.environ.get("TRUSTML_DATA", "data"), "sms_spam")

scenario = Scenario(
    name="text_next",
    description="the next byte of text messages, a small causal decoder; plain and private",
    data=Text(
        path=f"{folder}/SMSSpamCollection.tsv.gz",
        text="column2",
        separator="\t",
        quote="",
        header=False,
        length=24,
    ),
    task=NextToken(),
    model=decoder(vocabulary=258, width=24, heads=2, blocks=1, hidden=48),
    training=(
        Plain(epochs=3, batch_size=64, optimizer=Adam(learning_rate=0.005)),
        DPSGD(epsilon=8.0, delta=1e-5, epochs=10, batch_size=512, optimizer=Adam(learning_rate=0.02)),
    ),
    explanations=Explanations(
        methods=(InputXGradient(), IntegratedGradients(n_steps=32), FeatureAblation()),
        examples=16,
        timing=False,
    ),
    attacks=Attacks(membership=MembershipInference(shadow_models=0), games=(Game(trials=2_000),)),
    execution=Execution(threads=1, parallel_jobs=2),
    chosen_from_data=("training",),  # by two trial runs on these messages
)
