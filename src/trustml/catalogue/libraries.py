"""Who implements a method, as cells of the table: one function a library, and those cells that settings decide."""

from __future__ import annotations

import msgspec

from trustml.frameworks.implementation import Availability, Implementation, NotAvailable
from trustml.frameworks.table import SHIPPED_NAMES
from trustml.scenario import methods as m

AVERAGES = "by default it averages over channels; called without that, it is the definition"
"""How Xplique's gradients differ."""
DEEP_LIFT = (
    "GELU, SiLU and GlobalMaxPool pass their plain gradients; where windows of a MaxPool overlap, contributions are "
    "lost; of a ReLU and a MaxPool side by side, the later one passes plain gradients; and where a layer with a rule "
    "shares its input with another layer, what comes back from the other is lost. Completed, where the model has any "
    "of these, is Captum's with rules for all and a copy between layers"
)
"""How Captum's DeepLIFT differs."""
SHARED_RELU = (
    "where a ReLU shares its input with another layer, what comes back from the other is lost; completed, where the "
    "model has that, gives each a copy"
)
"""How Captum's rules for ReLU differ."""


def captum(call: str, of: str, differs: str = "") -> Implementation:
    """Captum's, called by a function of the torch backend."""
    path, name = f"trustml.backends.torch.{call}", f"captum.attr.{of}"
    return Implementation(library="captum", call=path, library_function=name, differs=differs)


def ours(call: str) -> Implementation:
    """Ours, by the definition."""
    return Implementation(library="trustml-jax", call=f"trustml.backends.jax.{call}")


def ours_everywhere(call: str) -> dict[str, Implementation]:
    """Ours in every backend that comes with trustml, by a function of the same name."""
    return {
        name: Implementation(library=f"trustml-{name}", call=f"trustml.backends.{name}.{call}")
        for name in SHIPPED_NAMES
    }


def tf_explain(call: str, of: str, differs: str = "") -> Implementation:
    """tf-explain's, called by a function of the tensorflow backend."""
    path, name = f"trustml.backends.tensorflow.{call}", f"tf_explain.core.{of}"
    return Implementation(library="tf-explain", call=path, library_function=name, differs=differs)


def xplique(call: str, of: str, differs: str = "") -> Implementation:
    """Xplique's, called by a function of the tensorflow backend."""
    path, name = f"trustml.backends.tensorflow.{call}", f"xplique.attributions.{of}"
    return Implementation(library="xplique", call=path, library_function=name, differs=differs)


def tf_integrated_gradients(method: m.IntegratedGradients) -> Availability:
    """tf-explain's integrated gradients begin at zero."""
    if method.baseline != 0.0:
        return NotAvailable(reason="tf-explain has a zero baseline built in")
    if method.n_steps < 2:
        reason = f"tf-explain needs n_steps of 2 or more, for both ends of the path, not {method.n_steps}"
        return NotAvailable(reason=reason)
    return tf_explain(
        "gradient_methods:integrated_gradients",
        "IntegratedGradients.get_integrated_gradients",
        "mean gradient on the path from zeros, both ends included with the weight of all other points: the factor "
        "(input - baseline) is missing, and completed has it; softmax, where a model has one, is not stripped",
    )


def tf_smooth_grad(method: m.SmoothGrad) -> Availability:
    """tf-explain has the mean, Xplique the other statistics."""
    if not isinstance(method.of, m.Saliency) or method.of.absolute:
        reason = "tf-explain and Xplique average signed gradients alone; use of=Saliency(absolute=False)"
        return NotAvailable(reason=reason)
    if method.statistic == "mean_of_squares":
        return xplique("gradient_methods:noise_statistic", "SquareGrad(reducer=None)", AVERAGES)
    if method.statistic == "variance":
        if method.n_samples < 2:
            return NotAvailable(reason=f"Xplique needs n_samples of 2 or more for a variance, not {method.n_samples}")
        differs = "divides by one less than the samples; completed divides by the samples"
        return xplique("gradient_methods:noise_statistic", "VarGrad(reducer=None)", differs)
    found = tf_explain(
        "gradient_methods:smooth_grad",
        "SmoothGrad.get_averaged_gradients",
        "gradient of the cross-entropy instead of the logit, so of the opposite sign and mixed with the other "
        "classes; it needs probabilities, so the model gets a softmax. Completed is the mean gradient of the "
        "logit, as its integrated gradients take it, over the same noisy copies",
    )
    why = "tf-explain takes the gradient of a cross-entropy of classes' logits, and something else is explained"
    return msgspec.structs.replace(found, of_classes=why)


def tf_occlusion(method: m.Occlusion) -> Availability:
    """tf-explain's window is a square that moves by its own size."""
    if method.window[0] != method.window[1] or method.stride != method.window:
        reason = "tf-explain has a square window that moves by its own size; use a stride equal to the window"
        return NotAvailable(reason=reason)
    return tf_explain(
        "perturbation_methods:occlusion",
        "OcclusionSensitivity.get_sensitivity_map",
        "1 - logit instead of the fall of the logit, filled with 127.5 whatever the range of the data, enlarged "
        "bilinearly from one value a patch, and rows taken for columns unless images are square. Completed is the "
        "fall, patch by patch: its fill is moved to the baseline by a shift of the inputs, the enlargement undone",
    )
