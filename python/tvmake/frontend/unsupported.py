"""What a user is told of operators that cannot be compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import defs

from tvmake.errors import UnsupportedError, nearest

TEXT_ADVICE = "prepare text in the program, so that the model begins at numbers"
_BY_OPERATOR = {
    **dict.fromkeys(
        (
            "Bernoulli",
            "Multinomial",
            "RandomNormal",
            "RandomNormalLike",
            "RandomUniform",
            "RandomUniformLike",
        ),
        "draw the random numbers in the program and give them to the model as an input",
    ),
    **dict.fromkeys(
        ("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"),
        TEXT_ADVICE,
    ),
    "Scan": "vm runs scans whose outputs have their first axis in front and in order",
    "ImageDecoder": "decode the image in the program: PREPROCESS takes its pixels",
}
_TRAINING = "ai.onnx.preview.training"
_CUT = "end the model before it with OUTPUTS, and do the rest in the program"


def unsupported_error(
    operators: Mapping[str, Sequence[str]], where: str, advice: Mapping[str, str]
) -> UnsupportedError:
    """All of a model's operators that cannot be compiled, in one error.

    Args:
        operators: names of the nodes by operator.
        where: the model file and, if it has one, its opset.
        advice: by operator, what to do about it.
    """
    listing = "; ".join(
        f"{operator} (node{'s' if len(names) > 1 else ''} {', '.join(names)})"
        for operator, names in sorted(operators.items())
    )
    by_advice: dict[str, list[str]] = {}
    for operator in sorted(operators):
        by_advice.setdefault(advice[operator], []).append(operator)
    return UnsupportedError(
        f"the model uses operators that tvmake does not support: {listing}",
        where=where,
        fix="; ".join(f"{', '.join(names)}: {text}" for text, names in by_advice.items()),
    )


def onnx_advice(operator: str, opset: int) -> str:
    """What to do about an operator.

    Args:
        operator: its name, with its domain unless that is ONNX's own.
        opset: version of its domain that the model asks for; 0 when it asks for none.
    """
    domain, _, name = operator.rpartition(".")
    if advice := _BY_OPERATOR.get(operator):
        return advice
    if domain == _TRAINING:
        return "export the model for inference"
    known = {schema.name for schema in defs.get_all_schemas() if schema.domain == domain}
    if not known:
        return "give the model a function of ONNX operators for it, which tvmake compiles"
    if name in known:
        return _CUT
    close = nearest(name, known)
    return f"opset {opset} has no such operator" + (f"; the nearest is {close}" if close else "")
