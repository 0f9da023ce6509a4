"""Which way to clip is the fastest that is right for a model: measured, on synthetic data, on copies.

No step is taken and no noise is drawn from the generator of the training.
"""

from __future__ import annotations

import statistics
import time

import torch

from trustml.backends.contract import Model
from trustml.backends.settings import EngineChoice, PrivateSettings
from trustml.backends.torch.clipping import Clipper, make_clipper, possible_modes
from trustml.backends.torch.device import current_device
from trustml.backends.torch.losses import synthetic_labels
from trustml.errors import UsageError
from trustml.models.native import native_of

_REPEATS = 5
_LARGEST_BATCH = 256
_MOST_WRITTEN = 2**27
"""Numbers of all gradients of a trial's examples, which Opacus writes out: half a GiB. A table of 64,000 words has more
for a batch of 64."""
_SECONDS_ENOUGH = 2.0
_UNCLIPPED = 1e9
_AGREEMENT = 1e-3  # of the largest entry; between ways to add the same float32 numbers


def choose_mode(model: Model, settings: PrivateSettings) -> EngineChoice:
    """Choose the mode that was asked for, or measure all.

    Raises
    ------
    UsageError
        If the mode that was asked for cannot do what the settings want.
    """
    modes, refused = possible_modes(model, settings)
    if settings.planted_alone:
        return EngineChoice(name=modes[0], seconds={}, refused={})
    wanted = settings.grad_sample_mode
    if wanted != "auto":
        if wanted in refused:
            other = "" if native_of(model.architecture) is not None else f" or {modes[-1]}"
            raise UsageError(f"execution.grad_sample_mode: {wanted!r} {refused[wanted]}; use auto{other}")
        return EngineChoice(name=wanted, seconds={}, refused={})
    state = torch.random.get_rng_state()
    seconds, refused = _measure(model, settings, modes, refused)
    torch.random.set_rng_state(state)
    return EngineChoice(name=min(seconds, key=lambda mode: seconds[mode]), seconds=seconds, refused=refused)


def _measure(
    model: Model, settings: PrivateSettings, modes: list[str], refused: dict[str, str]
) -> tuple[dict[str, float], dict[str, str]]:
    inputs, labels = _synthetic(model, settings)
    expected: list[torch.Tensor] | None = None
    seconds: dict[str, float] = {}
    for mode in modes:
        try:
            clipper = make_clipper(mode, model, settings)
            sums = _clip(clipper, inputs, labels, settings)
            if (
                native_of(model.architecture) is not None
            ):  # whose gradients may be wrong in length, which clipping hides
                sums += _clip(clipper, inputs, labels, settings, clipping_norm=_UNCLIPPED)
        except Exception as error:  # whatever a library does with a layer it does not know
            refused[mode] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            continue
        if expected is None:
            expected = sums  # of hooks, which is tested against one example at a time, or of own code one by one
        elif (worst := _difference(sums, expected)) > _AGREEMENT:
            refused[mode] = f"differs from {next(iter(seconds))} by {worst:.1e} of the largest entry"
            continue
        seconds[mode] = _time(clipper, inputs, labels, settings)
    if not seconds:
        raise UsageError(f"model: no mode of Opacus can clip it ({'; '.join(refused.values())}); change the layers")
    return seconds, refused


def _synthetic(model: Model, settings: PrivateSettings) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    numbers = sum(model.weights[name].size for name in model.trained)
    fit = max(1, _MOST_WRITTEN // max(1, numbers * settings.multiplicity))
    size = min(settings.micro_batch_size or settings.expected_batch_size, _LARGEST_BATCH, fit)
    shape = model.input_shape
    channels_first = (shape[2], *shape[:2]) if len(shape) == 3 else shape
    rows = size * settings.multiplicity
    inputs = torch.randn((rows, *channels_first), generator=generator)
    labels = synthetic_labels(model, size, generator=generator)
    labels = labels.repeat_interleave(settings.multiplicity, dim=0)
    return inputs.to(current_device()), labels.to(current_device())


def _difference(sums: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    largest = max(float(part.abs().max()) for part in expected)
    return max(float((a - b).abs().max()) for a, b in zip(sums, expected, strict=True)) / max(largest, 1e-30)


def _clip(
    clipper: Clipper,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    settings: PrivateSettings,
    *,
    clipping_norm: float = 1.0,
) -> list[torch.Tensor]:
    """Clip in blocks as large as memory allows, and as even as they can be."""
    examples = len(labels) // settings.multiplicity
    blocks = -(-examples // (clipper.most_examples or examples))
    rows = -(-examples // blocks) * settings.multiplicity
    sums: list[torch.Tensor] = []
    for start in range(0, len(labels), rows):
        some = labels[start : start + rows]
        more, _ = clipper.clip(
            inputs[start : start + rows],
            some,
            examples=len(some) // settings.multiplicity,
            clipping_norm=clipping_norm,
        )
        sums = [a + b for a, b in zip(sums, more, strict=True)] if sums else more
    return sums


def _time(clipper: Clipper, inputs: torch.Tensor, labels: torch.Tensor, settings: PrivateSettings) -> float:
    found: list[float] = []
    while len(found) < _REPEATS and sum(found) < _SECONDS_ENOUGH:
        start = time.perf_counter()
        _clip(clipper, inputs, labels, settings)
        if inputs.is_cuda:
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found)
