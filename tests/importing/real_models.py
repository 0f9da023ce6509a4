"""Imports models of other people's libraries, with random weights, and writes what came of it.

Run by an interpreter that has transformers, keras, h5py, flax, onnx and onnxscript beside trustml's own packages;
nothing is downloaded: ``python -m tests.importing.real_models docs/results/importing.json``. The page of importing
shows the file.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import torch
import transformers
from torch import nn

import trustml
from tests.importing import test_nnx_modules as of_flax
from tests.importing import test_torch_modules as plain
from tests.importing.test_checkpoints import ResNet

IDS = torch.randint(1, 90, (2, 12), generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
BODY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
TEXT = {"vocab_size": 100, "max_position_embeddings": 40}
PICTURE = {"image_size": 64, "num_labels": 5}
STAGES = {"hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 2, 1], "num_labels": 5}

HUGGING_FACE: dict[str, tuple[str, dict[str, Any], torch.Tensor]] = {
    "BertForSequenceClassification": ("BertConfig", {**BODY, **TEXT}, IDS),
    "DistilBertForSequenceClassification": (
        "DistilBertConfig",
        {"vocab_size": 100, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 40},
        IDS,
    ),
    "ElectraForSequenceClassification": ("ElectraConfig", {**BODY, **TEXT, "embedding_size": 32}, IDS),
    "AlbertForSequenceClassification": ("AlbertConfig", {**BODY, **TEXT, "embedding_size": 16}, IDS),
    "GPT2LMHeadModel": (
        "GPT2Config",
        {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40, "use_cache": False,
         "bos_token_id": 0, "eos_token_id": 0},
        IDS,
    ),
    "OPTForCausalLM": (
        "OPTConfig",
        {**TEXT, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64,
         "word_embed_proj_dim": 32, "use_cache": False},
        IDS,
    ),
    "ViTForImageClassification": ("ViTConfig", {**BODY, **PICTURE, "patch_size": 16}, IMAGES),
    "DeiTForImageClassification": ("DeiTConfig", {**BODY, **PICTURE, "patch_size": 16}, IMAGES),
    "ResNetForImageClassification": (
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [2, 2], "layer_type": "bottleneck", "num_labels": 5},
        IMAGES,
    ),
    "ConvNextForImageClassification": ("ConvNextConfig", STAGES, IMAGES),
    "RegNetForImageClassification": ("RegNetConfig", {**STAGES, "embedding_size": 8, "groups_width": 8}, IMAGES),
    "MobileNetV1ForImageClassification": ("MobileNetV1Config", {**PICTURE, "depth_multiplier": 0.25}, IMAGES),
    "MobileNetV2ForImageClassification": ("MobileNetV2Config", {**PICTURE, "depth_multiplier": 0.35}, IMAGES),
    "EfficientNetForImageClassification": (
        "EfficientNetConfig",
        {**PICTURE, "width_coefficient": 1.0, "depth_coefficient": 0.3, "hidden_dim": 1280},
        IMAGES,
    ),
    "RobertaForSequenceClassification": ("RobertaConfig", {**BODY, **TEXT}, IDS),
    "LlamaForCausalLM": ("LlamaConfig", {**BODY, **TEXT, "use_cache": False}, IDS),
    "PoolFormerForImageClassification": ("PoolFormerConfig", STAGES, IMAGES),
    "SwinForImageClassification": (
        "SwinConfig", {**PICTURE, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}, IMAGES,
    ),
}  # fmt: skip
FOLDERS = ("Bert", "DistilBert", "GPT2", "ViT", "ResNet")
KERAS: dict[str, tuple[Callable[..., Any], int]] = {
    "ResNet50": (keras.applications.ResNet50, 64),
    "MobileNetV2": (keras.applications.MobileNetV2, 64),
    "EfficientNetB0": (keras.applications.EfficientNetB0, 64),
    "DenseNet121": (keras.applications.DenseNet121, 64),
    "InceptionV3": (keras.applications.InceptionV3, 96),
}


def shaken(module: nn.Module) -> nn.Module:
    """Give weights of one axis and running statistics that a fresh model does not have."""
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            if "running_mean" in name:
                buffer.normal_(0, 0.2)
            elif "running_var" in name:
                buffer.uniform_(0.5, 2.0)
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return module.eval()


def hugging_face(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    config, settings, inputs = HUGGING_FACE[name]
    return shaken(getattr(transformers, name)(getattr(transformers, config)(**settings))), inputs


def keras_model(name: str) -> Any:
    keras.utils.set_random_seed(0)
    make, side = KERAS[name]
    model = make(weights=None, input_shape=(side, side, 3), classes=5)
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            *rest, mean, variance = layer.get_weights()
            moved = generator.normal(0, 0.05, mean.shape), generator.uniform(0.5, 1.5, variance.shape)
            layer.set_weights([*rest, *moved])
    return model


def from_torch(name: str) -> trustml.ImportedModel:
    module, inputs = hugging_face(name)
    return trustml.import_model(module, example=inputs)


def from_plain(kind: type[nn.Module]) -> trustml.ImportedModel:
    return trustml.import_model(plain.made(kind), example=plain.CASES[kind][0]())


def from_flax(kind: type, example: np.ndarray) -> trustml.ImportedModel:
    return trustml.import_model(of_flax.moved(kind(of_flax.nnx.Rngs(0))), example=example)


def from_folder(name: str) -> trustml.ImportedModel:
    full = next(one for one in HUGGING_FACE if one.startswith(f"{name}For") or one.startswith(f"{name}LM"))
    module, inputs = hugging_face(full)
    with tempfile.TemporaryDirectory() as folder:
        module.save_pretrained(folder)
        example = inputs.numpy() if inputs.dtype == torch.int64 else np.zeros((1, 3, 64, 64), np.float32)
        return trustml.import_model(folder, example=example)


def from_keras(name: str) -> trustml.ImportedModel:
    with tempfile.TemporaryDirectory() as folder:
        keras_model(name).save(Path(folder) / "model.keras")
        return trustml.import_model(Path(folder) / "model.keras")


def from_onnx_of_torch(module: nn.Module, inputs: torch.Tensor) -> trustml.ImportedModel:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        options = {"dynamic_shapes": ({0: "n"},), "dynamo": True, "external_data": False, "verbose": False}
        torch.onnx.export(module.eval(), (inputs,), path, **options)
        return trustml.import_model(path, example=inputs.numpy())


def from_onnx_of_keras(name: str) -> trustml.ImportedModel:
    model = keras_model(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model(np.zeros((1, KERAS[name][1], KERAS[name][1], 3), np.float32))
        model.export(str(path), format="onnx", verbose=False)
        side = KERAS[name][1]
        example = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)
        return trustml.import_model(path, example=example)


def cases() -> dict[str, tuple[str, Callable[[], trustml.ImportedModel]]]:
    """Name, source, and what imports it."""
    found: dict[str, tuple[str, Callable[[], trustml.ImportedModel]]] = {}
    for kind in plain.CASES:
        found[f"{kind.__name__} (tests)"] = "torch.nn.Module", lambda kind=kind: from_plain(kind)
    for kind, example in of_flax.CASES.items():
        found[f"{kind.__name__} of Flax NNX (tests)"] = (
            "flax.nnx.Module",
            lambda kind=kind, example=example: from_flax(kind, example),
        )
    for name in HUGGING_FACE:
        found[name] = "transformers, torch.nn.Module", lambda name=name: from_torch(name)
    for name in FOLDERS:
        found[f"{name} folder"] = "transformers, folder of safetensors", lambda name=name: from_folder(name)
    for name in KERAS:
        found[f"{name} .keras"] = "Keras application, .keras", lambda name=name: from_keras(name)
    found["ResNet with bottlenecks .onnx"] = (
        "ONNX of torch",
        lambda: from_onnx_of_torch(shaken(ResNet(groups=2)), torch.randn(2, 3, 33, 32)),
    )
    found["Decoder .onnx"] = "ONNX of torch", lambda: from_onnx_of_torch(plain.made(plain.Decoder), plain.ids_up_to(11))
    found["MobileNetV2 .onnx"] = "ONNX of Keras", lambda: from_onnx_of_keras("MobileNetV2")
    return found


def row_of(name: str, source: str, make: Callable[[], trustml.ImportedModel]) -> dict[str, Any]:
    """Import one, and tell what came of it."""
    row: dict[str, Any] = {"name": name, "source": source}
    try:
        found = make()
    except trustml.UsageError as error:
        return row | {"refused": str(error)}
    proof = found.report.proof
    assert proof is not None, name
    row |= {"nodes": found.report.carried, "weights": sum(array.size for array in found.weights.values())}
    return row | {"largest_difference": proof.largest_difference, "largest_logit": proof.largest_logit}


def main(target: Path, names: list[str]) -> None:
    """Import all, or those that are named, and write a row for each; rows of others stay."""
    before = json.loads(target.read_text(encoding="utf-8")) if names else []
    rows = {row["name"]: row for row in before}
    for name, (source, make) in cases().items():
        if not names or name in names:
            rows[name] = row_of(name, source, make)
            print(json.dumps(rows[name]), file=sys.stderr, flush=True)
    target.write_text(json.dumps(list(rows.values()), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
