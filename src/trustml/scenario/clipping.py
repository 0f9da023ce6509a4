"""How one contribution is bounded, an example's gradient or a client's update, as data."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from trustml.ranges import Inside, NotNegative, Positive


class ClippingSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """How one example's gradient is bounded. In each case its norm is at most the clipping norm."""


class Flat(ClippingSpec, frozen=True, kw_only=True, tag="flat"):
    """One L2 norm over all weights together (Abadi et al., CCS 2016)."""


class PerLayer(ClippingSpec, frozen=True, kw_only=True, tag="per_layer"):
    """Every weight tensor (kernel or bias) by itself, to ``clipping_norm / sqrt(number of tensors)``.

    The whole gradient then has norm ``clipping_norm`` at most, as with flat clipping, and the same noise.
    """


class Adaptive(ClippingSpec, frozen=True, kw_only=True, tag="adaptive"):
    """Flat clipping at a norm that follows a quantile of the gradient norms (Andrew et al., NeurIPS 2021).

    After each step ``norm *= exp(-learning_rate * (b - quantile))``, where ``b`` is the noisy share of examples
    whose gradient was not clipped. The noise on that share is paid for out of the regime's noise multiplier,
    so that gradient and share together cost what `noise_multiplier` says.

    Parameters
    ----------
    quantile : float
        Share of examples that should not be clipped.
    learning_rate : float
    count_noise : float
        Standard deviation of the noise on the *number* of unclipped examples, each counted as +1/2 or -1/2;
        0 means a tenth of the expected batch size, as the paper suggests (raised where less would leave
        nothing for the gradient).
    """

    quantile: Inside = 0.5
    learning_rate: Positive = 0.2
    count_noise: NotNegative = 0.0


Clipping: TypeAlias = Flat | PerLayer | Adaptive
