"""Layers that several networks are made of, and their random weights."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import nn

Activation: TypeAlias = "type[nn.Module] | None"


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm, activation. Padding keeps the size at stride 1."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: Activation = nn.ReLU,
        epsilon: float = 1e-5,
    ) -> None:
        convolution = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        layers = [convolution, nn.BatchNorm2d(outputs, epsilon)]
        super().__init__(*layers, *([activation()] if activation else []))


class SqueezeExcite(nn.Module):
    """Scales channels by a small network of their means (Hu et al., arXiv:1709.01507)."""

    def __init__(
        self,
        channels: int,
        squeezed: int,
        activation: type[nn.Module] = nn.ReLU,
        gate: type[nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            activation(),
            nn.Conv2d(squeezed, channels, 1),
            gate(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale float[N,C,H,W]."""
        factors: torch.Tensor = self.layers(x)
        return x * factors


class InvertedResidual(nn.Module):
    """Widen, convolve by channel, narrow; added to the input where shapes agree."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        kernel: int,
        stride: int,
        activation: type[nn.Module],
        excite: nn.Module | None = None,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden != inputs:
            layers.append(ConvNorm(inputs, hidden, activation=activation, epsilon=epsilon))
        layers.append(ConvNorm(hidden, hidden, kernel, stride, hidden, activation, epsilon))
        if excite:
            layers.append(excite)
        layers.append(ConvNorm(hidden, outputs, activation=None, epsilon=epsilon))
        self.layers = nn.Sequential(*layers)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float[N,C,H,W]."""
        y: torch.Tensor = self.layers(x)
        return x + y if self.is_residual else y


def randomize(model: nn.Module, example: tuple[torch.Tensor, ...]) -> nn.Module:
    """Give a model weights that keep its activations in a healthy range.

    Batch norms get statistics of a run on the example, then factors and offsets of their own, so
    that none of them is a plain normalization.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            model.train()(*example)
            for norm in norms:
                assert norm.running_mean is not None
                norm.running_mean.add_(0.1 * torch.randn_like(norm.running_mean))
                norm.weight.uniform_(0.7, 1.3)
                norm.bias.normal_(0.0, 0.2)
    return model.eval()
