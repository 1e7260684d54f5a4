"""Small PyTorch models with seeded weights, of the kinds that people compile."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class ResidualCnn(nn.Module):
    """Two residual blocks with batch norm, one of them strided, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(
            nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
        )
        self.shortcut = nn.Conv2d(8, 16, 1, stride=2)
        self.classify = nn.Linear(16, 5)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.stem(image)
        features = torch.relu(self.block(features) + self.shortcut(features))
        pooled = functional.adaptive_avg_pool2d(features, 1).flatten(1)
        return {"logits": self.classify(pooled), "features": pooled}


class Encoder(nn.Module):
    """Token and position embeddings, two transformer layers with a padding mask, mean pooling."""

    def __init__(self, tokens: int = 50, width: int = 16) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, width)
        self.positions = nn.Embedding(64, width)
        layer = nn.TransformerEncoderLayer(
            width, 4, 32, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        hidden = self.tokens(ids) + self.positions(places)
        hidden = self.layers(hidden, src_key_padding_mask=mask == 0)
        weights = mask.unsqueeze(-1).float()
        pooled: torch.Tensor = (hidden * weights).sum(1) / (weights.sum(1) + 1e-6)
        return functional.normalize(pooled, dim=-1)


class Recurrent(nn.Module):
    """A bidirectional LSTM or GRU over features, and a classifier of its last step."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.recurrent = kind(6, 8, batch_first=True, bidirectional=True)
        self.classify = nn.Linear(16, 3)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        classes: torch.Tensor = self.classify(self.recurrent(steps)[0][:, -1])
        return classes


class Detector(nn.Module):
    """A one-level detection head: boxes from offsets, the best few by score, greedy NMS.

    NMS goes through a fixed number of candidates: one is kept if no kept one before it overlaps
    too much. What is not kept has the score 0.
    """

    CANDIDATES = 12
    OVERLAP = 0.3

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.SiLU())
        self.head = nn.Conv2d(8, 4 + 3, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        raw = self.head(self.backbone(image)).flatten(2).transpose(1, 2)[0]
        scores, classes = torch.sigmoid(raw[:, 4:]).max(dim=1)
        side = image.shape[-1] // 2
        rows = torch.arange(side).repeat_interleave(side)
        columns = torch.arange(side).repeat(side)
        centers = torch.stack([columns, rows], dim=1) + torch.sigmoid(raw[:, :2])
        sizes = 4 * torch.exp(raw[:, 2:4])
        boxes = torch.cat([centers - sizes / 2, centers + sizes / 2], dim=1)
        scores, best = torch.topk(scores, self.CANDIDATES)
        boxes, classes = boxes[best], classes[best]
        keep = self.suppress(boxes)
        return boxes, torch.where(keep, scores, 0.0), classes

    def suppress(self, boxes: torch.Tensor) -> torch.Tensor:
        low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        common = (high - low).clamp(min=0).prod(dim=2)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        overlaps = common / (area[:, None] + area[None, :] - common) > self.OVERLAP
        keep = torch.ones(self.CANDIDATES, dtype=torch.bool)
        for index in range(1, self.CANDIDATES):
            earlier = (overlaps[index, :index] & keep[:index]).any()
            keep = torch.cat([keep[:index], ~earlier.reshape(1), keep[index + 1 :]])
        return keep


class DenseDetector(nn.Module):
    """A detection head over images of any size: a box and a score for every cell of the grid."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.SiLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.head = nn.Conv2d(8, 4 + 3, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        raw = self.head(self.backbone(image))
        height, width = raw.shape[2:]
        rows = torch.arange(height)[:, None].expand(height, width)
        columns = torch.arange(width)[None].expand(height, width)
        grid = torch.stack([columns, rows], dim=-1).reshape(1, height * width, 2)
        raw = raw.flatten(2).transpose(1, 2)
        size = torch.tensor([width, height], dtype=torch.float32)
        centers = (grid + torch.sigmoid(raw[..., :2])) / size
        sizes = torch.exp(raw[..., 2:4]) / width
        boxes = torch.cat([centers - sizes / 2, centers + sizes / 2], dim=-1)
        scores, classes = raw[..., 4:].softmax(-1).max(dim=-1)
        return boxes.clamp(0, 1), scores, classes


class Sequences(nn.Module):
    """What models do along an axis of any length, operator by operator."""

    def forward(self, x: torch.Tensor, i: torch.Tensor) -> tuple[torch.Tensor, ...]:
        length = x.shape[1]
        return (
            torch.cat([x, x], dim=1),
            x[:, -1],
            x[:, i],
            x[:, 1:] - x[:, :-1],
            x[:, ::2] * 2,
            x.sum(1) / length + length,
            x * torch.ones(length, length).tril()[-1, :, None],
            x.repeat(1, 2, 1)[:, :length],
            torch.nn.functional.pad(x, (0, 0, 1, 2)),
            x.mean((0, 2)).unsqueeze(0).cumsum(1),
            torch.where(torch.arange(length)[None, :, None] < length - 1, x, 0.0).amax(1),
            x.transpose(0, 1).contiguous().view(-1, 6),
        )


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in inference mode, with weights and statistics that a seed determines."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.copy_(
                torch.randn(parameter.shape, generator=generator) / max(fan_in, 1) ** 0.5
            )
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
            elif name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator) / 4)
    return model.eval()
