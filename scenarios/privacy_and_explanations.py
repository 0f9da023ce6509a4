"""Whether privacy changes explanations more than another seed does, and which part of private training does it.

`trustml study privacy_and_explanations` runs four data sets and answers; `trustml run` takes the first alone. A model
is trained plainly; with DP-SGD at epsilon 8, 3 and 1; and by controls that each differ from a private model in one
thing:

* ``Schedule``: the private steps (batches, divisor, optimizer, number of steps) without clipping and without noise,
* ``Clipped``: the same with clipping,
* ``Noisy-eps8``, ...: the same with noise of the absolute size of the private model's, without clipping,
* ``Stopped-eps8``, ...: plain training stopped at the private model's accuracy, without which privacy cannot be told
  from low accuracy;

and federated. Small parts of MNIST and Adult are trained on, as epsilon 1 costs nothing that can be seen on all of
Adult. `--full` takes all of MNIST, and ten seeds everywhere. MNIST and Adult are read from the folder named by
``TRUSTML_DATA``, or from ``data`` beside this file.
"""

import os

from trustml import (
    DPSGD,
    IID,
    SGD,
    Ablation,
    Architecture,
    BreastCancer,
    Csv,
    DeepLift,
    Digits,
    Execution,
    Explanations,
    FeatureAblation,
    FedAvg,
    Flatten,
    Idx,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    Lime,
    Plain,
    Probes,
    Saliency,
    Scenario,
    ShapleyValueSampling,
    SmoothGrad,
)
from trustml.models.zoo import mlp, small_cnn

folder = os.environ.get("TRUSTML_DATA", "data")
EPSILONS = (8.0, 3.0, 1.0)


def methods(patch: int) -> tuple:
    """Gradient methods, then perturbation methods; `patch` joins pixels for the costly ones."""
    return (
        Saliency(absolute=False, name="Gradient"),
        InputXGradient(),
        IntegratedGradients(n_steps=32),
        SmoothGrad(n_samples=25, stdev=0.15),
        DeepLift(),
        FeatureAblation(patch=patch),
        ShapleyValueSampling(n_samples=10, patch=patch),
        KernelShap(n_samples=200, patch=patch),
        Lime(n_samples=200, patch=patch),
    )


def study_of(
    name: str,
    data: Digits | BreastCancer | Idx | Csv,
    model: Architecture,
    *,
    plain: Plain,
    private: DPSGD,
    federated: FedAvg,
    seeds: int,
    patch: int = 1,
    examples: int = 32,
) -> Scenario:
    """One data set of the study."""
    of = f"DPSGD-eps{EPSILONS[0]:g}"
    regimes: list = [
        plain,
        Plain(name="Schedule", ablation=Ablation(of=of, keeps="schedule")),
        Plain(name="Clipped", ablation=Ablation(of=of, keeps="clipping")),
    ]
    for epsilon in EPSILONS:
        title = f"DPSGD-eps{epsilon:g}"
        regimes += [
            DPSGD(
                name=title,
                epsilon=epsilon,
                delta=private.delta,
                clipping_norm=private.clipping_norm,
                epochs=private.epochs,
                batch_size=private.batch_size,
                optimizer=private.optimizer,
            ),
            Plain(name=f"Noisy-eps{epsilon:g}", ablation=Ablation(of=title, keeps="noise")),
            Plain(
                name=f"Stopped-eps{epsilon:g}",
                epochs=plain.epochs,
                batch_size=plain.batch_size,
                optimizer=plain.optimizer,
                stop_at=title,
            ),
        ]
    return Scenario(
        name=f"privacy_and_explanations_{name}",
        description=f"what privacy and federation do to explanations, {seeds} seeds",
        data=data,
        model=model,
        training=(*regimes, federated),
        explanations=Explanations(
            methods=methods(patch), examples=examples, scope="own", probes=Probes(patch=patch), timing=False
        ),
        backends=("jax",),
        seeds=tuple(range(seeds)),
        execution=Execution(parallel_jobs=2, threads=1, compilation_cache="user"),
    )


def mnist(first: int | None) -> Idx:
    """MNIST, or its first images, of which a third is held out."""
    images, labels = (f"{folder}/mnist/train-{part}-ubyte.gz" for part in ("images-idx3", "labels-idx1"))
    if first is not None:
        return Idx(images=images, labels=labels, first=first, test_fraction=1 / 3)
    tests = (f"{folder}/mnist/t10k-{part}-ubyte.gz" for part in ("images-idx3", "labels-idx1"))
    return Idx(images=images, labels=labels, test_images=next(tests), test_labels=next(tests))


def digits_study(seeds: int) -> Scenario:
    """Scikit-learn's 8x8 digits and a small CNN."""
    return study_of(
        "digits",
        Digits(),
        small_cnn(),
        plain=Plain(epochs=20, batch_size=32, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        private=DPSGD(epochs=60, batch_size=256, optimizer=SGD(learning_rate=0.1, momentum=0.9)),
        federated=FedAvg(
            partition=IID(clients=20), rounds=30, local_epochs=2, batch_size=16, client_optimizer=SGD(learning_rate=0.2)
        ),
        seeds=seeds,
    )


def breast_cancer_study(seeds: int) -> Scenario:
    """Scikit-learn's breast cancer table and an MLP."""
    return study_of(
        "breast_cancer",
        BreastCancer(),
        mlp([32, 16], classes=2),
        plain=Plain(epochs=30, batch_size=32, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        private=DPSGD(epochs=30, batch_size=64, optimizer=SGD(learning_rate=0.5)),
        federated=FedAvg(
            partition=IID(clients=10), rounds=20, local_epochs=2, batch_size=16, client_optimizer=SGD(learning_rate=0.1)
        ),
        seeds=seeds,
    )


def mnist_study(seeds: int, *, first: int | None) -> Scenario:
    """MNIST and an MLP."""
    return study_of(
        "mnist",
        mnist(first),
        Architecture(layers=(Flatten(), *mlp([32], classes=10).layers)),
        plain=Plain(epochs=8, batch_size=64, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        private=DPSGD(epochs=15, batch_size=120, optimizer=SGD(learning_rate=0.3, momentum=0.5)),
        federated=FedAvg(
            partition=IID(clients=20), rounds=20, local_epochs=1, batch_size=16, client_optimizer=SGD(learning_rate=0.1)
        ),
        seeds=seeds,
        patch=4,
        examples=16,
    )


def adult_study(seeds: int) -> Scenario:
    """A thirtieth of Adult census income and an MLP; one-hot columns are explained as one feature."""
    data = Csv(
        path=f"{folder}/adult/adult-train.csv.gz",
        test_fraction=0.97,
        label="income",
        drop=("fnlwgt", "education"),
        missing="category",
        ranges={
            "age": (17.0, 90.0),
            "education_num": (1.0, 16.0),
            "capital_gain": (0.0, 99999.0),
            "capital_loss": (0.0, 4356.0),
            "hours_per_week": (1.0, 99.0),
        },
    )
    return study_of(
        "adult",
        data,
        mlp([64, 32], classes=2),
        plain=Plain(epochs=10, batch_size=64, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        private=DPSGD(epochs=30, batch_size=128, optimizer=SGD(learning_rate=0.25, momentum=0.5)),
        federated=FedAvg(
            partition=IID(clients=20), rounds=20, local_epochs=1, batch_size=16, client_optimizer=SGD(learning_rate=0.1)
        ),
        seeds=seeds,
    )


scenario = digits_study(5)
study = (scenario, breast_cancer_study(8), mnist_study(5, first=3_000), adult_study(5))
full = (digits_study(10), breast_cancer_study(10), mnist_study(10, first=None), adult_study(10))
