"""The zoo as the search for sensitive examples takes it: real networks, on small inputs that each has room for."""

from __future__ import annotations

from tests.conformance.trials import CLASSES, STEPS, Network
from trustml.models.residual import resnet18, resnet20, wrn16_4
from trustml.models.sequences import gru_classifier, tcn, text_cnn
from trustml.models.tasks import NextToken
from trustml.models.transformers import decoder, encoder, ft_transformer, vit_tiny
from trustml.models.zoo import mlp, mnist_cnn, small_cnn

WAYS = {
    "jax": ("book-keeping",),
    "torch": ("hooks", "functorch", "ew", "book_keeping"),
    "tensorflow": ("dp_model", "book_keeping"),
}
"""Ways to clip of each backend."""
_BLOCK = 4
ZOO: dict[str, Network] = {
    name: Network(architecture=architecture, input_shape=shape, block=_BLOCK)
    for name, architecture, shape in (
        ("mlp", mlp([32, 16], classes=CLASSES), (20,)),
        ("small_cnn", small_cnn(classes=CLASSES), (8, 8, 1)),
        ("mnist_cnn", mnist_cnn(), (28, 28, 1)),
        ("resnet20", resnet20(classes=CLASSES), (8, 8, 3)),
        ("wrn16_4", wrn16_4(classes=CLASSES), (8, 8, 3)),
        ("resnet18", resnet18(classes=CLASSES, small_images=True), (8, 8, 3)),
        ("vit_tiny", vit_tiny(size=8, patch=4, classes=CLASSES), (8, 8, 3)),
        ("encoder", encoder(vocabulary=40, classes=CLASSES), (6,)),
        ("ft_transformer", ft_transformer(classes=CLASSES), (6,)),
        ("tcn", tcn(classes=CLASSES), (12, 2)),
        ("gru_classifier", gru_classifier(classes=CLASSES), (8, 2)),
        ("gru_classifier of texts", gru_classifier(classes=CLASSES, vocabulary=40), (8,)),
        ("text_cnn", text_cnn(classes=CLASSES, vocabulary=40), (8,)),
    )
}
ZOO["decoder"] = Network(architecture=decoder(vocabulary=CLASSES), input_shape=(STEPS,), block=_BLOCK, task=NextToken())
