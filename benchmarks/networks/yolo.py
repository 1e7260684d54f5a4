"""The detector YOLOv8n: backbone, path aggregation and head, up to boxes and class scores."""

from __future__ import annotations

import torch
from torch import nn

from networks.layers import ConvNorm

_CLASSES = 80
_BINS = 16  # of the distribution over each side's distance
_STRIDES = (8, 16, 32)
_SIZE = 640


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> ConvNorm:
    return ConvNorm(inputs, outputs, kernel, stride, activation=nn.SiLU, epsilon=1e-3)


class Bottleneck(nn.Module):
    """Two convolutions, each three by three."""

    def __init__(self, channels: int, *, is_residual: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(_conv(channels, channels, 3), _conv(channels, channels, 3))
        self.is_residual = is_residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float[N,C,H,W]."""
        y: torch.Tensor = self.layers(x)
        return x + y if self.is_residual else y


class CrossStage(nn.Module):
    """C2f: half of the channels through a chain of bottlenecks, every link of it kept."""

    def __init__(self, inputs: int, outputs: int, repeats: int, *, is_residual: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.first = _conv(inputs, outputs)
        self.chain = nn.ModuleList(
            Bottleneck(half, is_residual=is_residual) for _ in range(repeats)
        )
        self.last = _conv((2 + repeats) * half, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float[N,inputs,H,W] to float[N,outputs,H,W]."""
        parts = list(self.first(x).chunk(2, 1))
        for link in self.chain:
            parts.append(link(parts[-1]))
        y: torch.Tensor = self.last(torch.cat(parts, 1))
        return y


class PyramidPooling(nn.Module):
    """SPPF: three maximum pools in a row, each result kept."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels // 2)
        self.last = _conv(2 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float[N,C,H,W]."""
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(nn.functional.max_pool2d(parts[-1], 5, 1, 2))
        y: torch.Tensor = self.last(torch.cat(parts, 1))
        return y


class Head(nn.Module):
    """Boxes as distributions over distances, and class scores, at three scales."""

    bins: torch.Tensor
    anchors: torch.Tensor
    strides: torch.Tensor

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        box, score = max(16, channels[0] // 4, 4 * _BINS), max(channels[0], _CLASSES)
        self.boxes = nn.ModuleList(
            nn.Sequential(_conv(c, box, 3), _conv(box, box, 3), nn.Conv2d(box, 4 * _BINS, 1))
            for c in channels
        )
        self.scores = nn.ModuleList(
            nn.Sequential(_conv(c, score, 3), _conv(score, score, 3), nn.Conv2d(score, _CLASSES, 1))
            for c in channels
        )
        self.register_buffer("bins", torch.arange(_BINS, dtype=torch.float32))
        anchors, strides = _anchors()
        self.register_buffer("anchors", anchors)
        self.register_buffer("strides", strides)

    def forward(self, scales: list[torch.Tensor]) -> torch.Tensor:
        """Three feature maps to float[N, 4 + classes, anchors]: centre, size, probabilities."""
        parts = [
            torch.cat([box(x), score(x)], 1).flatten(2)
            for x, box, score in zip(scales, self.boxes, self.scores, strict=True)
        ]
        sides, scores = torch.cat(parts, 2).split([4 * _BINS, _CLASSES], 1)
        n, _, count = sides.shape
        odds = sides.reshape(n, 4, _BINS, count).transpose(1, 2).softmax(1)
        distances = (odds * self.bins.reshape(1, _BINS, 1, 1)).sum(1)
        low = self.anchors - distances[:, :2]
        high = self.anchors + distances[:, 2:]
        boxes = torch.cat([(low + high) / 2, high - low], 1) * self.strides
        return torch.cat([boxes, scores.sigmoid()], 1)


class Yolo(nn.Module):
    """float[N,3,640,640] -> float[N,84,8400]."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(
            _conv(3, 16, 3, 2),
            _conv(16, 32, 3, 2),
            CrossStage(32, 32, 1, is_residual=True),
            _conv(32, 64, 3, 2),
            CrossStage(64, 64, 2, is_residual=True),
        )
        self.middle = nn.Sequential(_conv(64, 128, 3, 2), CrossStage(128, 128, 2, is_residual=True))
        self.late = nn.Sequential(
            _conv(128, 256, 3, 2), CrossStage(256, 256, 1, is_residual=True), PyramidPooling(256)
        )
        self.up_middle = CrossStage(384, 128, 1, is_residual=False)
        self.up_early = CrossStage(192, 64, 1, is_residual=False)
        self.down_early = _conv(64, 64, 3, 2)
        self.down_middle = CrossStage(192, 128, 1, is_residual=False)
        self.down_late = _conv(128, 128, 3, 2)
        self.last = CrossStage(384, 256, 1, is_residual=False)
        self.head = Head((64, 128, 256))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Detect."""
        early = self.early(x)
        middle = self.middle(early)
        late = self.late(middle)
        middle = self.up_middle(torch.cat([_twice(late), middle], 1))
        early = self.up_early(torch.cat([_twice(middle), early], 1))
        middle = self.down_middle(torch.cat([self.down_early(early), middle], 1))
        late = self.last(torch.cat([self.down_late(middle), late], 1))
        boxes: torch.Tensor = self.head([early, middle, late])
        return boxes


def yolo_v8n() -> nn.Module:
    """float[N,3,640,640] -> float[N,84,8400]."""
    return Yolo()


def _twice(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _anchors() -> tuple[torch.Tensor, torch.Tensor]:
    """Centres of the cells of all scales, float[2,A], and their strides, float[1,A]."""
    points, strides = [], []
    for stride in _STRIDES:
        cells = torch.arange(_SIZE // stride, dtype=torch.float32) + 0.5
        y, x = torch.meshgrid(cells, cells, indexing="ij")
        points.append(torch.stack([x.flatten(), y.flatten()]))
        strides.append(torch.full((1, len(cells) ** 2), float(stride)))
    return torch.cat(points, 1), torch.cat(strides, 1)
