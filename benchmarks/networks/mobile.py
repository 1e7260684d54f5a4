"""MobileNetV2, MobileNetV3-large and EfficientNet-B0, as torchvision defines them."""

from __future__ import annotations

from torch import nn

from networks.layers import ConvNorm, InvertedResidual, SqueezeExcite

_CLASSES = 1000

# Sandler et al., arXiv:1801.04381, table 2: expansion, channels, repeats, stride.
_V2 = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1)),
    *((6, 160, 3, 2), (6, 320, 1, 1)),
)
# Howard et al., arXiv:1905.02244, table 1: kernel, hidden, channels, excite, hard-swish, stride.
_V3 = (
    *((3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2)),
    *((5, 120, 40, 1, 0, 1), (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1)),
    *((3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 480, 112, 1, 1, 1)),
    *((3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1)),
    (5, 960, 160, 1, 1, 1),
)
# Tan and Le, arXiv:1905.11946, table 1: expansion, kernel, channels, repeats, stride.
_B0 = (
    *((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1)),
    *((6, 5, 192, 4, 2), (6, 3, 320, 1, 1)),
)


def mobilenet_v2() -> nn.Module:
    """float[N,3,224,224] -> float[N,1000]."""
    layers: list[nn.Module] = [ConvNorm(3, 32, 3, 2, activation=nn.ReLU6)]
    channels = 32
    for expansion, outputs, repeats, first_stride in _V2:
        for index in range(repeats):
            stride = first_stride if index == 0 else 1
            hidden = channels * expansion
            layers.append(InvertedResidual(channels, hidden, outputs, 3, stride, nn.ReLU6))
            channels = outputs
    layers.append(ConvNorm(channels, 1280, activation=nn.ReLU6))
    return nn.Sequential(*layers, *_pooled(), nn.Linear(1280, _CLASSES))


def mobilenet_v3_large() -> nn.Module:
    """float[N,3,224,224] -> float[N,1000]."""
    epsilon = 1e-3
    layers: list[nn.Module] = [
        ConvNorm(3, 16, 3, 2, activation=nn.Hardswish, epsilon=epsilon),
    ]
    channels = 16
    for kernel, hidden, outputs, excite, hard, stride in _V3:
        gate = None
        if excite:
            gate = SqueezeExcite(hidden, _round_to_8(hidden / 4), nn.ReLU, nn.Hardsigmoid)
        activation = nn.Hardswish if hard else nn.ReLU
        layers.append(
            InvertedResidual(channels, hidden, outputs, kernel, stride, activation, gate, epsilon)
        )
        channels = outputs
    layers.append(ConvNorm(channels, 960, activation=nn.Hardswish, epsilon=epsilon))
    head = [nn.Linear(960, 1280), nn.Hardswish(), nn.Linear(1280, _CLASSES)]
    return nn.Sequential(*layers, *_pooled(), *head)


def efficientnet_b0() -> nn.Module:
    """float[N,3,224,224] -> float[N,1000]."""
    layers: list[nn.Module] = [ConvNorm(3, 32, 3, 2, activation=nn.SiLU)]
    channels = 32
    for expansion, kernel, outputs, repeats, first_stride in _B0:
        for index in range(repeats):
            stride = first_stride if index == 0 else 1
            hidden = channels * expansion
            gate = SqueezeExcite(hidden, channels // 4, nn.SiLU)
            layers.append(
                InvertedResidual(channels, hidden, outputs, kernel, stride, nn.SiLU, gate)
            )
            channels = outputs
    layers.append(ConvNorm(channels, 1280, activation=nn.SiLU))
    return nn.Sequential(*layers, *_pooled(), nn.Linear(1280, _CLASSES))


def _pooled() -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten()


def _round_to_8(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
