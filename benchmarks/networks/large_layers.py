"""Layers that calculate enough for the machine's peak to be what limits them."""

from __future__ import annotations

import torch
from torch import nn


def convolutions() -> nn.Module:
    """float[N,256,56,56] to float[N,64,14,14], through convolutions of several kinds."""
    layers = [
        nn.Conv2d(256, 256, 1),
        nn.Conv2d(256, 128, 1),
        nn.Conv2d(128, 128, 3, padding=1),
        nn.Conv2d(128, 128, 3, padding=2, dilation=2),
        nn.Conv2d(128, 256, 3, stride=2, padding=1),
        nn.Conv2d(256, 256, 3, padding=1, groups=8),
        nn.Conv2d(256, 128, 5, padding=2),
        nn.Conv2d(128, 512, 1),
        nn.Conv2d(512, 256, 1, stride=2),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.Conv2d(256, 1024, 1),
        nn.Conv2d(1024, 64, 1),
    ]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))


class _Products(nn.Module):
    """Products with weights, then one of two matrices that were both computed."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (512, 512, 2048, 1024, 1024, 1536)
        self.layers = nn.ModuleList(map(nn.Linear, sizes[:-1], sizes[1:]))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Map float[N,1024,512] to float[N,1024,1024]."""
        for layer in self.layers:
            rows = torch.relu(layer(rows))
        # Changed, so that it is no product of a matrix with itself.
        return rows @ torch.tanh(rows).transpose(1, 2)


def products() -> nn.Module:
    """float[N,1024,512] to float[N,1024,1024], through products of 1024 rows."""
    return _Products()
