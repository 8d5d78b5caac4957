"""Muon: momentum whose steps are made orthogonal, for the matrices inside the layers.

It needs far fewer steps than AdamW on models of this size. Matrices of one shape are handled as one batch,
which is what makes it cheap on a CPU.

Method and coefficients: Keller Jordan and others, "Muon: An optimizer for hidden layers in neural networks",
2024, https://kellerjordan.github.io/posts/muon/.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


def orthogonalize(matrices: Tensor) -> Tensor:
    """Bring all singular values of each matrix near 1, by a few Newton-Schulz rounds."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay.

    Parameters
    ----------
    weights : Iterable[torch.nn.Parameter]
        Matrices.
    lr, momentum, weight_decay : float
        Step size, as the singular value of a step on a square matrix; momentum; decay per unit of step size.
    """

    def __init__(
        self,
        weights: Iterable[torch.nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Move every matrix one step."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.nn.Parameter]] = defaultdict(list)
            for weight in group["params"]:
                shapes[weight.shape].append(weight)
            for (rows, columns), weights in shapes.items():
                steps = []
                for weight in weights:
                    momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                    momentum.lerp_(weight.grad, 1 - group["momentum"])
                    steps.append(weight.grad.lerp(momentum, group["momentum"]))
                # A taller matrix takes larger steps, so that its outputs change as much as a square one's.
                size = group["lr"] * max(1.0, rows / columns) ** 0.5
                for weight, step in zip(weights, orthogonalize(torch.stack(steps)), strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(step, alpha=-size)
