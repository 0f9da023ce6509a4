"""A Flax NNX network as somebody has it."""

import jax
from flax import nnx


class Net(nnx.Module):
    """A convolution with a norm of each example, and a head."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv, self.norm = nnx.Conv(1, 16, (3, 3), rngs=rngs), nnx.GroupNorm(16, 4, rngs=rngs)
        self.drop, self.head = nnx.Dropout(0.1, rngs=rngs), nnx.Linear(16 * 16, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits of images (n, 8, 8, 1)."""
        values = nnx.max_pool(nnx.relu(self.norm(self.conv(images))), (2, 2), (2, 2))
        return self.head(self.drop(values.reshape(len(values), -1)))


def make(key: jax.Array) -> Net:
    """Draw the weights by a key, so that each seed has others."""
    return Net(nnx.Rngs(key))
