"""Ways to clip with one of their guards taken out, which the search must tell: each changes this process for good."""

from __future__ import annotations

from collections.abc import Callable


def jax_gram_matrices() -> None:
    """Norms from products of positions, the sum by another product, and no barrier between them."""
    import jax.numpy as jnp

    from trustml.backends.jax import clipping

    class Product:
        def __init__(self, inputs, outputs):
            self.inputs, self.outputs = inputs, outputs

        def square_norms(self):
            inner = jnp.einsum("npi,nqi->npq", self.inputs, self.inputs)
            outer = jnp.einsum("npo,nqo->npq", self.outputs, self.outputs)
            return jnp.maximum((inner * outer).sum(axis=(1, 2)), 0.0)

        def weighted_sum(self, scales):
            scaled = (self.outputs * scales[:, None, None]).reshape(-1, self.outputs.shape[2])
            return self.inputs.reshape(-1, self.inputs.shape[2]).T @ scaled

    written = clipping._Written

    class Lax:
        @staticmethod
        def optimization_barrier(values):
            return values

    clipping.lax = Lax
    clipping.example_products = lambda a, g: (a, g)
    clipping._Written = lambda each: Product(*each) if isinstance(each, tuple) else written(each)


def torch_blocks_of_any_size() -> None:
    """As many rows at once as a batch has."""
    from trustml.backends.torch import dp

    whole = dp.OpacusTrainer.accumulate

    def accumulate(self, inputs, labels, *, clipping_norm):
        self._rows = max(1, len(labels))
        return whole(self, inputs, labels, clipping_norm=clipping_norm)

    dp.OpacusTrainer.accumulate = accumulate


def jax_blocks_of_any_size() -> None:
    """A large block for most of a batch, and small ones for the rest."""
    from trustml.backends.jax import dp, tiling

    def mixed(*_, expected, **__):
        return MixedCut(small=4, large=max(4, expected), shares=1)

    class MixedCut(tiling.Tiling):
        def _replace(self, **changes):
            return super()._replace(**{**changes, "uniform": False})

    dp.choose_tiling = mixed


def torch_norms() -> None:
    """Norms as torch takes them, of kernels with many numbers."""
    import torch

    from trustml.backends.torch import given_rows, layer_gradients

    def norms(rows):
        return torch.linalg.vector_norm(rows, dim=1).square()

    given_rows.square_norms = layer_gradients.square_norms = norms


def tensorflow_gram_matrices() -> None:
    """Norms from Gram matrices where they are cheaper."""
    import tensorflow as tf

    from trustml.backends.tensorflow import layer_rules

    def kernel(inputs, gradient, shape):
        def weighted_sum(weights):
            scaled = tf.reshape(gradient * weights[:, None, None], (-1, gradient.shape[2]))
            return tf.reshape(tf.matmul(tf.reshape(inputs, (-1, inputs.shape[2])), scaled, transpose_a=True), shape)

        products = tf.matmul(inputs, inputs, transpose_b=True) * tf.matmul(gradient, gradient, transpose_b=True)
        return layer_rules.PerExample(tf.maximum(tf.reduce_sum(products, axis=(1, 2)), 0.0), weighted_sum)

    layer_rules._kernel = kernel


def tensorflow_two_passes() -> None:
    """Norms from one backward pass, the sum from another over weighted losses, as in fast clipping."""
    import tensorflow as tf
    from tensorflow_privacy.privacy.fast_gradient_clipping import clip_grads

    from trustml.backends.tensorflow.book_keeping import per_example_gradients
    from trustml.backends.tensorflow.clipping import Clipper
    from trustml.backends.tensorflow.losses import example_losses

    def two_passes(self, settings):
        variables, task = list(self.variables.values()), self._task

        def clip(inputs, labels, mask, clipping_norm):
            flat = tf.reshape(inputs, (-1, *inputs.shape[2:]))
            parts = per_example_gradients(self.model, self._architecture, variables, flat, labels, copies=1, task=task)
            norms = tf.sqrt(tf.add_n([part.squared_norms for part in parts]))
            weights = mask * clip_grads.compute_clip_weights(clipping_norm, norms)
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(weights * example_losses(task, self.model(flat, training=True), labels))
            return tape.gradient(total, variables), tf.constant(0)

        return clip

    Clipper._by_book_keeping = two_passes


def jax_one_use_counted() -> None:
    """The norm leaves out all but the first of the layers that take the same value."""
    import jax.numpy as jnp

    from trustml.backends.jax import clipping

    whole = clipping._layer_gradients

    class Uncounted(clipping._Written):
        def square_norms(self):
            return jnp.zeros(len(self.each))

    def gradients(architecture, *rest):
        found, taken = whole(architecture, *rest), set()
        for node in architecture.nodes:
            kernel = found.get(f"{node.name}.kernel")
            if node.inputs in taken and isinstance(kernel, clipping._Written):
                found[f"{node.name}.kernel"] = Uncounted(kernel.each)
            taken |= {node.inputs} if kernel is not None else set()
        return found

    clipping._layer_gradients = gradients


def torch_one_use_counted() -> None:
    """The same in PyTorch."""
    from trustml.backends.torch import book_keeping

    whole, clipped, taken = book_keeping.layer_gradients, book_keeping.BookKeepingClipper._clipped, set()

    def gradients(layer, inputs, outputs, *, copies):
        found = whole(layer, inputs, outputs, copies=copies)
        if inputs.data_ptr() in taken:
            norms = found.square_norms
            found.square_norms = lambda: [0 * square for square in norms()]
        taken.add(inputs.data_ptr())
        return found

    def forgetting(self, *rest):
        taken.clear()
        return clipped(self, *rest)

    book_keeping.layer_gradients, book_keeping.BookKeepingClipper._clipped = gradients, forgetting


FAULTS: dict[str, Callable[[], None]] = {
    "jax: no barrier, and Gram matrices": jax_gram_matrices,
    "jax: blocks of any size": jax_blocks_of_any_size,
    "jax: one use of a value counted": jax_one_use_counted,
    "torch: one use of a value counted": torch_one_use_counted,
    "torch: blocks of any size": torch_blocks_of_any_size,
    "torch: norms by torch": torch_norms,
    "tensorflow: Gram matrices": tensorflow_gram_matrices,
    "tensorflow: two passes": tensorflow_two_passes,
}
