"""BERT encoders (Devlin et al., arXiv:1810.04805) and ViT-small (arXiv:2010.11929, 2012.12877)."""

from __future__ import annotations

import torch
from torch import nn

_HEADS = 12
_WORDS, _POSITIONS, _TYPES = 30522, 512, 2
_MASKED = -1e9  # takes a word out of the softmax
_INITIAL = 0.02  # BERT's standard deviation


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Map float[N,L,W]; the mask, float[N,1,1,L], is added to the scores."""
        n, length, width = x.shape
        shape = (n, length, self.heads, width // self.heads)
        q, k, v = (
            layer(x).reshape(shape).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        y = nn.functional.scaled_dot_product_attention(q, k, v, mask)
        z: torch.Tensor = self.output(y.transpose(1, 2).reshape(n, length, width))
        return z


class BertLayer(nn.Module):
    """Attention and a two-layer perceptron, each with a residual and a norm after it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = Attention(width, _HEADS)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.norm1, self.norm2 = (nn.LayerNorm(width, 1e-12) for _ in range(2))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map float[N,L,W]."""
        x = self.norm1(x + self.attention(x, mask))
        y: torch.Tensor = self.norm2(x + self.mlp(x))
        return y


class Bert(nn.Module):
    """Token ids, mask and types, int64[N,L], to hidden states float[N,L,W] and a pooled one."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(_WORDS, width)
        self.positions = nn.Embedding(_POSITIONS, width)
        self.types = nn.Embedding(_TYPES, width)
        self.norm = nn.LayerNorm(width, 1e-12)
        self.layers = nn.ModuleList(BertLayer(width) for _ in range(layers))
        self.pooler = nn.Linear(width, width)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode."""
        length = input_ids.shape[1]
        x = self.words(input_ids) + self.types(token_type_ids) + self.positions.weight[:length]
        x = self.norm(x)
        mask = (1 - attention_mask[:, None, None, :].to(x.dtype)) * _MASKED
        for layer in self.layers:
            x = layer(x, mask)
        return x, torch.tanh(self.pooler(x[:, 0]))


class VitLayer(nn.Module):
    """Norm before attention and before the perceptron, a residual around each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, 1e-6) for _ in range(2))
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float[N,L,W]."""
        x = x + self.attention(self.norm1(x))
        y: torch.Tensor = x + self.mlp(self.norm2(x))
        return y


class Vit(nn.Module):
    """float[N,3,224,224] -> float[N,1000], in patches of 16 by 16."""

    def __init__(self, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 197, width))
        self.layers = nn.Sequential(*(VitLayer(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width, 1e-6)
        self.head = nn.Linear(width, 1000)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Classify."""
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        y: torch.Tensor = self.head(self.norm(self.layers(x))[:, 0])
        return y


def bert(layers: int, width: int) -> nn.Module:
    """BERT-base: 12 layers, width 768; MiniLM-L6: 6 layers, width 384. Both have 12 heads."""
    return _initialized(Bert(layers, width))


def vit_small() -> nn.Module:
    """Twelve layers, width 384, six heads."""
    return _initialized(Vit(12, 384, 6))


def _initialized(model: nn.Module) -> nn.Module:
    """Random values for everything, offsets and factors of norms too."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_factor = ".norm" in f".{name}" and name.endswith("weight")
            spread = _INITIAL if parameter.ndim < 2 else max(_INITIAL, parameter.shape[-1] ** -0.5)
            parameter.normal_(1.0 if is_factor else 0.0, spread)
    return model
