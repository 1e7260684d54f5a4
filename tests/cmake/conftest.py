"""Fixtures: an empty project, small models, and tvmake's cache folder, which all tests share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from cmake_support.onnx_models import dense
from cmake_support.project import Project


@pytest.fixture(scope="session", autouse=True)
def cache() -> Path:
    """The cache folder: the caller's, so that a runtime is built once for all runs of the tests."""
    folder = Path(os.environ.get("TVMAKE_CACHE_DIR") or Path(tempfile.gettempdir(), "tvmake-cache"))
    os.environ["TVMAKE_CACHE_DIR"] = str(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project with a small model file `dense.onnx`."""
    folder = tmp_path / "project"
    folder.mkdir()
    dense(folder / "dense.onnx")
    return Project(folder)
