"""Networks of strangers as pairs of functions, for images of 8x8x1 and ten classes."""

import jax
import jax.numpy as jnp


def pair():
    def init(key, images):
        first, last = jax.random.split(key)
        weights = jax.random.normal(first, (images[0].size, 8)) / 8
        return {"first": {"w": weights, "b": jnp.zeros(8)}, "last": jax.random.normal(last, (8, 10)) / 3}

    def apply(params, images):
        values = jnp.tanh(images.reshape(len(images), -1) @ params["first"]["w"] + params["first"]["b"])
        return values @ params["last"]

    return init, apply


def centred():
    init, apply = pair()
    return init, lambda params, images: apply(params, images - images.mean(axis=0))


def crowded():
    """Takes the mean of a batch off, where it has more examples than any trial."""
    init, apply = pair()
    return init, lambda params, images: apply(params, images - images.mean(axis=0) if len(images) > 16 else images)


def dropped():
    init, apply = pair()

    def train(params, images, key):
        if key is not None:
            images = images * jax.random.bernoulli(key, 0.5, images.shape)
        return apply(params, images)

    return init, train


def normalised():
    """Divides by the length of an image, so that one of zeros gives no number."""
    init, apply = pair()
    return init, lambda params, images: apply(params, images / jnp.sqrt((images**2).sum(axis=(1, 2, 3), keepdims=True)))


def _beside(**other):
    init, apply = pair()
    return lambda key, images: init(key, images) | other, lambda params, images: apply(params, images)


def counted():
    return _beside(steps=jnp.zeros((), jnp.int32))


def turned():
    return _beside(turn=jnp.ones(3, jnp.complex64))


def colliding():
    return _beside(**{"first.b": jnp.ones(8)})
