"""Which networks there are, what they take, and where their definitions are. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Family = Literal["convolutional", "transformer", "small", "layers"]

LIGHT = (
    *("bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50"),
    *("shufflenet", "squeezenet", "vgg19", "zfnet512"),
)


@dataclass(frozen=True)
class Input:
    """One input. Integers are drawn from 0 … below-1; a mask (below 2) is all ones."""

    name: str
    shape: tuple[int, ...]  # without the batch
    below: int = 0  # 0: float32, standard normal


@dataclass(frozen=True)
class Network:
    """A network of the comparison.

    Attributes:
        module: submodule of this package that defines it; "light" and "digits" are files.
        arguments: for the function of the network's definition.
        is_precise: by no algorithm with fewer multiplications.
    """

    name: str
    family: Family
    module: str
    function: str
    arguments: tuple[tuple[str, Any], ...]
    inputs: tuple[Input, ...]
    batch: int = 1
    is_precise: bool = False


def _picture(size: int) -> tuple[Input, ...]:
    return (Input("image", (3, size, size)),)


def _tokens(length: int) -> tuple[Input, ...]:
    return (
        Input("input_ids", (length,), 30522),
        Input("attention_mask", (length,), 2),
        Input("token_type_ids", (length,), 2),
    )


def _torch(
    name: str,
    family: Family,
    function: str,
    inputs: tuple[Input, ...],
    batch: int = 1,
    **arguments: Any,
) -> Network:
    module, _, function = function.partition(".")
    return Network(name, family, module, function, tuple(arguments.items()), inputs, batch)


_NETWORKS = (
    *(Network(name, "convolutional", "light", name, (), _picture(224)) for name in LIGHT),
    _torch("mobilenet_v2", "convolutional", "mobile.mobilenet_v2", _picture(224)),
    _torch("mobilenet_v3_large", "convolutional", "mobile.mobilenet_v3_large", _picture(224)),
    _torch("efficientnet_b0", "convolutional", "mobile.efficientnet_b0", _picture(224)),
    _torch("unet", "convolutional", "unet.unet", _picture(256)),
    _torch("yolo", "convolutional", "yolo.yolo_v8n", _picture(640)),
    _torch("ds_cnn", "small", "keyword_spotting.ds_cnn", (Input("features", (1, 49, 10)),)),
    Network("digits", "small", "digits", "digits", (), (Input("image", (1, 8, 8)),)),
    _torch("bert_base", "transformer", "transformers.bert", _tokens(128), layers=12, width=768),
    _torch("minilm_32", "transformer", "transformers.bert", _tokens(32), layers=6, width=384),
    _torch("minilm_128", "transformer", "transformers.bert", _tokens(128), layers=6, width=384),
    _torch("vit_small", "transformer", "transformers.vit_small", _picture(224)),
    Network("resnet50_x8", "convolutional", "light", "resnet50", (), _picture(224), 8),
    _torch("mobilenet_v2_x8", "convolutional", "mobile.mobilenet_v2", _picture(224), 8),
    _torch("minilm_32_x8", "transformer", "transformers.bert", _tokens(32), 8, layers=6, width=384),
)
NETWORKS = {network.name: network for network in _NETWORKS}

# Layers with enough to calculate, to be held against the machine's peak one by one.
_LAYERS = (
    Network(
        *("large_convolutions", "layers", "large_layers", "convolutions", ()),
        (Input("image", (256, 56, 56)),),
        is_precise=True,
    ),
    Network(
        *("large_products", "layers", "large_layers", "products", ()),
        (Input("rows", (1024, 512)),),
        is_precise=True,
    ),
)
LAYERS = {network.name: network for network in _LAYERS}

# A few minutes instead of an hour, and one of every kind.
QUICK = ("resnet50", "squeezenet", "mobilenet_v2", "shufflenet", "ds_cnn", "digits", "minilm_32")


def select(names: Sequence[str]) -> list[Network]:
    """The networks with these names."""
    known = {**NETWORKS, **LAYERS}
    return [known[name] for name in names]
