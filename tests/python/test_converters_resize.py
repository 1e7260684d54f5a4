"""Resize and Upsample against onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from python.converter_cases import Cases, random

if TYPE_CHECKING:
    from pathlib import Path

COORDINATES = (
    *("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"),
    "half_pixel_symmetric",
)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_coordinates(tmp_path: Path, mode: str) -> None:
    cases = Cases()
    x = cases.input(random(1, 2, 8, 6))
    for scale in ((1.5, 2.0), (0.5, 0.5), (3.0, 1.5)):
        scales = cases.weight([1, 1, *scale])
        for coordinates in COORDINATES:
            rules: dict[str, Any] = {"coordinate_transformation_mode": coordinates, "mode": mode}
            if mode == "nearest":
                rules["nearest_mode"] = ("floor", "ceil", "round_prefer_ceil")[len(cases.nodes) % 3]
            cases.add("Resize", f"{x} _ {scales}", tolerance=2e-6, **rules)
    cases.check(tmp_path)


def test_options(tmp_path: Path) -> None:
    cases = Cases()
    x = cases.input(random(1, 2, 9, 8))
    scales, sizes = cases.weight([1, 1, 0.6, 0.5]), cases.weight([1, 2, 5, 13], "int64")
    roi = cases.weight([0, 0, 0.2, -0.3, 1, 1, 0.9, 1.2])
    region: dict[str, Any] = {
        "coordinate_transformation_mode": "tf_crop_and_resize",
        "extrapolation_value": 7.0,
    }
    cases.add("Resize", f"{x} {roi} _ {sizes}", mode="linear", tolerance=2e-6, **region)
    cases.add("Resize", f"{x} _ _ {sizes}", mode="cubic", tolerance=2e-6, exclude_outside=1)
    cases.add("Resize", f"{x} _ {scales}", mode="cubic", tolerance=2e-6, cubic_coeff_a=-0.5)
    two = cases.weight([6, 4], "int64")
    for policy in ("not_larger", "not_smaller"):
        cases.add(
            "Resize",
            f"{x} _ _ {two}",
            mode="linear",
            tolerance=2e-6,
            axes=[2, 3],
            keep_aspect_ratio_policy=policy,
        )
    cases.add("Resize", f"{x} _ {scales}", mode="linear", tolerance=2e-6, antialias=1)
    volume = cases.input(random(1, 1, 3, 4, 5))
    cases.add(
        "Resize", f"{volume} _ {cases.weight([1, 1, 2, 1.5, 3])}", mode="linear", tolerance=2e-6
    )
    cases.check(tmp_path)


def test_upsample(tmp_path: Path) -> None:
    cases = Cases(opset=9)
    x, scales = cases.input(random(1, 2, 3, 4)), cases.weight([1, 1, 2, 3])
    for mode in ("nearest", "linear"):
        cases.add("Upsample", f"{x} {scales}", mode=mode, tolerance=2e-6)
    cases.check(tmp_path)
