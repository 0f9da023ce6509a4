"""What trustml is told of these backends without starting one."""

from __future__ import annotations

from trustml.frameworks.entry import BackendEntry, Noise, Regimes, Style, Supported
from trustml.frameworks.implementation import Availability, Implementation, NotAvailable
from trustml.scenario.methods import IntegratedGradients

_LIBRARY = "trustml-keras3"


def _integrated_gradients(method: IntegratedGradients) -> Availability:
    if not isinstance(method.baseline, float):
        return NotAvailable(reason="trustml-keras3 takes paths from one number alone")
    return Implementation(library=_LIBRARY, call="trustml_keras3.attribution:integrated_gradients")


def _entry(engine: str, style: Style) -> BackendEntry:
    return BackendEntry(
        name=f"keras_{engine}",
        title=f"Keras 3 on {engine}",
        module=f"trustml_keras3.on_{engine}",
        packages=("keras", engine),
        fix=f"pip install 'trustml-keras3[{engine}]'",
        regimes=Regimes(plain=Supported(library="keras"), private=Supported(library=_LIBRARY)),
        noise=Noise(examples="numpy", users="numpy"),
        methods={
            "Saliency": Implementation(library=_LIBRARY, call="trustml_keras3.attribution:saliency"),
            "InputXGradient": Implementation(library=_LIBRARY, call="trustml_keras3.attribution:input_x_gradient"),
            "IntegratedGradients": _integrated_gradients,
        },
        style=style,
    )


ON_JAX = _entry("jax", Style(colour="#CC79A7", shape="cross"))
ON_TORCH = _entry("torch", Style(colour="#999999", shape="triangle-up", dash=(1, 3)))
