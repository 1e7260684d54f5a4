"""U-Net (Ronneberger et al., arXiv:1505.04597) with batch norm, 32 features, same padding."""

from __future__ import annotations

import torch
from torch import nn

from networks.layers import ConvNorm


class UNet(nn.Module):
    """float[N,3,H,W] -> float[N,1,H,W] for H, W multiples of 16; probabilities."""

    def __init__(self, features: int = 32) -> None:
        super().__init__()
        widths = [features << level for level in range(5)]
        self.down = nn.ModuleList(
            _block(inputs, outputs)
            for inputs, outputs in zip([3, *widths[:-2]], widths[:-1], strict=True)
        )
        self.bottom = _block(widths[3], widths[4])
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, 2) for width in reversed(widths[:-1])
        )
        self.merge = nn.ModuleList(_block(2 * width, width) for width in reversed(widths[:-1]))
        self.head = nn.Conv2d(features, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Segment."""
        kept = []
        for block in self.down:
            x = block(x)
            kept.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(kept), strict=True):
            x = merge(torch.cat([up(x), skip], 1))
        return torch.sigmoid(self.head(x))


def unet() -> nn.Module:
    """float[N,3,256,256] -> float[N,1,256,256]."""
    return UNet()


def _block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(ConvNorm(inputs, outputs, 3), ConvNorm(outputs, outputs, 3))
