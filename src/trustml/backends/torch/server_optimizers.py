"""Server optimizers of Reddi et al. (ICLR 2021) by the formulas of :mod:`trustml.scenario.federated`.

PyTorch has Adam and Adagrad, but with the stabilizer in another place, and no Yogi.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from trustml.scenario.federated import FedAdagrad, FedAdam, FederatedRegime, FedProx, FedYogi


def server_optimizer(regime: FederatedRegime, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Build the server's optimizer, whose gradient is the average update with the opposite sign."""
    rate = regime.server_learning_rate
    match regime:
        case FedAdam(beta1=beta1, beta2=beta2, stabilizer=stabilizer):
            return ServerAdam(parameters, learning_rate=rate, beta1=beta1, beta2=beta2, stabilizer=stabilizer)
        case FedYogi(beta1=beta1, beta2=beta2, stabilizer=stabilizer, initial_accumulator=first):
            return ServerYogi(
                parameters,
                learning_rate=rate,
                beta1=beta1,
                beta2=beta2,
                stabilizer=stabilizer,
                initial_accumulator=first,
            )
        case FedAdagrad(stabilizer=stabilizer, initial_accumulator=first):
            return ServerAdagrad(parameters, learning_rate=rate, stabilizer=stabilizer, initial_accumulator=first)
        case FedProx():
            return torch.optim.SGD(parameters, rate)
        case _:
            return torch.optim.SGD(parameters, rate, momentum=regime.server_momentum)


class ServerAdam(torch.optim.Optimizer):
    """Adam whose stabilizer is added to the *uncorrected* root; see :class:`trustml.scenario.federated.FedAdam`.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
    learning_rate, beta1, beta2, stabilizer : float
    initial_accumulator : float
        First second moment.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: float,
        beta1: float,
        beta2: float,
        stabilizer: float,
        initial_accumulator: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate})
        self._betas, self._stabilizer = (beta1, beta2), stabilizer
        self._initial_accumulator = initial_accumulator
        self._steps = 0

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step."""
        beta1, beta2 = self._betas
        self._steps += 1
        correction = math.sqrt(1 - beta2**self._steps) / (1 - beta1**self._steps)
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient, state = parameter.grad, self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                    state["variance"] = torch.full_like(parameter, self._initial_accumulator)
                state["mean"].lerp_(gradient, 1 - beta1)
                self._move_variance(state["variance"], gradient.square(), beta2)
                denominator = state["variance"].sqrt().add_(self._stabilizer)
                parameter.addcdiv_(state["mean"], denominator, value=-group["lr"] * correction)

    def _move_variance(self, variance: Tensor, square: Tensor, beta2: float) -> None:
        variance.lerp_(square, 1 - beta2)


class ServerYogi(ServerAdam):
    """Adam whose second moment moves by the sign; see :class:`trustml.scenario.federated.FedYogi`."""

    def _move_variance(self, variance: Tensor, square: Tensor, beta2: float) -> None:
        variance.addcmul_(square, (variance - square).sign(), value=-(1 - beta2))


class ServerAdagrad(torch.optim.Optimizer):
    """Adagrad with the stabilizer inside the root; see :class:`trustml.scenario.federated.FedAdagrad`.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
    learning_rate, stabilizer, initial_accumulator : float
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: float,
        stabilizer: float,
        initial_accumulator: float,
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate})
        self._stabilizer, self._initial_accumulator = stabilizer, initial_accumulator

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step."""
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient, state = parameter.grad, self.state[parameter]
                if not state:
                    state["sum"] = torch.full_like(parameter, self._initial_accumulator)
                state["sum"].addcmul_(gradient, gradient)
                denominator = (state["sum"] + self._stabilizer).sqrt_()
                parameter.addcdiv_(gradient, denominator, value=-group["lr"])
