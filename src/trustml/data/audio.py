"""Recordings from WAV files that anybody may have made, to waves or log-mel features of one length."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Floats
from trustml.data.gathering import scratch
from trustml.data.npy import DAMAGED, in_words, largest_now
from trustml.data.tables import first_line
from trustml.errors import DataError
from trustml.scenario.sources import Audio

Wave = npt.NDArray[np.float64]

_QUIETEST = 1e-10
_MIDDLE = _SPREAD = 40.0  # decibels: what becomes 0, and 1 away from it
_SCALES = {"u1": (128.0, 128.0), "i2": (0.0, 2.0**15), "i4": (0.0, 2.0**31), "f4": (0.0, 1.0), "f8": (0.0, 1.0)}
"""What is subtracted from samples of a type, and what they are divided by; 24 bits come as the upper ones of 32."""


def read_clips(files: Sequence[Path], source: Audio) -> tuple[Floats, tuple[str, ...]]:
    """Read all files to one array, in their order, and tell what was done to them.

    Returns
    -------
    float32 array of shape (n, frames, mels, 1) or (n, samples, 1)
        In a file without a name where it is large.
    told : tuple of str

    Raises
    ------
    DataError
        If one is no WAV file, is damaged or too large, or has another rate and is not to be resampled.
    """
    samples = round(source.rate * source.seconds)
    _require_room(source, samples)
    filters = mel_filters(source) if source.features == "log-mel" else None
    shape = (samples, 1) if filters is None else (1 + (samples - source.window) // source.hop, source.mels, 1)
    found = scratch((len(files), *shape))
    counts: Counter[str] = Counter()
    for number, path in enumerate(files):
        wave = _of_length(_mono(path, source, counts), samples, counts)
        found[number, ..., 0] = wave if filters is None else log_mel(wave, filters, source)
    told = "; ".join(f"{count} {what}" for what, count in counts.items())
    return found, (f"of {len(files)} recordings: {told}",) if told else ()


def log_mel(wave: Wave, filters: Wave, source: Audio) -> Wave:
    """Decibels of the power in each mel band, shifted and scaled by constants; shape (frames, mels)."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(source.window) / source.window)
    frames = np.lib.stride_tricks.sliding_window_view(wave, source.window)[:: source.hop]
    power = np.abs(np.fft.rfft(frames * hann)) ** 2 @ filters.T
    decibels: Wave = 10 * np.log10(np.maximum(power, _QUIETEST))
    return (decibels + _MIDDLE) / _SPREAD


def mel_filters(source: Audio) -> Wave:
    """Triangles over the frequencies of a window, one a mel band; shape (mels, window // 2 + 1).

    Raises
    ------
    DataError
        If a band is so narrow that it has no frequency.
    """
    highest = source.rate / 2
    frequencies = np.linspace(0, highest, source.window // 2 + 1)
    to_mel, to_hertz = (_slaney_mel, _slaney_hertz) if source.scale == "slaney" else (_htk_mel, _htk_hertz)
    edges = to_hertz(np.linspace(0, to_mel(highest), source.mels + 2))
    widths, away = np.diff(edges), edges[:, None] - frequencies
    filters: Wave = np.maximum(0, np.minimum(-away[:-2] / widths[:-1, None], away[2:] / widths[1:, None]))
    if not filters.any(axis=1).all():
        raise DataError(
            f"data.mels: {source.mels} bands are too narrow for windows of {source.window} samples, and some have no "
            "frequency; use fewer, or a longer data.window"
        )
    return filters * (2 / (edges[2:] - edges[:-2]))[:, None] if source.scale == "slaney" else filters


def _htk_mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _htk_hertz(mel: Wave) -> Wave:
    return 700 * (10 ** (mel / 2595) - 1)


_PER_MEL, _KNEE = 200 / 3, 1000.0  # Slaney's scale is linear up to 1 kHz, and has 27 mels to 6.4 times it beyond
_LOG_STEP = math.log(6.4) / 27


def _slaney_mel(hertz: float) -> float:
    return hertz / _PER_MEL if hertz < _KNEE else _KNEE / _PER_MEL + math.log(hertz / _KNEE) / _LOG_STEP


def _slaney_hertz(mel: Wave) -> Wave:
    beyond = _KNEE * np.exp(_LOG_STEP * np.maximum(0, mel - _KNEE / _PER_MEL))
    return np.where(mel < _KNEE / _PER_MEL, mel * _PER_MEL, beyond)


def _require_room(source: Audio, samples: int) -> None:
    """Refuse a clip that holds no window."""
    if samples < 1:
        raise DataError(f"data.seconds: {source.seconds:g} at {source.rate} samples a second is no sample; use more")
    if source.features == "log-mel" and samples < source.window:
        raise DataError(
            f"data.window: {source.window} samples are more than the {samples} of {source.seconds:g} seconds; use fewer"
        )


def _mono(path: Path, source: Audio, counts: Counter[str]) -> Wave:
    rate, samples = read_wav(path)
    if not samples.size:
        raise DataError(f"{path}: holds no sample; remove it")
    if samples.dtype.str[1:] not in _SCALES or samples.ndim > 2:
        raise DataError(f"{path}: holds {samples.dtype} samples of shape {samples.shape}; write PCM or floats")
    middle, full = _SCALES[samples.dtype.str[1:]]
    wave: Wave = (samples.astype(np.float64) - middle) / full
    if not np.isfinite(wave).all():
        raise DataError(f"{path}: holds samples that are not finite; fix or replace it")
    if wave.ndim == 2:
        counts["of several channels, mixed to their mean"] += wave.shape[1] > 1
        wave = wave.mean(axis=1)
    if rate == source.rate:
        return wave
    if not source.resample:
        raise DataError(
            f"{path}: has {rate} samples a second, and data.rate is {source.rate}; convert it, or set data.resample"
        )
    from scipy.signal import resample_poly

    counts[f"resampled to {source.rate} a second"] += 1
    common = math.gcd(rate, source.rate)
    return np.asarray(resample_poly(wave, source.rate // common, rate // common))


def read_wav(path: Path) -> tuple[int, npt.NDArray[Any]]:
    """Samples a second, and the samples as they are stored, (n,) or (n, channels).

    Raises
    ------
    DataError
        If it is no WAV file, or too large.
    """
    from scipy.io import wavfile

    if path.stat().st_size > (most := largest_now()):
        raise DataError(f"{path}: is larger than {in_words(most)}, a quarter of the memory that is free; cut it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that hold no sound
            rate, samples = wavfile.read(path)
    except (*DAMAGED, NameError, IndexError, ZeroDivisionError) as error:
        raise DataError(f"{path}: cannot be read as WAV ({first_line(error)}); convert or replace it") from error
    if not rate > 0:
        raise DataError(f"{path}: has {rate} samples a second; fix or replace it")
    return int(rate), samples


def _of_length(wave: Wave, samples: int, counts: Counter[str]) -> Wave:
    if len(wave) > samples:
        counts["longer, cut off at the end"] += 1
        return wave[:samples]
    if len(wave) < samples:
        counts["shorter, followed by silence"] += 1
        return np.pad(wave, (0, samples - len(wave)))
    return wave
