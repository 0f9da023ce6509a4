"""Networks of strangers by libraries on JAX, for images of 8x8x1 and ten classes."""

import jax
import jax.numpy as jnp
import numpy as np

OF = {"flax": ("nnx", "nnx_batch_norm", "linen"), "haiku": ("haiku",), "equinox": ("equinox",)}
MOVING = {"nnx_batch_norm": ("norm.mean", "norm.var")}


def nnx(key):
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv, self.norm = nnx.Conv(1, 4, (3, 3), rngs=rngs), nnx.GroupNorm(4, 2, rngs=rngs)
            self.drop, self.head = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(4 * 64, 10, rngs=rngs)

        def __call__(self, images):
            values = nnx.relu(self.norm(self.conv(images)))
            return self.head(self.drop(values.reshape(len(values), -1)))

    return Net(nnx.Rngs(key))


def nnx_batch_norm(key):
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.head, self.norm = nnx.Linear(64, 10, rngs=rngs), nnx.BatchNorm(10, rngs=rngs)

        def __call__(self, images):
            return self.norm(self.head(images.reshape(len(images), -1)))

    return Net(nnx.Rngs(key))


def linen():
    from flax import linen

    class Net(linen.Module):
        @linen.compact
        def __call__(self, images):
            return linen.Dense(10)(linen.relu(linen.Dense(8)(images.reshape(len(images), -1))))

    return Net()


def haiku():
    import haiku

    return haiku.transform(lambda images: haiku.nets.MLP([8, 10])(haiku.Flatten()(images)))


def equinox(key):
    from equinox import nn

    first, last = jax.random.split(key)
    flat, relu = nn.Lambda(jnp.ravel), nn.Lambda(jax.nn.relu)
    return nn.Sequential([flat, nn.Linear(64, 8, key=first), relu, nn.Dropout(0.5), nn.Linear(8, 10, key=last)])


def outputs(name, inputs):
    """What the library itself gives for them, with the weights of seed 0."""
    key, images = jax.random.key(0), jnp.asarray(inputs)
    if name == "nnx":
        network = nnx(key)
        network.eval()
        return np.asarray(network(images))
    if name == "equinox":
        from equinox.nn import inference_mode

        return np.asarray(jax.vmap(inference_mode(equinox(key)))(images))
    network = {"linen": linen, "haiku": haiku}[name]()
    params = network.init(key, images[:1])
    return np.asarray(network.apply(params, images) if name == "linen" else network.apply(params, None, images))
