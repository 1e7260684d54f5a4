"""Builds the end-to-end project once for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.support import REPO, Project, build_project


@pytest.fixture(scope="session")
def project() -> Project:
    """The built project, in TVMAKE_E2E_BUILD_DIR or in build/e2e of the repository."""
    folder = Path(os.environ.get("TVMAKE_E2E_BUILD_DIR", REPO / "build" / "e2e"))
    return build_project(folder.resolve())
