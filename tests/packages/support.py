"""What the tests of the ways in share: commands, environments, a consumer of installed models."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
DIGITS = REPO / "examples" / "digits"


@dataclass(frozen=True)
class Result:
    """How a command ended and all that it said."""

    code: int
    output: str

    def fails(self, *parts: str) -> None:
        """Check that the command failed and that its message has all of these parts."""
        assert self.code != 0, self.output
        message = " ".join(self.output.split())
        for part in parts:
            assert part in message, self.output


def run(
    *command: str | Path, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> Result:
    """Run a command to its end."""
    process = subprocess.run(
        [str(part) for part in command],
        check=False,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=900,
    )
    return Result(process.returncode, process.stdout)


def check(
    *command: str | Path, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> str:
    """What a command says that must succeed."""
    result = run(*command, cwd=cwd, environment=environment)
    assert result.code == 0, result.output[-20000:]
    return result.output


def cmake(source: Path, build: Path, *options: str) -> Result:
    """Configure a project."""
    return run(
        "cmake", "-GNinja", "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release", *options
    )


def build_project(source: Path, build: Path, *options: str) -> Path:
    """Configure and build a project."""
    result = cmake(source, build, *options)
    assert result.code == 0, result.output
    check("cmake", "--build", build)
    return build


def own_python() -> str:
    """The option that spares a build the search for a Python."""
    return f"-DTVMAKE_PYTHON={sys.executable}"


def empty_environment(folder: Path, python: Path | str = sys.executable) -> Path:
    """A new virtual environment without pip; its Python."""
    check(python, "-m", "venv", "--without-pip", folder)
    return folder / "bin" / "python"


def pip(
    python: Path | str, *arguments: str | Path, environment: dict[str, str] | None = None
) -> str:
    """Run pip for a Python, which need not have it."""
    quiet = ("--disable-pip-version-check", "--no-input")
    command = (sys.executable, "-m", "pip", "--python", python, *arguments, *quiet)
    # Each Python names the compiler that it was built with; so all share one runtime in the cache.
    compilers = {"CC": "cc", "CXX": "c++"}
    return check(*command, environment={**compilers, **(environment or {})})


def copy_repository(folder: Path) -> Path:
    """A copy of the files that git knows or would add."""
    listing = check("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=REPO)
    for name in filter(None, listing.split("\0")):
        if (REPO / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, folder / name)
    return folder


def needed(image: Path) -> set[str]:
    """The shared libraries that a program or library asks for, without the toolchain's own."""
    lines = check("readelf", "-d", image).splitlines()
    names = {line.split("[")[1].rstrip("]") for line in lines if "(NEEDED)" in line}
    own = ("libc.so", "libm.so", "libstdc++.so", "libgcc_s.so", "ld-linux")
    return {name for name in names if not name.startswith(own)}
