"""What trustml is told of this backend without starting it."""

from __future__ import annotations

from trustml.frameworks.entry import BackendEntry, LiveModels, Noise, Regimes, Style, Supported
from trustml.frameworks.implementation import Availability, Implementation, NotAvailable


def _integrated_gradients(method) -> Availability:
    if method.baseline != 0.0:
        return NotAvailable(reason="trustml-numpy takes paths from zero alone")
    return Implementation(library="trustml-numpy", call="trustml_numpy.attribution:integrated_gradients")


ENTRY = BackendEntry(
    name="numpy",
    title="NumPy",
    module="trustml_numpy",
    packages=("numpy",),
    fix="pip install trustml-numpy",
    preloaded=("trustml_numpy",),
    regimes=Regimes(
        plain=Supported(library="trustml-numpy"),
        private=Supported(library="trustml-numpy"),
        federated=Supported(library="trustml-numpy"),
    ),
    noise=Noise(examples="numpy", users="numpy"),
    methods={
        "Saliency": Implementation(library="trustml-numpy", call="trustml_numpy.attribution:saliency"),
        "InputXGradient": Implementation(library="trustml-numpy", call="trustml_numpy.attribution:input_x_gradient"),
        "IntegratedGradients": _integrated_gradients,
    },
    live=(LiveModels(packages=("trustml_numpy",), base="Dense", kind="NumPy network ({})"),),
    live_packages=("trustml-numpy",),
    style=Style(colour="#CC79A7", shape="cross"),
)
