"""Networks of Hugging Face and torchvision as published, in calls, by the names that their files give to tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from trustml.errors import UsageError
from trustml.importing.calls import Writer
from trustml.importing.program import Constant, Ref
from trustml.importing.refusals import CannotCarryError

Config: TypeAlias = Mapping[str, Any]
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
}


def bert(writer: Writer, config: Config) -> str:
    """Classifier by BERT's first token (Devlin et al., arXiv 1810.04805); tokens of padding are masked."""
    _refuse_relative(config)
    _refuse_set(config, "is_decoder", "add_cross_attention")
    steps, epsilon, act = writer.input_shape[0], float(config["layer_norm_eps"]), _activation(config, "hidden_act")
    mask = writer.call("ne", {"self": writer.input, "other": int(config.get("pad_token_id") or 0)})
    found = writer.tokens("bert.embeddings.word_embeddings")
    kinds = writer.tensor("bert.embeddings.token_type_embeddings.weight")
    places = writer.tensor("bert.embeddings.position_embeddings.weight")
    constant = Constant((places.array[:steps] + kinds.array[0])[None], "bert.embeddings.position_embeddings.weight")
    found = writer.layer_norm(writer.add(found, constant), "bert.embeddings.LayerNorm", epsilon)
    for number in range(config["num_hidden_layers"]):
        name = f"bert.encoder.layer.{number}"
        parts = _three(writer, found, f"{name}.attention.self", ("query", "key", "value"))
        mixed = writer.attention(parts, config["num_attention_heads"], f"{name}.attention", mask=mask)
        mixed = writer.linear(mixed, f"{name}.attention.output.dense")
        found = writer.layer_norm(writer.add(found, mixed, name), f"{name}.attention.output.LayerNorm", epsilon)
        inner = writer.each(act, writer.linear(found, f"{name}.intermediate.dense"), name)
        inner = writer.linear(inner, f"{name}.output.dense")
        found = writer.layer_norm(writer.add(found, inner, name), f"{name}.output.LayerNorm", epsilon)
    first = writer.call("select", {"self": found, "dim": 1, "index": 0})
    pooled = writer.each("tanh", writer.linear(first, "bert.pooler.dense"), "bert.pooler")
    return writer.linear(pooled, "classifier").name


def distilbert(writer: Writer, config: Config) -> str:
    """Classifier by DistilBERT's first token (Sanh et al., arXiv 1910.01108); tokens of padding are masked."""
    if config.get("sinusoidal_pos_embds"):
        raise UsageError("sinusoidal_pos_embds: is set, and its positions are not learned; use a model without it")
    steps, act = writer.input_shape[0], _activation(config, "activation")
    mask = writer.call("ne", {"self": writer.input, "other": int(config.get("pad_token_id") or 0)})
    base = "distilbert.embeddings"
    places = writer.tensor(f"{base}.position_embeddings.weight")
    found = writer.add(writer.tokens(f"{base}.word_embeddings"), Constant(places.array[None, :steps], places.origin))
    found = writer.layer_norm(found, f"{base}.LayerNorm", 1e-12)
    for number in range(config["n_layers"]):
        name = f"distilbert.transformer.layer.{number}"
        parts = _three(writer, found, f"{name}.attention", ("q_lin", "k_lin", "v_lin"))
        mixed = writer.attention(parts, config["n_heads"], f"{name}.attention", mask=mask)
        mixed = writer.linear(mixed, f"{name}.attention.out_lin")
        found = writer.layer_norm(writer.add(found, mixed, name), f"{name}.sa_layer_norm", 1e-12)
        inner = writer.linear(writer.each(act, writer.linear(found, f"{name}.ffn.lin1"), name), f"{name}.ffn.lin2")
        found = writer.layer_norm(writer.add(found, inner, name), f"{name}.output_layer_norm", 1e-12)
    first = writer.call("select", {"self": found, "dim": 1, "index": 0})
    pooled = writer.each("relu", writer.linear(first, "pre_classifier"), "pre_classifier")
    return writer.linear(pooled, "classifier").name


def gpt2(writer: Writer, config: Config) -> str:
    """GPT-2 (Radford et al., 2019): logits of the next token, by the table of tokens."""
    _refuse_set(config, "scale_attn_by_inverse_layer_idx", "add_cross_attention")
    if not config.get("scale_attn_weights", True):
        raise UsageError("scale_attn_weights: is false, and scores of attention are scaled here; use a GPT-2 with it")
    steps, epsilon, act = (
        writer.input_shape[0],
        float(config["layer_norm_epsilon"]),
        _activation(config, "activation_function"),
    )
    base = "transformer." if writer.has("transformer.wte.weight") else ""
    places = writer.tensor(f"{base}wpe.weight")
    found = writer.add(writer.tokens(f"{base}wte"), Constant(places.array[None, :steps], places.origin))
    for number in range(config["n_layer"]):
        name = f"{base}h.{number}"
        mixed = writer.products(writer.layer_norm(found, f"{name}.ln_1", epsilon), f"{name}.attn.c_attn")
        width = config["n_embd"]
        cuts = [
            writer.call("slice", {"self": mixed, "dim": 2, "start": width * part, "end": width * (part + 1), "step": 1})
            for part in range(3)
        ]
        mixed = writer.attention((cuts[0], cuts[1], cuts[2]), config["n_head"], f"{name}.attn", causal=True)
        found = writer.add(found, writer.products(mixed, f"{name}.attn.c_proj"), name)
        inner = writer.products(writer.layer_norm(found, f"{name}.ln_2", epsilon), f"{name}.mlp.c_fc")
        inner = writer.products(writer.each(act, inner, f"{name}.mlp"), f"{name}.mlp.c_proj")
        found = writer.add(found, inner, name)
    found = writer.layer_norm(found, f"{base}ln_f", epsilon)
    own = writer.has("lm_head.weight") and not config.get("tie_word_embeddings", True)
    table = writer.tensor("lm_head.weight" if own else f"{base}wte.weight")
    if writer.has("lm_head.weight"):
        writer.tensor("lm_head.weight")  # the same numbers, where they are tied
    return writer.call("linear", {"input": found, "weight": table, "bias": None}, "lm_head").name


def vit(writer: Writer, config: Config) -> str:
    """Vision transformer (Dosovitskiy et al., arXiv 2010.11929), which classifies by its first token."""
    epsilon, act, patch = float(config["layer_norm_eps"]), _activation(config, "hidden_act"), int(config["patch_size"])
    found = writer.convolution(writer.input, "vit.embeddings.patch_embeddings.projection", stride=patch, padding=0)
    found = writer.call("flatten", {"self": found, "start_dim": 2, "end_dim": 3})
    found = writer.call("transpose", {"self": found, "dim0": 1, "dim1": 2})
    token, places = writer.tensor("vit.embeddings.cls_token"), writer.tensor("vit.embeddings.position_embeddings")
    found = writer.call("cat", {"tensors": [Constant(token.array), found], "dim": 1}, "vit.embeddings.cls_token")
    found = writer.add(found, Constant(places.array, places.origin))
    for number in range(config["num_hidden_layers"]):
        name = f"vit.encoder.layer.{number}"
        normal = writer.layer_norm(found, f"{name}.layernorm_before", epsilon)
        parts = _three(writer, normal, f"{name}.attention.attention", ("query", "key", "value"))
        mixed = writer.attention(parts, config["num_attention_heads"], f"{name}.attention")
        found = writer.add(found, writer.linear(mixed, f"{name}.attention.output.dense"), name)
        inner = writer.linear(
            writer.layer_norm(found, f"{name}.layernorm_after", epsilon), f"{name}.intermediate.dense"
        )
        found = writer.add(found, writer.linear(writer.each(act, inner, name), f"{name}.output.dense"), name)
    found = writer.layer_norm(found, "vit.layernorm", epsilon)
    first = writer.call("select", {"self": found, "dim": 1, "index": 0})
    return writer.linear(first, "classifier").name


def hugging_face_resnet(writer: Writer, config: Config) -> str:
    """ResNet (He et al., CVPR 2016) by Hugging Face's names; strides as in its version 1.5."""
    if config.get("downsample_in_bottleneck") or config.get("hidden_act") != "relu":
        raise UsageError("downsample_in_bottleneck, hidden_act: are not those of a ResNet 1.5; use another model")
    found = _unit(writer, writer.input, "resnet.embedder.embedder", 2)
    found = _max_pool(writer, writer.each("relu", found, "resnet.embedder"))
    for stage, depth in enumerate(config["depths"]):
        for number in range(depth):
            name = f"resnet.encoder.stages.{stage}.layers.{number}"
            begins = 2 if number == 0 and (stage > 0 or config.get("downsample_in_first_stage")) else 1
            basic = config["layer_type"] == "basic"
            strides = (begins, 1) if basic else (1, begins, 1)
            value = found
            for part, stride in enumerate(strides):
                value = _unit(writer, value, f"{name}.layer.{part}", stride)
                value = writer.each("relu", value, f"{name}.layer.{part}") if part < len(strides) - 1 else value
            has = writer.has(f"{name}.shortcut.convolution.weight")
            shortcut = _unit(writer, found, f"{name}.shortcut", begins) if has else found
            found = writer.each("relu", writer.add(value, shortcut, name), name)
    return writer.linear(_pooled(writer, found), "classifier.1").name


def residual(writer: Writer, config: Config) -> str:
    """ResNet by torchvision's names, of basic blocks or of bottlenecks; strides as in its version 1.5."""
    if not writer.has("layer1.0.conv1.weight") or not writer.has("fc.weight"):
        raise UsageError("weights: are none of torchvision's ResNets (layer1.0.conv1, fc); name a folder")
    found = writer.batch_norm(writer.convolution(writer.input, "conv1", stride=2, padding=3), "bn1")
    found = _max_pool(writer, writer.each("relu", found, "relu"))
    for stage in range(1, 5):
        number = 0
        while writer.has(f"layer{stage}.{number}.conv1.weight"):
            found = _torchvision_block(writer, found, f"layer{stage}.{number}", 2 if stage > 1 and not number else 1)
            number += 1
    return writer.linear(_pooled(writer, found), "fc").name


def _torchvision_block(writer: Writer, found: Ref, name: str, stride: int) -> Ref:
    value, channels = found, 0
    count = 3 if writer.has(f"{name}.conv3.weight") else 2
    for part in range(1, count + 1):
        shape = writer.tensor(f"{name}.conv{part}.weight").array.shape
        step, groups = stride if part == count - 1 else 1, channels // shape[1] if channels else 1
        value = writer.convolution(
            value, f"{name}.conv{part}", stride=step, padding=shape[2] // 2, groups=groups
        )  # fmt: skip
        channels = shape[0]
        value = writer.batch_norm(value, f"{name}.bn{part}")
        value = writer.each("relu", value, f"{name}.relu{part}") if part < count else value
    if writer.has(f"{name}.downsample.0.weight"):
        found = writer.convolution(found, f"{name}.downsample.0", stride=stride, padding=0)
        found = writer.batch_norm(found, f"{name}.downsample.1")
    return writer.each("relu", writer.add(value, found, name), name)


def _unit(writer: Writer, value: Ref, name: str, stride: int) -> Ref:
    side = writer.tensor(f"{name}.convolution.weight").array.shape[2]
    found = writer.convolution(value, f"{name}.convolution", stride=stride, padding=side // 2)
    return writer.batch_norm(found, f"{name}.normalization")


def _max_pool(writer: Writer, value: Ref) -> Ref:
    given = {"kernel_size": [3, 3], "stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "ceil_mode": False}
    return writer.call("max_pool2d", {"self": value, **given}, "pool")


def _pooled(writer: Writer, value: Ref) -> Ref:
    found = writer.call("adaptive_avg_pool2d", {"self": value, "output_size": [1, 1]}, "pooled")
    return writer.call("flatten", {"self": found, "start_dim": 1, "end_dim": -1})


def _three(writer: Writer, value: Ref, name: str, parts: tuple[str, str, str]) -> tuple[Ref, Ref, Ref]:
    first, second, third = (writer.linear(value, f"{name}.{part}") for part in parts)
    return first, second, third


def _activation(config: Config, name: str) -> str:
    found = config[name]
    if found not in _ACTIVATIONS:
        raise UsageError(CannotCarryError("operator", f"{name} {found}").line("the model"))
    return _ACTIVATIONS[found]


def _refuse_relative(config: Config) -> None:
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise UsageError(CannotCarryError("attention_mask", "relative positions").line("the model"))


def _refuse_set(config: Config, *names: str) -> None:
    for name in names:
        if config.get(name):
            raise UsageError(f"{name}: is set, and computes what is not carried; use a model without it")


def _texts(config: Config, steps: int) -> tuple[int, ...]:
    places = config.get("max_position_embeddings") or config.get("n_positions") or steps
    return (min(steps, int(places)),)


def _images(config: Config, steps: int) -> tuple[int, ...]:
    side = int(config.get("image_size", 224))
    return int(config.get("num_channels", 3)), side, side


@dataclass(frozen=True, kw_only=True)
class Published:
    """A network that is known by its ``model_type``.

    Attributes
    ----------
    calls : callable
        Writes its calls, and gives the name of the last.
    input_shape : callable
        From its configuration and a number of steps to the shape of one input.
    """

    calls: Callable[[Writer, Config], str]
    input_shape: Callable[[Config, int], tuple[int, ...]]


NETWORKS: Mapping[str, Published] = {
    "bert": Published(calls=bert, input_shape=_texts),
    "distilbert": Published(calls=distilbert, input_shape=_texts),
    "gpt2": Published(calls=gpt2, input_shape=_texts),
    "vit": Published(calls=vit, input_shape=_images),
    "resnet": Published(calls=hugging_face_resnet, input_shape=_images),
}
