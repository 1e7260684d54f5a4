"""`PREPROCESS x=image(…)`: the usual steps from a camera's bytes to a model's input.

What a step means is said here in NumPy, in float64; `optimize/image.py` compiles the same steps
into the model. Resizing is that of Pillow ("bilinear", "bicubic", "box", "nearest"), which averages
over all pixels when it makes an image smaller, or OpenCV's INTER_LINEAR ("linear"), which does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmake.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

LAYOUTS = ("HWC", "CHW", "NHWC", "NCHW")
DTYPES = ("uint8", "uint16", "float32")
_CHANNELS = (1, 3, 4)
_EXAMPLE = "x=image(uint8, HWC, size=480x640, scale=1/255, mean=0.5 0.5 0.5, std=0.2 0.2 0.2)"
_TEXT = re.compile(r"(?P<name>.+?)=image\((?P<items>.*)\)\Z", re.DOTALL)


@dataclass(frozen=True)
class Image:
    """How an image becomes the input `name`: ((pixel · scale) - mean) / std, per channel.

    Attributes:
        dtype: element type of the image that the caller hands over.
        layout: order of its dimensions; without N the batch is 1 and has no dimension.
        size: its height and width; None for those of the model's input.
        resize: how it is brought to the model's height and width.
        scale: factor of every pixel.
        mean: for each channel, or for all, or empty for zero.
        std: for each channel, or for all, or empty for one.
        swap: whether red and blue change places (OpenCV's BGR for a model that wants RGB).
        text: the entry that says all this.
    """

    name: str
    dtype: str = "uint8"
    layout: str = "HWC"
    size: tuple[int, int] | None = None
    resize: str = "bilinear"
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    swap: bool = False
    text: str = ""

    @staticmethod
    def parse(text: str) -> Image:
        """Parse one PREPROCESS entry.

        Raises:
            SpecError: when it is not of the form, or a step is unknown or contradictory.
        """
        match = _TEXT.match(text.strip())
        if not match:
            raise SpecError(f"cannot read PREPROCESS entry '{text}'", expected=_EXAMPLE)
        image = Image(match["name"].strip(), text=text.strip())
        given = set[str]()
        for item in filter(None, (item.strip() for item in match["items"].split(","))):
            step, values = _step(item, text)
            if step in given:
                raise SpecError(f"PREPROCESS entry '{text}' gives '{step}' twice")
            given.add(step)
            image = replace(image, **values)
        return image

    def source_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape that the caller's image has, for a model's input of a shape.

        Raises:
            SpecError: when the input is no batch of images, or the batch has no place.
        """
        batch, channels, height, width = self._model_sizes(shape)
        height, width = self.size or (height, width)
        sizes = {"N": batch, "C": channels, "H": height, "W": width}
        if "N" not in self.layout and batch != 1:
            raise SpecError(
                f"PREPROCESS of '{self.name}' takes one image, but the model takes {batch}",
                fix=f"write N{self.layout} in place of {self.layout}",
            )
        for label, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, 1, channels):
                raise SpecError(
                    f"PREPROCESS of '{self.name}' has {len(values)} values for {label}",
                    expected=f"one, or one for each of the {channels} channels",
                )
        if self.swap and channels < 3:
            raise SpecError(f"PREPROCESS swaps channels of '{self.name}', which has {channels}")
        return tuple(sizes[axis] for axis in self.layout)

    def model_layout(self, shape: Sequence[int]) -> str:
        """NCHW or NHWC, told by where a number of channels stands.

        Raises:
            SpecError: when it is neither, or could be both.
        """
        found = [
            layout
            for layout in ("NCHW", "NHWC")
            if len(shape) == 4 and shape[layout.index("C")] in _CHANNELS
        ]
        if len(found) != 1:
            raise SpecError(
                f"PREPROCESS of '{self.name}': its shape {list(shape)} is not that of images",
                expected="[N,C,H,W] or [N,H,W,C] with 1, 3 or 4 channels",
            )
        return found[0]

    def per_channel(self, channels: int) -> tuple[Array, Array]:
        """Factor and offset of each channel: model input = factor · pixel + offset. float64."""
        mean = np.broadcast_to(np.array(self.mean or (0.0,)), (channels,))
        std = np.broadcast_to(np.array(self.std or (1.0,)), (channels,))
        return self.scale / std, -mean / std

    def apply(self, image: Array, shape: Sequence[int]) -> Array:
        """What the model's input of a shape is for an image. float64; rounding is the caller's."""
        batch, channels, height, width = self._model_sizes(shape)
        layout = self.layout if "N" in self.layout else "N" + self.layout
        pixels = image.astype("float64").reshape(
            [dict(zip(self.layout, image.shape, strict=True)).get(axis, batch) for axis in layout]
        )
        pixels = pixels.transpose([layout.index(axis) for axis in "NHWC"])
        rows = dense(taps(pixels.shape[1], height, self.resize), pixels.shape[1])
        columns = dense(taps(pixels.shape[2], width, self.resize), pixels.shape[2])
        pixels = np.einsum("yh,nhwc,xw->nyxc", rows, pixels, columns, optimize=True)
        if self.swap:
            pixels = pixels[..., swapped(channels)]
        factor, offset = self.per_channel(channels)
        result: Array = pixels * factor + offset
        moved: Array = result.transpose(["NHWC".index(axis) for axis in self.model_layout(shape)])
        return moved

    def _model_sizes(self, shape: Sequence[int]) -> tuple[int, int, int, int]:
        sizes = dict(zip(self.model_layout(shape), shape, strict=True))
        return sizes["N"], sizes["C"], sizes["H"], sizes["W"]


@dataclass(frozen=True)
class PreparedInput:
    """An input of the model file, and the PREPROCESS entry that makes it."""

    input: str
    steps: str
    dtype: str
    shape: tuple[int, ...]


def swapped(channels: int) -> list[int]:
    """The order of channels with red and blue exchanged; alpha stays."""
    return [2, 1, 0, *range(3, channels)]


def taps(source: int, target: int, method: str) -> tuple[Array, Array]:
    """Which pixels of a line of `source` make each of `target`, and with what weight.

    Returns:
        The first pixel of each, int32 [target], and the weights from there on, float64
        [target, taps]. Every pixel that they name lies in the line.
    """
    support, kernel = _FILTERS[method]
    ratio = source / target
    widening = max(ratio, 1.0) if method != "linear" else 1.0
    reach = support * widening
    first, weights = [], []
    for index in range(target):
        center = (index + 0.5) * ratio
        if method == "nearest":
            begin, end = int(center), int(center) + 1
        else:
            begin = max(0, int(center - reach + 0.5))
            end = min(source, int(center + reach + 0.5))
            if end <= begin:  # a box that lies between two pixels
                begin = min(int(center), source - 1)
                end = begin + 1
        values = [kernel((pixel + 0.5 - center) / widening) for pixel in range(begin, end)]
        total = sum(values)
        first.append(begin)
        weights.append([value / total for value in values] if total else [1.0] * len(values))
    count = max(map(len, weights))
    starts = np.minimum(np.array(first), source - count) if source >= count else np.array(first)
    table = np.zeros((target, count))
    for row, (begin, start, values) in enumerate(zip(first, starts, weights, strict=True)):
        table[row, begin - start : begin - start + len(values)] = values
    return starts.astype("int32"), table


def dense(line: tuple[Array, Array], source: int) -> Array:
    """Taps as a matrix [target, source]."""
    starts, weights = line
    matrix = np.zeros((len(starts), source))
    for row, (start, values) in enumerate(zip(starts, weights, strict=True)):
        matrix[row, start : start + len(values)] = values
    return matrix


def _triangle(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def _box(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _cubic(x: float) -> float:
    """Keys' kernel with a = -1/2, as in Pillow."""
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0


_FILTERS: dict[str, tuple[float, Callable[[float], float]]] = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, _cubic),
    "box": (0.5, _box),
    "linear": (1.0, _triangle),
    "nearest": (0.5, lambda _: 1.0),
}


def _step(item: str, text: str) -> tuple[str, dict[str, Any]]:
    """One item of an entry: its name, and the fields that it sets."""
    key, separator, value = (part.strip() for part in item.partition("="))
    if not separator:
        if key in DTYPES:
            return "element type", {"dtype": key}
        if key in LAYOUTS:
            return "layout", {"layout": key}
        if key == "swap":
            return key, {"swap": True}
        known = (*DTYPES, *LAYOUTS, "swap", *(f"{name}=" for name in _VALUES))
        raise _unknown(text, f"'{key}'", key, known)
    if key not in _VALUES:
        raise _unknown(text, f"'{key}='", key, tuple(_VALUES))
    try:
        return key, {key: _VALUES[key](value)}
    except (ValueError, ZeroDivisionError, KeyError) as error:
        raise SpecError(
            f"PREPROCESS entry '{text}' has {key}={value}", expected=_EXPECTED[key]
        ) from error


def _unknown(text: str, what: str, key: str, known: Sequence[str]) -> SpecError:
    return SpecError(
        f"PREPROCESS entry '{text}' has {what}, which is no step",
        expected=" ".join(known),
        fix=did_you_mean(key, known),
    )


def _size(value: str) -> tuple[int, int]:
    height, width = (int(part) for part in value.split("x"))
    if height < 1 or width < 1:
        raise ValueError(value)
    return height, width


def _method(value: str) -> str:
    _FILTERS[value]
    return value


def _number(value: str) -> float:
    number = float(Fraction(value.replace(" ", "")))
    if not np.isfinite(number):
        raise ValueError(value)
    return number


def _numbers(value: str) -> tuple[float, ...]:
    numbers = tuple(_number(part) for part in value.split())
    if not numbers:
        raise ValueError(value)
    return numbers


def _divisors(value: str) -> tuple[float, ...]:
    numbers = _numbers(value)
    if 0.0 in numbers:
        raise ValueError(value)
    return numbers


_VALUES: dict[str, Callable[[str], Any]] = {
    "size": _size,
    "resize": _method,
    "scale": _number,
    "mean": _numbers,
    "std": _divisors,
}
_EXPECTED = {
    "size": "height and width of the image, for example size=480x640",
    "resize": " or ".join(_FILTERS),
    "scale": "a number or a fraction, for example scale=1/255",
    "mean": "one number, or one for each channel, for example mean=0.485 0.456 0.406",
    "std": "one number other than 0, or one for each channel, for example std=0.229 0.224 0.225",
}
