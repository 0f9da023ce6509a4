"""Run in the tensorflow environment: explain every case, and watch both libraries do what the catalogue says."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import explained_cases as cases
import numpy as np
import tensorflow as tf
from tf_explain.core.grad_cam import GradCAM
from tf_explain.core.integrated_gradients import IntegratedGradients
from tf_explain.core.occlusion_sensitivity import OcclusionSensitivity
from tf_explain.core.smoothgrad import SmoothGrad
from tf_explain.core.vanilla_gradients import VanillaGradients
from xplique.attributions import KernelShap, Lime
from xplique.attributions.gradient_statistics.gradient_statistic import GradientStatistic

from trustml.backends.tensorflow.attribution import explain
from trustml.backends.tensorflow.network import KerasNetwork, build_keras
from trustml.backends.tensorflow.own_targets import chunked_program
from trustml.scenario import methods as m


def explain_all(arrays: dict[str, np.ndarray], *, repetitions: int) -> dict[str, np.ndarray]:
    """Every case; sampling ones with several seeds, and at last with the first seed again."""
    found = {}
    for title, (case, method) in cases.DETERMINISTIC.items():
        for variant, array in explain(cases.request_of(case, method, arrays)).items():
            found[f"{title}.{variant}"] = array
    for title, (case, method) in cases.SAMPLED.items():
        seeds = cases.SEEDS[: cases.SEEDS_OF.get(title, repetitions)]
        requests = (
            cases.request_of(case, method, arrays, seed=seed, examples=cases.FEW_OF.get(title, cases.FEW))
            for seed in (*seeds, seeds[0])
        )
        runs = [explain(request) for request in requests]
        for variant in runs[0]:
            found[f"{title}.{variant}"] = np.stack([run[variant] for run in runs])
    return found


def explain_last_alone(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The last example of every sampling case, with no other beside it."""
    found = {}
    for title, (case, method) in cases.SAMPLED.items():
        whole = cases.request_of(case, method, arrays, seed=cases.SEEDS[0], examples=cases.FEW_OF.get(title, cases.FEW))
        last = {name: getattr(whole, name)[-1:] for name in ("inputs", "targets", "baseline")}
        found |= {f"alone.{title}.{variant}": array for variant, array in explain(replace(whole, **last)).items()}
    return found


def in_parts(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Explanations by a few rows at once, and the most rows that then went through the model together."""
    taken: list[int] = []
    plain = tf.keras.layers.Dense.call

    def watched(self: tf.keras.layers.Dense, inputs: tf.Tensor) -> tf.Tensor:
        tf.numpy_function(lambda rows: taken.append(int(rows)), [tf.shape(inputs)[0]], [])
        return plain(self, inputs)

    found, most = {}, {}
    tf.keras.layers.Dense.call = watched
    for title in cases.IN_PARTS:
        case, method = cases.DETERMINISTIC[title]
        parts = explain(replace(cases.request_of(case, method, arrays), rows=cases.AT_ONCE))
        found |= {f"parts.{title}.{variant}": array for variant, array in parts.items()}
        most[title] = max(taken)
        taken.clear()
    tf.keras.layers.Dense.call = plain
    return found, most


def kept_model(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Explain other weights of an architecture that was explained before: the compiled model is kept."""
    changed = {key: array * 0.5 if ".weights." in key else array for key, array in arrays.items()}
    wanted = {"guided": m.GuidedBackprop(), "saliency": m.Saliency(absolute=False), "cam": m.GradCam()}
    return {f"halved.{key}": explain(cases.request_of("cnn", how, changed))["native"] for key, how in wanted.items()}


def asked_often(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
    """Logits of one network that is asked for more and more rows, and how often its last layer was called."""
    network, inputs = KerasNetwork(cases.model_of("cnn", arrays)), arrays["cnn.inputs"]
    called: list[int] = []
    plain = tf.keras.layers.Dense.call

    def watched(self: tf.keras.layers.Dense, inputs: tf.Tensor) -> tf.Tensor:
        if self.units == 3:
            called.append(1)
        return plain(self, inputs)

    tf.keras.layers.Dense.call = watched
    answers = [network.logits(inputs[: 1 + number % len(inputs)]) for number in range(40)]
    tf.keras.layers.Dense.call = plain
    whole = network.logits(inputs)
    differences = [float(np.abs(answer - whole[: len(answer)]).max()) for answer in answers]
    return {"often.logits": whole, "often.differences": np.array(differences)}, len(called)


def as_users_call_it(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Both libraries without anything of ours between."""
    model = build_keras(cases.model_of("cnn", arrays))
    softmax = tf.keras.Model(model.inputs, tf.keras.layers.Activation("softmax")(model.output))
    inputs = arrays["cnn.inputs"]
    path = IntegratedGradients.generate_interpolations(inputs, 200)
    wide = build_keras(_wide_model())
    found = {
        "smooth_grad_on_logits": np.stack(
            [SmoothGrad.get_averaged_gradients(inputs, model, target, 1).numpy() for target in range(3)]
        ),
        "softmax.integrated": IntegratedGradients.get_integrated_gradients(path, softmax, 0, 200).numpy(),
        "softmax.probability": softmax(np.stack([inputs, 0 * inputs], 1).reshape(-1, 9, 9, 2)).numpy()[:, 0],
        "occlusion.keras": OcclusionSensitivity().get_sensitivity_map(model, inputs[0], 1, 3),
        "occlusion.wide": OcclusionSensitivity().get_sensitivity_map(wide, _wide_image(), 0, 2),
    }
    told: dict[str, object] = {"inferred_layer": GradCAM.infer_grad_cam_target_layer(model)}
    try:
        VanillaGradients.compute_gradients(inputs, model, arrays["cnn.targets"].tolist())
    except TypeError as error:
        told["class_vector"] = type(error).__name__
    with np.errstate(all="ignore"):
        told["one_step_is_finite"] = bool(np.isfinite(IntegratedGradients.generate_interpolations(inputs, 1)).all())
    return found, told


def image_by_image(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """tf-explain on one image of the cnn after another, its numbers as they come."""
    model = build_keras(cases.model_of("cnn", arrays))
    softmax = tf.keras.Model(model.inputs, tf.keras.layers.Activation("softmax")(model.output))
    inputs, targets = arrays["cnn.inputs"], arrays["cnn.targets"]
    samples = cases.SAMPLED["smooth_grad"][1].n_samples
    found: dict[str, list[np.ndarray]] = {"integrated_gradients": [], "smooth_grad": [], "occlusion_clipped": []}
    for image, target in zip(inputs, map(int, targets), strict=True):
        np.random.seed(0)  # every image has the same noise
        copies = SmoothGrad.generate_noisy_images(image[None], samples, m.SmoothGrad().stdev)
        path = IntegratedGradients.generate_interpolations(image[None], 50)
        found["integrated_gradients"] += [
            *IntegratedGradients.get_integrated_gradients(path, model, tf.constant(target), 50).numpy()
        ]
        found["smooth_grad"] += [*SmoothGrad.get_averaged_gradients(copies, softmax, target, samples).numpy()]
        found["occlusion_clipped"].append(OcclusionSensitivity().get_sensitivity_map(model, image, target, 4))
    return {f"one_by_one.{name}": np.stack(images) for name, images in found.items()}


def chunks() -> tuple[dict[str, np.ndarray], int]:
    """A program of chunks of three on 1 to 7 examples of two rows each, and how often it was traced."""

    def means(rows: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.reshape(rows, (-1, 2, 1)), axis=1) + tf.cast(targets[:, None], tf.float32)

    program = chunked_program(means, (1,), at_once=3, rows_per_example=2)
    rows, targets = np.arange(14, dtype=np.float32)[:, None], np.arange(7, dtype=np.int32)
    found = {f"chunks.{n}": program(rows[: 2 * n], 10 * targets[:n]).numpy()[:, 0] for n in (1, 3, 4, 7)}
    return found, program.experimental_get_tracing_count()


def seeds_in_graphs() -> dict[str, bool]:
    """Whether a second seed changes what Xplique's compiled functions draw."""

    def noise(seed: int) -> np.ndarray:
        tf.random.set_seed(seed)
        return GradientStatistic._perturb_samples(tf.zeros((2, 3)), 5, 1.0).numpy()

    def coalitions(seed: int) -> np.ndarray:
        tf.random.set_seed(seed)
        return KernelShap._kernel_shap_pertub_func(tf.constant([6]), 50).numpy()

    return {
        "noise": bool((noise(1) != noise(2)).any()),
        "coalitions": bool((coalitions(1) != coalitions(2)).any()),
    }


def cosine_weights() -> list[float]:
    """Weights that Xplique's cosine kernel gives to the input itself, to one value of it, and to its opposite."""
    values = tf.constant([1.0, 2.0, 3.0])
    perturbed = tf.stack([values, values * [1.0, 0.0, 0.0], -values])
    return Lime._get_exp_kernel_func("cosine", 1.0)(values, tf.ones((3, 3), tf.int32), perturbed).numpy().tolist()


def _wide_image() -> np.ndarray:
    """4 x 8 with a single bright pixel, in the patch of row 0 and column 3."""
    image = np.zeros((4, 8, 1), np.float32)
    image[0, 7] = 1.0
    return image


def _wide_model() -> cases.Model:
    """Logit 0 is the sum of the bright pixel's patch."""
    kernel = np.zeros((4, 8, 1, 2), np.float32)
    kernel[0:2, 6:8, 0, 0] = 1.0
    architecture = cases.Architecture(layers=(cases.Flatten(), cases.Dense(units=2, bias=False)))
    return cases.Model(architecture=architecture, input_shape=(4, 8, 1), weights={"1.kernel": kernel.reshape(32, 2)})


def not_square(arrays: dict[str, np.ndarray]) -> str:
    request = cases.ExplainRequest(
        model=_wide_model(),
        inputs=_wide_image()[None],
        targets=np.zeros(1, np.int64),
        method=m.Occlusion(window=(2, 2), stride=(2, 2)),
        baseline=np.zeros((1, 4, 8, 1), np.float32),
        background=np.zeros((0, 4, 8, 1), np.float32),
        features=np.arange(32).reshape(4, 8, 1),
        layer=-1,
        seed=0,
    )
    try:
        explain(request)
    except ValueError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    given = cases.read_arrays(folder / "given.npz")
    users, told = as_users_call_it(given)
    in_chunks, told["traces"] = chunks()
    often, told["layer_calls"] = asked_often(given)
    few, told["rows_at_once"] = in_parts(given)
    users |= {**image_by_image(given), **in_chunks, **few, **often, **explain_last_alone(given)}
    told |= {"seeds": seeds_in_graphs(), "cosine": cosine_weights(), "not_square": not_square(given)}
    np.savez(folder / "found.npz", **explain_all(given, repetitions=int(sys.argv[2])), **kept_model(given), **users)
    (folder / "told.json").write_text(json.dumps(told))
