"""What is to be compiled: parsed and checked once, here, and frozen from then on."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmake.elements import ELEMENTS
from tvmake.errors import SpecError, did_you_mean
from tvmake.preprocess import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SCHEMA = 1
EXECUTORS = ("auto", "graph", "vm")
WEIGHTS = ("EMBED", "FILE")
GOALS = ("SPEED", "SIZE", "PRECISE")
DTYPES = (
    *("float16", "float32", "float64"),
    *("int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bool"),
    *ELEMENTS,
)

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_INPUT = re.compile(r"(?P<name>.+)=(?P<dtype>[A-Za-z][A-Za-z0-9_]*)\[(?P<dims>[^\[\]]*)\]\Z")
_SYMBOL = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*(?:<=\s*(?P<most>[0-9]+)\s*)?\Z")

# The value of an entry: a number, a boolean or a list, in JSON.
_VALUE = re.compile(r"=\s*(\[.*\]|[-+.0-9].*|true|false|NaN|Infinity)\s*\Z")


@dataclass(frozen=True)
class Bound:
    """The largest extent of a symbolic dimension: `N<=8`."""

    symbol: str
    most: int

    @staticmethod
    def parse(text: str) -> Bound | None:
        """Parse one entry; None when it is none."""
        match = _SYMBOL.match(text.strip())
        if not match or match["most"] is None or int(match["most"]) == 0:
            return None
        return Bound(match["name"], int(match["most"]))

    def __str__(self) -> str:
        return f"{self.symbol}<={self.most}"


@dataclass(frozen=True)
class InputSpec:
    """One `INPUTS name=dtype[d0,d1]` entry: fixes the shape of a model input.

    Attributes:
        shape: an extent for each dimension, or the name of a symbol that stands for it at run time.
        bounds: of the symbols, where the entry gives them.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    bounds: tuple[Bound, ...] = ()

    @staticmethod
    def parse(text: str) -> InputSpec:
        """Parse one entry.

        Raises:
            SpecError: when it is not of the form, or a dimension is neither a positive integer
                nor a symbol.
        """
        match = _INPUT.match(text)
        if not match:
            raise SpecError(
                f"cannot read INPUTS entry '{text}'",
                expected="name=dtype[d0,d1,…], for example x=float32[1,3,224,224]",
            )
        if match["dtype"] not in DTYPES:
            raise SpecError(
                f"INPUTS entry '{text}' has unknown element type '{match['dtype']}'",
                expected=" ".join(DTYPES),
                fix=did_you_mean(match["dtype"], DTYPES),
            )
        dims = [dim.strip() for dim in match["dims"].split(",")] if match["dims"].strip() else []
        shape: list[int | str] = []
        bounds = []
        for dim in dims:
            symbol = _SYMBOL.match(dim)
            if dim.isdecimal() and int(dim) > 0:
                shape.append(int(dim))
            elif symbol and (bound := Bound.parse(dim) or symbol["most"] is None):
                shape.append(symbol["name"])
                bounds += [bound] if isinstance(bound, Bound) else []
            else:
                raise SpecError(
                    f"INPUTS entry '{text}' has dimension '{dim}'",
                    expected="a positive integer for each dimension, or a symbol such as N or N<=8",
                )
        return InputSpec(match["name"], match["dtype"], tuple(shape), tuple(bounds))

    def __str__(self) -> str:
        return f"{self.name}={self.dtype}[{','.join(map(str, self.shape))}]"


def parse_inputs(texts: Iterable[str]) -> tuple[tuple[InputSpec, ...], tuple[Bound, ...]]:
    """The shapes `x=float32[N,3]` and the bounds of symbols `N<=8` among INPUTS entries.

    Raises:
        SpecError: when an entry is neither, nor a value.
    """
    entries = [text for text in texts if not InputValue.is_value(text)]
    bounds = [(text, Bound.parse(text)) for text in entries]
    return (
        tuple(InputSpec.parse(text) for text, bound in bounds if bound is None),
        tuple(bound for _, bound in bounds if bound),
    )


@dataclass(frozen=True)
class InputValue:
    """One `INPUTS name=<value>` entry: compiles a model input in as a constant.

    Attributes:
        value: numbers or booleans, nested in tuples; the model has the element type.
    """

    name: str
    value: Any

    @staticmethod
    def parse(text: str) -> InputValue:
        """Parse one entry, whose value is JSON: `axes=[0,1]`, `k=3`, `flag=true`.

        Raises:
            SpecError: when it is not of the form.
        """
        name, _, value = text.partition("=")
        try:
            return InputValue(name, _frozen(json.loads(value)))
        except ValueError as error:
            raise SpecError(
                f"cannot read INPUTS entry '{text}'",
                expected="name=dtype[d0,d1,…], for example x=float32[1,3,224,224], or name=value, "
                "for example axes=[0,1]",
            ) from error

    @staticmethod
    def of(name: str, array: Any) -> InputValue:
        """The entry that binds an input to the values of an array."""
        return InputValue(name, _frozen(array.tolist()))

    @staticmethod
    def is_value(text: str) -> bool:
        """Whether an INPUTS entry has a value, not an element type and a shape."""
        return bool(_VALUE.search(text)) and not _INPUT.match(text) and not Bound.parse(text)

    def __str__(self) -> str:
        return f"{self.name}={json.dumps(self.value)}"


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    if isinstance(value, bool | int | float):
        return value
    raise ValueError("neither a number nor a boolean")


@dataclass(frozen=True)
class TargetSpec:
    """The machine to compile for, in LLVM's words. An empty CPU means the triple's baseline."""

    triple: str
    cpu: str = ""
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelSpec:
    """One request to compile one model.

    Attributes:
        executor: "graph" for static shapes, "vm" for shapes that are known at run time only, "auto"
            for "vm" where the model has such shapes and "graph" where it has none.
        bounds: of symbolic dimensions, where they stand as entries of their own.
    """

    name: str
    model: Path
    target: TargetSpec
    inputs: tuple[InputSpec, ...] = ()
    values: tuple[InputValue, ...] = ()
    outputs: tuple[str, ...] = ()
    executor: str = "auto"
    weights: str = "EMBED"
    optimize: str = "SPEED"
    namespace: str = field(default="")
    preprocess: tuple[Image, ...] = ()
    bounds: tuple[Bound, ...] = ()

    def __post_init__(self) -> None:
        for label, value in (("model name", self.name), ("namespace", self.namespace or self.name)):
            parts = value.split("::") if label == "namespace" else [value]
            if not all(_IDENTIFIER.match(part) for part in parts):
                raise SpecError(f"the {label} '{value}' is not a valid C++ identifier")
        if not self.target.triple:
            raise SpecError("the target has no triple", expected="for example x86_64-linux-gnu")
        _check_choice("EXECUTOR", self.executor, EXECUTORS)
        _check_choice("WEIGHTS", self.weights, WEIGHTS)
        _check_choice("OPTIMIZE", self.optimize, GOALS)
        names = [entry.name for entry in self.inputs] + [entry.name for entry in self.values]
        for name in names:
            if names.count(name) > 1:
                raise SpecError(f"INPUTS names '{name}' more than once")
        images = [image.name for image in self.preprocess]
        for name in images:
            if images.count(name) > 1:
                raise SpecError(f"PREPROCESS names '{name}' more than once")
        self.symbol_bounds()
        symbolic = [entry for entry in self.inputs if any(isinstance(d, str) for d in entry.shape)]
        if self.executor == "graph" and (symbolic or self.bounds):
            raise SpecError(
                f"INPUTS entry '{[*symbolic, *self.bounds][0]}' has a symbolic dimension, but "
                "EXECUTOR is 'graph'",
                expected="numbers",
                fix="EXECUTOR vm, or leave EXECUTOR out",
            )

    def symbol_bounds(self) -> dict[str, int]:
        """The bound of each symbol that has one.

        Raises:
            SpecError: when two entries contradict each other.
        """
        most: dict[str, int] = {}
        for bound in (*self.bounds, *(b for entry in self.inputs for b in entry.bounds)):
            if most.setdefault(bound.symbol, bound.most) != bound.most:
                raise SpecError(
                    f"INPUTS bounds '{bound.symbol}' by {most[bound.symbol]} and by {bound.most}",
                    expected="one bound for each symbol",
                )
        return most

    @staticmethod
    def from_options(
        model: Path,
        *,
        name: str | None,
        target: TargetSpec,
        inputs: Sequence[str],
        outputs: Sequence[str],
        weights: str,
        preprocess: Sequence[str] = (),
        optimize: str = "SPEED",
        executor: str = "auto",
    ) -> ModelSpec:
        """A request from the command line. The name defaults to the file's."""
        shapes, bounds = parse_inputs(inputs)
        return ModelSpec(
            name=name or re.sub(r"[^A-Za-z0-9_]", "_", model.stem),
            model=model.absolute(),
            target=target,
            inputs=shapes,
            values=_values(inputs),
            outputs=tuple(outputs),
            executor=executor,
            weights=weights,
            preprocess=tuple(map(Image.parse, preprocess)),
            optimize=optimize,
            bounds=bounds,
        )


def load_spec(path: Path) -> ModelSpec:
    """Read a spec.json.

    Raises:
        SpecError: when the file is missing, is not JSON, or has unknown, missing or wrong entries.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"cannot read the spec: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise SpecError(f"the spec is not valid JSON: {error}", where=str(path)) from error
    try:
        return _from_json(data)
    except SpecError as error:
        raise SpecError(
            error.what, where=error.where or str(path), expected=error.expected, fix=error.fix
        ) from error


def _from_json(data: Any) -> ModelSpec:
    known = {entry.name for entry in fields(ModelSpec)} - {"values", "bounds"} | {"schema"}
    if not isinstance(data, dict):
        raise SpecError("the spec is not a JSON object")
    if data.get("schema") != SCHEMA:
        raise SpecError(f"the spec has schema {data.get('schema')!r}", expected=f"schema {SCHEMA}")
    for key in data:
        if key not in known:
            raise SpecError(f"unknown entry '{key}' in the spec", fix=did_you_mean(key, known))
    for key in ("name", "model", "target"):
        if not data.get(key):
            raise SpecError(f"the spec lacks '{key}'")
    target = data["target"]
    shapes, bounds = parse_inputs(data.get("inputs", ()))
    return ModelSpec(
        name=data["name"],
        model=Path(data["model"]),
        target=TargetSpec(
            target["triple"], target.get("cpu", ""), tuple(target.get("features", ()))
        ),
        inputs=shapes,
        values=_values(data.get("inputs", ())),
        outputs=tuple(data.get("outputs", ())),
        executor=data.get("executor") or "auto",
        weights=data.get("weights", "EMBED"),
        optimize=data.get("optimize", "SPEED"),
        namespace=data.get("namespace", ""),
        preprocess=tuple(map(Image.parse, data.get("preprocess", ()))),
        bounds=bounds,
    )


def _values(entries: Iterable[str]) -> tuple[InputValue, ...]:
    return tuple(InputValue.parse(text) for text in entries if InputValue.is_value(text))


def _check_choice(label: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SpecError(
            f"{label} is '{value}'",
            expected=" or ".join(choices),
            fix=did_you_mean(value, choices),
        )
