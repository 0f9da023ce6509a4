"""Recordings, series and augmented images are trained on alike in three frameworks, plain, private and explained."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

import trustml
from tests.records import unasked_second_opinion
from trustml.models.layers import Architecture, Conv1D, Conv2D, Dense, GlobalAvgPool, ReLU
from trustml.scenario.methods import IntegratedGradients
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import DPSGD, Augmentation, Plain
from trustml.scenario.sources import Audio, Images, Series
from trustml.scenario.spec import Explanations, Scenario

pytestmark = [pytest.mark.timeout(600), pytest.mark.tensorflow, pytest.mark.long]

PLAIN = Plain(epochs=6, batch_size=8, optimizer=SGD(learning_rate=0.2, momentum=0.9))
PRIVATE = DPSGD(noise_multiplier=1.0, delta=1e-3, steps=4, batch_size=16)
RATE = 4000
EXPLAINED = (IntegratedGradients(n_steps=10),)  # of inputs of two axes


def sounds(folder) -> Audio:
    """Two tones in noise."""
    generator, seconds = np.random.default_rng(0), np.arange(1000) / RATE
    for number in range(48):
        pitch = (300, 1200)[number % 2]
        place = folder / str(pitch)
        place.mkdir(parents=True, exist_ok=True)
        tone = 0.5 * np.sin(2 * np.pi * pitch * seconds + number) + 0.1 * generator.normal(size=1000)
        wavfile.write(place / f"{number}.wav", RATE, (2**14 * tone).astype(np.int16))
    return Audio(path=str(folder), rate=RATE, seconds=0.25, mels=12, window=128, hop=64, test_fraction=0.25)


def series(folder) -> Series:
    """Two channels, one of which leads or follows the other."""
    generator, steps = np.random.default_rng(0), np.arange(30)
    lines = []
    for number in range(48):
        wave = np.sin(steps / 3 + generator.uniform(0, 6)) + 0.1 * generator.normal(size=30)
        both = (wave, np.roll(wave, 3 if number % 2 else -3))
        lines.append(":".join(",".join(map(str, channel.round(4))) for channel in both) + f":{number % 2}")
    (folder / "a.ts").write_text("\n".join(["@classLabel true 0 1", "@data", *lines]))
    return Series(path=str(folder / "a.ts"), test_fraction=0.25, scaling="each")


def pictures(folder) -> Images:
    """Bright above or below."""
    generator = np.random.default_rng(0)
    for number in range(48):
        pixels = generator.integers(0, 120, (8, 8, 3)).astype(np.uint8)
        pixels[:4] += np.uint8(120 * (number % 2))
        place = folder / ("down", "up")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return Images(path=str(folder), test_fraction=0.25)


def network(convolution) -> Architecture:
    return Architecture(layers=(convolution, ReLU(), GlobalAvgPool(), Dense(units=2)))


CASES = {
    "audio": (sounds, network(Conv2D(filters=8, kernel=(3, 12))), PLAIN, PRIVATE),
    "series": (series, network(Conv1D(filters=8, kernel=7)), PLAIN, PRIVATE),
    "augmented": (
        pictures,
        network(Conv2D(filters=8, kernel=(5, 5))),
        msgspec.structs.replace(PLAIN, augmentation=Augmentation(multiplicity=1, shift=1, flip=True)),
        msgspec.structs.replace(PRIVATE, augmentation=Augmentation(multiplicity=3, shift=1, border="reflect")),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_source_is_trained_on_alike_in_all_frameworks(case, tmp_path):
    make, model, plain, private = CASES[case]
    (tmp_path / "data").mkdir()
    scenario = Scenario(
        name=case,
        data=make(tmp_path / "data"),
        model=model,
        training=(plain, private),
        explanations=Explanations(examples=4, methods=EXPLAINED if case == "series" else ()),
    )
    with unasked_second_opinion():
        run = trustml.run(scenario, out=tmp_path / "runs")
    assert run.status == "success", [(job.id, job.reason) for job in run.manifest.jobs if job.status != "ok"]
    names = ("torch", "jax", "tensorflow")
    first, *others = (run.weights(f"train.{name}.Plain.s0") for name in names)
    for weights in others:  # the same steps on the same batches, and the same copies of their images
        for name, array in weights.items():
            np.testing.assert_allclose(array, first[name], atol=2e-4, err_msg=name)
    table = run.measures()
    accuracy = table.query("measure == 'accuracy' and regime == 'Plain'").value
    assert len(accuracy) == 3 and accuracy.min() > 0.7
    assert len(table.query("measure == 'epsilon' and privacy_unit == 'example'")) >= 3
