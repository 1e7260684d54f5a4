"""DS-CNN for keyword spotting (Zhang et al., arXiv:1711.07128), as MLPerf Tiny has it."""

from __future__ import annotations

from torch import nn

from networks.layers import ConvNorm

_WIDTH = 64


def ds_cnn() -> nn.Module:
    """float[N,1,49,10] of spectral features to float[N,12] probabilities."""
    layers: list[nn.Module] = [
        nn.ZeroPad2d((1, 1, 4, 5)),  # "same" padding of the kernel with stride 2
        nn.Conv2d(1, _WIDTH, (10, 4), 2),
        nn.BatchNorm2d(_WIDTH),
        nn.ReLU(),
    ]
    for _ in range(4):
        layers += [ConvNorm(_WIDTH, _WIDTH, 3, groups=_WIDTH), ConvNorm(_WIDTH, _WIDTH)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_WIDTH, 12), nn.Softmax(-1)]
    return nn.Sequential(*layers, *head)
