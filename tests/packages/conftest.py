"""Fixtures: the cache that all tests share, a copy of the repository, and tvmake as a wheel."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from packages.support import check, copy_repository, empty_environment, pip


@pytest.fixture(scope="session", autouse=True)
def cache() -> Path:
    """The cache folder: the caller's, so that a runtime is built once for all runs of the tests."""
    folder = Path(os.environ.get("TVMAKE_CACHE_DIR") or Path(tempfile.gettempdir(), "tvmake-cache"))
    os.environ["TVMAKE_CACHE_DIR"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as a git repository of its own, with one commit."""
    folder = copy_repository(tmp_path_factory.mktemp("clone") / "tvmake")
    who = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
    check("git", "init", "-q", "-b", "main", cwd=folder)
    check("git", "add", "-A", cwd=folder)
    check("git", *who, "commit", "-q", "-m", "snapshot", cwd=folder)
    return folder


@pytest.fixture(scope="session")
def wheelhouse(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of tvmake's own wheel."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    pip(sys.executable, "wheel", "--no-deps", "-w", folder, clone)
    return folder


@pytest.fixture(scope="session")
def tools(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that was empty before tvmake's wheel was installed into it."""
    python = empty_environment(tmp_path_factory.mktemp("tools") / "venv")
    pip(python, "install", "-q", "scikit-build-core>=1.0,<2", *wheelhouse.iterdir())
    return python
