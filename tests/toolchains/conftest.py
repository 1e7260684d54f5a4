"""Fixtures: tvmake's cache folder, which all tests share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache() -> Path:
    """The cache folder: the caller's, so that a target's runtime is built once for all tests."""
    folder = Path(os.environ.get("TVMAKE_CACHE_DIR") or Path(tempfile.gettempdir(), "tvmake-cache"))
    os.environ["TVMAKE_CACHE_DIR"] = str(folder)
    return folder
