"""The page of networks has every published one, with as many weights as it has."""

from __future__ import annotations

import inspect
import math
import re

from tests.docs.test_pages import DOCS
from trustml.models import residual, sequences, transformers, zoo
from trustml.models.weights import weight_shapes

OF_PAGE = {
    zoo.mlp: (zoo.mlp([64, 32], classes=2), (20,)),
    zoo.small_cnn: (zoo.small_cnn(), (8, 8, 1)),
    zoo.mnist_cnn: (zoo.mnist_cnn(), (28, 28, 1)),
    residual.resnet20: (residual.resnet20(), (32, 32, 3)),
    residual.resnet18: (residual.resnet18(), (224, 224, 3)),
    residual.wrn16_4: (residual.wrn16_4(), (32, 32, 3)),
    transformers.vit_tiny: (transformers.vit_tiny(), (224, 224, 3)),
    transformers.encoder: (transformers.encoder(vocabulary=258, classes=2), (64,)),
    transformers.decoder: (transformers.decoder(vocabulary=258), (64,)),
    transformers.ft_transformer: (transformers.ft_transformer(classes=2), (10,)),
    sequences.tcn: (sequences.tcn(classes=2), (150, 1)),
    sequences.gru_classifier: (sequences.gru_classifier(classes=2), (150, 1)),
    sequences.text_cnn: (sequences.text_cnn(classes=2, vocabulary=258), (64,)),
}


def test_published_networks_are_on_the_page_with_their_weights():
    rows = re.findall(r"^\| `models\.(\w+)\.(\w+)` \|[^|]*\| ([\d,]*) *\|", (DOCS / "networks.md").read_text(), re.M)
    found = {f"{module}.{name}": number for module, name, number in rows}
    made = {
        f"{module.__name__.rpartition('.')[2]}.{name}": function
        for module in (zoo, residual, transformers, sequences)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }
    assert found.keys() == made.keys()
    for name, function in made.items():
        if function in OF_PAGE:
            weights = sum(math.prod(shape) for shape in weight_shapes(*OF_PAGE[function]).values())
            assert found[name] == f"{weights:,}", name
        else:
            assert not found[name], name
