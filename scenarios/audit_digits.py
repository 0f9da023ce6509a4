"""What an attacker gets from overfitted models and from private ones, and whether a planted mistake is noticed.

Twenty models without privacy, trained for far too long on 60 % of the digits; twenty with epsilon 3. All are attacked
with 64 shadow models. The private step plays a distinguishing game as it is, and once with half its noise on purpose:
that one must be reported as a violation.
"""

from trustml import (
    DPSGD,
    SGD,
    Architecture,
    Attacks,
    Canaries,
    Digits,
    Execution,
    Explanations,
    Flatten,
    Game,
    MembershipInference,
    Plain,
    Scenario,
)
from trustml.models.zoo import mlp

scenario = Scenario(
    name="audit_digits",
    description="What an attacker gets: overfitted against private models, claims checked, a planted mistake.",
    data=Digits(test_fraction=0.4),
    model=Architecture(layers=(Flatten(), *mlp([64], classes=10).layers)),
    training=(
        Plain(name="Overfitted", epochs=100, batch_size=32, optimizer=SGD(learning_rate=0.1, momentum=0.9)),
        DPSGD(epsilon=3.0, epochs=20, batch_size=64, optimizer=SGD(learning_rate=2.0)),
    ),
    explanations=Explanations(methods=()),
    attacks=Attacks(
        membership=MembershipInference(shadow_models=64),
        canaries=(Canaries(kind="dirac gradient", count=1000), Canaries(kind="mislabelled", count=200)),
        games=(Game(trials=30_000), Game(trials=30_000, fault="halved sensitivity")),
    ),
    backends=("torch",),
    seeds=tuple(range(20)),
    execution=Execution(threads=1, parallel_jobs=2),
)
