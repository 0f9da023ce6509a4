"""Recordings: every way to write the same sound is the same, and log-mel features are those of librosa."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from tests.data.test_tables import refused
from trustml.data.audio import log_mel, mel_filters, read_clips
from trustml.data.dataset import fingerprint
from trustml.data.datasets import load_dataset
from trustml.errors import DataError
from trustml.scenario.sources import Audio

RATE = 1000
CLIP = np.round(np.random.default_rng(0).uniform(-0.9, 0.9, 400) * 128) / 128  # what 8 bits can say


def clips(folder: Path, **fields) -> Audio:
    return Audio(**{"path": str(folder), "rate": RATE, "seconds": 0.4, "features": "wave", **fields})


def one(path: Path, **fields) -> np.ndarray:
    return read_clips([path], clips(path.parent, **fields))[0][0]


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in range(8):
        place = tmp_path / "all" / ("no", "yes")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        wavfile.write(place / f"{number}.wav", RATE, np.roll(CLIP, number).astype(np.float32))
    return tmp_path / "all"


def riff(samples: bytes, *, bits: int, code: int = 1, channels: int = 1, size: int | None = None) -> bytes:
    """A WAV file by hand."""
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", code, channels, RATE, RATE * block, block, bits)
    size = len(samples) if size is None else size
    parts = b"fmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", size) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WAVE" + parts


def test_folders_are_classes_and_clips_have_one_length(folder):
    dataset = load_dataset(clips(folder, test_fraction=0.5))
    assert dataset.class_names == ("no", "yes") and dataset.input_shape == (400, 1) and dataset.warnings == ()
    assert dataset.preparation.scaling == "public constants"
    shown = {one.tobytes() for part in (dataset.train, dataset.test) for one in part.inputs[part.labels == 1]}
    assert shown == {np.roll(CLIP, number).astype(np.float32).tobytes() for number in (1, 3, 5, 7)}
    assert fingerprint(load_dataset(clips(folder, test_fraction=0.5))) == fingerprint(dataset)
    longer = load_dataset(clips(folder, seconds=0.5))
    assert (
        longer.warnings == ("of 8 recordings: 8 shorter, followed by silence",)
        and not longer.train.inputs[:, 400:].any()
    )
    shorter = load_dataset(clips(folder, seconds=0.1))
    assert shorter.input_shape == (100, 1) and "8 longer, cut off at the end" in shorter.warnings[0]


def test_a_table_names_recordings_and_splits_by_speaker(folder):
    table = folder / "t.csv"
    rows = [f"{('no', 'yes')[number % 2]}/{number}.wav,{number % 4 // 2},s{number // 4}" for number in range(8)]
    table.write_text("file,label,who\n" + "\n".join(rows) + "\n")
    dataset = load_dataset(clips(folder, table=str(table), split="by group", split_by="who", test_fraction=0.5))
    assert dataset.class_names == ("0", "1") and len(dataset.test) == 4
    (folder / "out.wav").symlink_to("/etc/passwd")
    table.write_text("file,label\nno/0.wav,a\nout.wav,b\n")
    refused(clips(folder, table=str(table)), "is no file inside of")
    refused(clips(folder), "lies beside the class folders")


def test_every_way_to_write_the_same_sound_is_the_same(tmp_path):
    path, wanted = tmp_path / "a.wav", CLIP.astype(np.float32)[:, None]
    three = b"".join(struct.pack("<i", int(value * 2**23))[:3] for value in CLIP)
    written = {
        "8": riff((CLIP * 128 + 128).astype(np.uint8).tobytes(), bits=8),
        "16": riff((CLIP * 2**15).astype("<i2").tobytes(), bits=16),
        "24": riff(three, bits=24),
        "32": riff((CLIP * 2**31).astype("<i4").tobytes(), bits=32),
        "float": riff(CLIP.astype("<f4").tobytes(), bits=32, code=3),
        "double": riff(CLIP.astype("<f8").tobytes(), bits=64, code=3),
        "stereo": riff(np.stack([CLIP / 2, CLIP * 1.5], axis=1).astype("<f4").tobytes(), bits=32, code=3, channels=2),
    }
    for name, content in written.items():
        path.write_bytes(content)
        np.testing.assert_array_equal(one(path), wanted, err_msg=name)
    told = read_clips([path], clips(tmp_path))[1]
    assert told == ("of 1 recordings: 1 of several channels, mixed to their mean",)


def test_another_rate_is_refused_or_resampled(tmp_path):
    tone = np.sin(2 * np.pi * 50 * np.arange(800) / (2 * RATE)).astype(np.float32)
    wavfile.write(tmp_path / "a.wav", 2 * RATE, tone)
    with pytest.raises(DataError, match=r"has 2000 samples a second, and data\.rate is 1000; .* data\.resample"):
        one(tmp_path / "a.wav")
    found = one(tmp_path / "a.wav", resample=True)[:, 0]
    np.testing.assert_allclose(found[50:-50], np.sin(2 * np.pi * 50 * np.arange(400) / RATE)[50:-50], atol=0.01)


@pytest.mark.parametrize(
    ("scale", "values", "total", "filters", "sum_of_filters"),
    [
        (
            "slaney",
            [0.91935179, 0.92297754, 0.87541896, 0.83988919],
            300.70345033,
            [0.00501546, 0, 0.00139732],
            0.63968203,
        ),
        (
            "htk",
            [1.37364851, 1.5769858, 1.35178455, 1.24428871],
            500.64403238,
            [0.94067785, 0.34387428, 0.61359531],
            120.39066346,
        ),
    ],
)
def test_features_are_those_of_librosa(scale, values, total, filters, sum_of_filters):
    """librosa 0.11.0: ``filters.mel``, ``stft`` with ``center=False`` and ``power_to_db``, the second with ``htk=True``
    and ``norm=None``, which is torchaudio's."""
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 2000)
    source = Audio(path="", rate=8000, seconds=0.25, mels=20, window=256, hop=100, scale=scale)
    found = mel_filters(source)
    np.testing.assert_allclose(found[[0, 5, 19], [2, 14, 120]], filters, atol=5e-9)
    assert found.sum() == pytest.approx(sum_of_filters, rel=1e-7)
    features = log_mel(wave, found, source)
    assert features.shape == (18, 20) and features.sum() == pytest.approx(total, rel=1e-8)
    np.testing.assert_allclose(features[[0, 0, 7, 17], [0, 19, 10, 3]], values, atol=5e-9)


def test_log_mel_features_are_images_and_silence_is_the_quietest(folder):
    source = clips(folder, features="log-mel", seconds=0.6, mels=8, window=64, hop=32)
    dataset = load_dataset(source)
    assert dataset.input_shape == (1 + (600 - 64) // 32, 8, 1)
    assert (dataset.train.inputs[:, -3:] == -1.5).all() and dataset.train.inputs[:, 0].min() > -1.5
    refused(clips(folder, features="log-mel", window=401), "data.window: 401 samples are more than the 400")
    refused(clips(folder, features="log-mel", mels=80, window=64), "data.mels: 80 bands are too narrow")
    refused(clips(folder, seconds=1e-9), "data.seconds")


@pytest.mark.parametrize(
    "content",
    [b"", b"ID3" + bytes(40), b"OggS" + bytes(40), riff(bytes(8), bits=16)[:-30], riff(b"", bits=16), b"RIFF",
     riff(bytes(9), bits=16, channels=0), riff(bytes(8), bits=16, size=2**31),
     riff(np.array([np.nan], "<f4").tobytes(), bits=32, code=3), riff(bytes(8), bits=16, code=85)],
)  # fmt: skip
def test_a_file_that_is_no_sound_is_named_in_one_line(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    try:
        found = one(tmp_path / "a.wav")
        assert np.isfinite(found).all() and content == riff(bytes(8), bits=16, size=2**31)  # cut off: what is there
    except DataError as error:
        assert "a.wav" in str(error) and "\n" not in str(error)
        assert ("holds no sample" in str(error)) == (content == riff(b"", bits=16))


def test_damage_is_refused_in_one_line_or_harmless(tmp_path):
    content = riff((CLIP * 2**15).astype("<i2").tobytes(), bits=16)
    generator, refusals = np.random.default_rng(0), 0
    for trial in range(120):
        broken = bytearray(content)
        if trial % 2:
            broken[int(generator.integers(44))] ^= 1 << int(generator.integers(8))
        else:
            del broken[int(generator.integers(len(content))) :]
        (tmp_path / "a.wav").write_bytes(bytes(broken))
        try:
            assert np.isfinite(one(tmp_path / "a.wav", resample=trial % 3 == 0)).all()
        except DataError as error:
            refusals += 1
            assert "\n" not in str(error) and "a.wav" in str(error)
    assert refusals > 20
