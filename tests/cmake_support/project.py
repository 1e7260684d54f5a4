"""Temporary CMake projects: written, configured, built and inspected."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
TVMAKE = ("CMakeLists.txt", "cmake", "cpp", "pyproject.toml", "python", "templates", "toolchains")
# All that a compilation makes and that must not depend on where or when.
ARTIFACTS = ("kernels.o", "weights.bin", "graph.json", "manifest.json")


@dataclass(frozen=True)
class Result:
    """How a command ended and all that it said."""

    code: int
    output: str

    def check(self) -> str:
        """The output of a command that must have succeeded."""
        assert self.code == 0, self.output
        return self.output

    def fails(self, *parts: str) -> None:
        """Check that the command failed and that its message has all of these parts."""
        assert self.code == 1, self.output
        message = " ".join(self.output.split())
        for part in parts:
            assert part in message, self.output


@dataclass(frozen=True)
class Project:
    """A project in a folder of its own, with its build tree beside."""

    folder: Path
    tvmake: Path = REPO
    build_name: str = "build"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def build_folder(self) -> Path:
        return self.folder / self.build_name

    def write(self, body: str, languages: str = "C CXX") -> None:
        """Write the CMakeLists.txt: a project that has tvmake, then `body`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.25)\n"
            f"project(sample LANGUAGES {languages})\n"
            "enable_testing()\n"
            f'include("{self.tvmake}/cmake/tvmake-config.cmake")\n'
            f"{body}\n",
            encoding="utf-8",
        )

    def configure(self, *options: str, generator: str = "Ninja") -> Result:
        if not any(option.startswith("-DTVMAKE_PYTHON=") for option in options):
            options = (f"-DTVMAKE_PYTHON={sys.executable}", *options)
        places = ("-S", self.folder, "-B", self.build_folder)
        return self.run("cmake", "-G", generator, *places, *options)

    def build(self, *arguments: str) -> Result:
        return self.run("cmake", "--build", self.build_folder, *arguments)

    def run(self, *command: str | Path) -> Result:
        return run(*command, environment=self.environment)

    def make(self, body: str, *options: str) -> str:
        """Write, configure and build; the output of the build."""
        self.write(body)
        self.configure(*options).check()
        return self.build().check()

    def model(self, name: str) -> Path:
        """The folder of a model's artifacts."""
        return self.build_folder / "tvmake" / name

    def json(self, name: str, file: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.model(name) / file).read_text("utf-8"))
        return content


def run(*command: str | Path, environment: dict[str, str] | None = None) -> Result:
    """Run a command to its end."""
    process = subprocess.run(
        [str(part) for part in command],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **(environment or {})},
        timeout=900,
    )
    return Result(process.returncode, process.stdout)


def copy_tvmake(folder: Path) -> Path:
    """A copy of tvmake that a test may change."""
    for name in TVMAKE:
        source = REPO / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
    return folder


def steps(output: str) -> list[str]:
    """What a build did: Ninja's step descriptions without their numbers."""
    lines = [line.split("] ", 1) for line in output.splitlines() if line.startswith("[")]
    return [line[1] for line in lines if len(line) == 2]


def exported(library: Path) -> list[str]:
    """The symbols that a shared library defines for others."""
    listing = run("nm", "-D", "--defined-only", library).check()
    return [line.split()[-1].split("@")[0] for line in listing.splitlines() if line.strip()]


def tree(folder: Path) -> dict[str, bytes]:
    """The compiled artifacts and rendered sources of a model's folder."""
    files = [folder / name for name in ARTIFACTS]
    files += sorted((folder / "include").iterdir()) + sorted((folder / "src").iterdir())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
