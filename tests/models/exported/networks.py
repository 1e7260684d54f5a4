"""Networks of the kinds that people deploy: small, but with the structure of the real ones."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def _conv(inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    )


class InvertedResidual(nn.Module):
    """MobileNetV3's block: expand, depthwise, squeeze and excite, project."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand = _conv(channels, hidden, 1)
        self.depthwise = _conv(hidden, hidden, 5, groups=hidden)
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            *(nn.Conv2d(hidden, 4, 1), nn.ReLU(), nn.Conv2d(4, hidden, 1), nn.Hardsigmoid()),
        )
        self.project = _conv(hidden, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = functional.hardswish(self.expand(x))
        hidden = functional.hardswish(self.depthwise(hidden))
        projected: torch.Tensor = self.project(hidden * self.squeeze(hidden))
        return x + projected


class MobileNet(nn.Module):
    """Classification by inverted residuals."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 8, stride=2)
        self.blocks = nn.Sequential(InvertedResidual(8, 16), InvertedResidual(8, 24))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.blocks(functional.hardswish(self.stem(image)))
        logits: torch.Tensor = self.head(features.mean([2, 3]))
        return logits


class VisionTransformer(nn.Module):
    """Classification by patches, a class token and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.positions = nn.Parameter(torch.zeros(1, 17, 16))
        layer = nn.TransformerEncoderLayer(
            16, 2, 32, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        patches = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(image.shape[0], -1, -1), patches], dim=1)
        logits: torch.Tensor = self.head(self.layers(tokens + self.positions)[:, 0])
        return logits


class Yolo(nn.Module):
    """Detection in one pass: pyramid pooling, two scales, boxes decoded on a grid."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 8, stride=2), nn.SiLU(), _conv(8, 16, stride=2))
        self.down = nn.Sequential(_conv(16, 16, stride=2), nn.SiLU())
        self.merge = nn.Sequential(_conv(64, 16, 1), nn.SiLU())
        self.up = nn.Sequential(_conv(32, 16), nn.SiLU())
        self.heads = nn.ModuleList([nn.Conv2d(16, 4 + 3, 1), nn.Conv2d(16, 4 + 3, 1)])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        fine = functional.silu(self.stem(image))
        coarse = self.down(fine)
        pooled = [coarse]
        for _ in range(3):
            pooled.append(functional.max_pool2d(pooled[-1], 5, 1, 2))
        coarse = self.merge(torch.cat(pooled, 1))
        wide = functional.interpolate(coarse, scale_factor=2, mode="nearest")
        fine = self.up(torch.cat([fine, wide], 1))
        levels = zip((fine, coarse), self.heads, (4, 8), strict=True)
        return torch.cat([self.decode(head(x), stride) for x, head, stride in levels], 1)

    def decode(self, raw: torch.Tensor, stride: int) -> torch.Tensor:
        height, width = raw.shape[2:]
        rows = torch.arange(height, dtype=torch.float32)
        columns = torch.arange(width, dtype=torch.float32)
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), 2).reshape(1, -1, 2)
        flat = raw.flatten(2).transpose(1, 2)
        center = (torch.sigmoid(flat[..., :2]) * 2 - 0.5 + grid) * stride
        size = (torch.sigmoid(flat[..., 2:4]) * 2) ** 2 * stride
        return torch.cat([center - size / 2, center + size / 2, flat[..., 4:].sigmoid()], 2)


class UNet(nn.Module):
    """Segmentation: down, up by transposed convolution, skip connections."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([self.block(3, 8), self.block(8, 16)])
        self.bottom = self.block(16, 32)
        self.up = nn.ModuleList([nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)])
        self.join = nn.ModuleList([self.block(32, 16), self.block(16, 8)])
        self.classify = nn.Conv2d(8, 4, 1)

    @staticmethod
    def block(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(_conv(inputs, outputs), nn.ReLU(), _conv(outputs, outputs), nn.ReLU())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        skips = []
        for block in self.down:
            image = block(image)
            skips.append(image)
            image = functional.max_pool2d(image, 2)
        image = self.bottom(image)
        for up, join in zip(self.up, self.join, strict=True):
            image = join(torch.cat([up(image), skips.pop()], 1))
        return functional.softmax(self.classify(image), dim=1)


class DeepLab(nn.Module):
    """Segmentation: dilated convolutions side by side, image pooling, bilinear resize."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 8, stride=2), nn.ReLU())
        self.branches = nn.ModuleList(
            [nn.Conv2d(8, 8, 3, padding=rate, dilation=rate) for rate in (1, 2, 4)]
        )
        self.pooled = nn.Conv2d(8, 8, 1)
        self.classify = nn.Conv2d(32, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.stem(image)
        pooled = self.pooled(functional.adaptive_avg_pool2d(features, 1))
        size = features.shape[2:]
        pooled = functional.interpolate(pooled, size=size, mode="bilinear", align_corners=False)
        parts = [torch.relu(branch(features)) for branch in self.branches]
        logits = self.classify(torch.cat([*parts, pooled], 1))
        logits = functional.interpolate(
            logits, size=image.shape[2:], mode="bilinear", align_corners=False
        )
        return logits.argmax(1)


class SuperResolution(nn.Module):
    """ESPCN: sub-pixel convolution, and a bicubic base that it refines."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 16, 5, padding=2), nn.Tanh(), nn.Conv2d(16, 8, 3, padding=1), nn.Tanh())
        )
        self.upscale = nn.Sequential(nn.Conv2d(8, 9, 3, padding=1), nn.PixelShuffle(3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        base = functional.interpolate(image, scale_factor=3, mode="bicubic", align_corners=False)
        fine: torch.Tensor = self.upscale(self.features(image))
        return (base + fine).clamp(0, 1)


class KeywordSpotting(nn.Module):
    """DS-CNN over mel frames."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 16, (10, 4), (2, 2), (5, 1)), nn.BatchNorm2d(16), nn.ReLU()),
            *(_conv(16, 16, groups=16), nn.ReLU(), _conv(16, 16, 1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 12), nn.LogSoftmax(1)),
        )

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        words: torch.Tensor = self.layers(frames)
        return words


class SpeechRecognizer(nn.Module):
    """Strided convolution over frames, a bidirectional GRU, letters for each step."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve = nn.Conv1d(12, 16, 5, stride=2, padding=2)
        self.recurrent = nn.GRU(16, 12, batch_first=True, bidirectional=True)
        self.letters = nn.Linear(24, 9)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        features = functional.gelu(self.convolve(frames)).transpose(1, 2)
        hidden, _ = self.recurrent(features)
        return functional.log_softmax(self.letters(hidden), dim=-1)


class Decoder(nn.Module):
    """A causal language model: rotary positions, gated units, RMS norm, tied embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(40, 16)
        self.qkv = nn.Linear(16, 48, bias=False)
        self.out = nn.Linear(16, 16, bias=False)
        self.gate = nn.Linear(16, 64, bias=False)
        self.down = nn.Linear(32, 16, bias=False)
        self.scale = nn.Parameter(torch.ones(16))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.tokens(ids)
        hidden = hidden + self.attend(self.norm(hidden))
        gate, value = self.gate(self.norm(hidden)).chunk(2, dim=-1)
        hidden = hidden + self.down(functional.silu(gate) * value)
        return self.norm(hidden) @ self.tokens.weight.T

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        heads = self.qkv(x).reshape(batch, length, 3, 2, 8).permute(2, 0, 3, 1, 4)
        query, key, value = self.rotate(heads[0]), self.rotate(heads[1]), heads[2]
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        merged: torch.Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, 16))
        return merged

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        places = torch.arange(x.shape[2], dtype=torch.float32)
        angles = torch.outer(places, 10000 ** (-torch.arange(4, dtype=torch.float32) / 4))
        low, high = x[..., :4], x[..., 4:]
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1)


class Tagger(nn.Module):
    """A tag for each word: embedding and a two-layer LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(60, 12, padding_idx=0)
        self.recurrent = nn.LSTM(12, 10, num_layers=2, batch_first=True, bidirectional=True)
        self.tags = nn.Linear(20, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.tags(self.recurrent(self.words(ids))[0])
        return scores


class TemporalConvolution(nn.Module):
    """Forecast by dilated causal convolutions over several series."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Conv1d(4 if rate == 1 else 8, 8, 3, dilation=rate) for rate in (1, 2, 4)]
        )
        self.forecast = nn.Linear(8, 6)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        for rate, layer in zip((1, 2, 4), self.layers, strict=True):
            padded = functional.pad(series, (2 * rate, 0))
            series = functional.leaky_relu(layer(padded), 0.1)
        forecast: torch.Tensor = self.forecast(series[..., -1])
        return forecast


class Forecaster(nn.Module):
    """N-BEATS: blocks that explain the past and predict the future by residuals."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 24 + 6)) for _ in range(3)]
        )

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        level = past.mean(1, keepdim=True)
        spread = past.std(1, keepdim=True) + 1e-5
        rest = (past - level) / spread
        future = torch.zeros(past.shape[0], 6)
        for block in self.blocks:
            back, ahead = block(rest).split([24, 6], dim=1)
            rest, future = rest - back, future + ahead
        return future * spread + level


class Recommender(nn.Module):
    """DLRM: dense features, embedded categories, all their products, a click probability."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Sequential(nn.Linear(5, 8), nn.ReLU())
        self.tables = nn.ModuleList([nn.Embedding(rows, 8) for rows in (20, 30, 40)])
        self.top = nn.Sequential(nn.Linear(8 + 6, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        dense = self.dense(numbers)
        embedded = [table(categories[:, i]) for i, table in enumerate(self.tables)]
        parts = torch.stack([dense, *embedded], 1)
        products = torch.bmm(parts, parts.transpose(1, 2))
        rows, columns = torch.tril_indices(4, 4, offset=-1)
        pairs = products[:, rows, columns]
        return torch.sigmoid(self.top(torch.cat([dense, pairs], 1)))


class TwoTowers(nn.Module):
    """Similarity of a user with items: histories averaged under a mask, unit vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Embedding(50, 12)
        self.user = nn.Sequential(nn.Linear(12, 12), nn.ELU(), nn.LayerNorm(12))

    def forward(self, history: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        known = (history > 0).unsqueeze(-1)
        total = torch.where(known, self.items(history), 0.0).sum(1)
        mean = total / known.sum(1).clamp(min=1)
        user = functional.normalize(self.user(mean), dim=1)
        items = functional.normalize(self.items(candidates), dim=2)
        return torch.einsum("bd,bnd->bn", user, items)
