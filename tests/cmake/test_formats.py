"""PyTorch and TFLite models through CMake: compiled, linked, and verified against their engines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from cmake_support.project import Project
from python import tflite_models, torch_models

BODY = """
tvmake_add_model(residual MODEL residual.pt2 VERIFY)
tvmake_add_model(image MODEL image.tflite VERIFY)
tvmake_add_model(batched MODEL batched.pt2 VERIFY) # any number of images
tvmake_add_model(whole MODEL whole.tflite WEIGHTS FILE VERIFY ATOL 1)
"""


def _pt2(path: Path, example: torch.Tensor, **options: Any) -> None:
    model = torch_models.seeded(torch_models.ResidualCnn())
    torch.export.save(torch.export.export(model, (example,), **options), path)


def test_models_of_other_formats_are_verified(project: Project) -> None:
    _pt2(project.folder / "residual.pt2", torch.zeros(1, 3, 16, 16))
    batch = torch.export.Dim("batch", max=16)
    shapes = ({0: batch},)
    _pt2(project.folder / "batched.pt2", torch.zeros(3, 3, 16, 16), dynamic_shapes=shapes)
    tflite_models.float_model(project.folder / "image.tflite")
    tflite_models.integer_model(project.folder / "whole.tflite")
    project.make(BODY)
    tests = project.run("ctest", "--test-dir", project.build_folder, "--output-on-failure").check()
    assert re.search(r"100% tests passed.* out of 4", tests)
