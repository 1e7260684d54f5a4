"""The Python environment and the build tools: found, made once, shared, named if missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from cmake_support.project import REPO, Project, copy_tvmake, run

MAKING = "making a private Python environment"
PROJECT = """[project]
name = "tvmake"
dependencies = ["tvmake-sample-package>=1.2,<2"]
[project.optional-dependencies]
test = ["tvmake-sample-extra==3.0"]
"""


@dataclass(frozen=True)
class Sandbox:
    """A copy of tvmake that wants two tiny packages, and an index that has them."""

    folder: Path
    tvmake: Path
    environment: dict[str, str]

    def project(self, name: str = "project") -> Project:
        project = Project(self.folder / name, self.tvmake, environment=self.environment)
        project.write(
            "_tvmake_python(python)\n_tvmake_clean_environment(clean)\n"
            'execute_process(COMMAND ${clean} "${python}" -c "import sample_package"'
            " RESULT_VARIABLE result)\n"
            'message(STATUS "import: ${result}; python: ${python}")',
            languages="NONE",
        )
        return project

    def configure(self, name: str = "project", *options: str) -> str:
        return self.project(name).configure("-DTVMAKE_PYTHON=", *options).check()

    @property
    def environments(self) -> list[Path]:
        folder = Path(self.environment["TVMAKE_CACHE_DIR"]) / "python"
        return sorted(path for path in folder.iterdir() if path.is_dir())


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    tvmake = copy_tvmake(tmp_path / "tvmake")
    (tvmake / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    _wheel(wheels, "tvmake_sample_package", "1.3", "sample_package")
    _wheel(wheels, "tvmake_sample_package", "1.1", "sample_package")
    _wheel(wheels, "tvmake_sample_extra", "3.0", "sample_extra")
    environment = {
        "TVMAKE_CACHE_DIR": str(tmp_path / "cache"),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "VIRTUAL_ENV": "",
    }
    return Sandbox(tmp_path, tvmake, environment)


def _wheel(folder: Path, name: str, version: str, module: str) -> None:
    info = f"{name}-{version}.dist-info"
    files = {
        f"{module}.py": f'version = "{version}"\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in files)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)


def _install(sandbox: Sandbox, python: Path, requirement: str) -> None:
    command = (python, "-m", "pip", "install", "-q", requirement)
    run(*command, environment=sandbox.environment).check()


def test_private_environment_is_made_once_and_shared(sandbox: Sandbox) -> None:
    first = sandbox.configure("first")
    assert MAKING in first
    assert "import: 0;" in first
    again = sandbox.configure("first")
    second = sandbox.configure("second")
    for said in (again, second):
        assert MAKING not in said
        assert "import: 0;" in said
    assert len(sandbox.environments) == 1


def test_other_extras_are_another_environment(sandbox: Sandbox) -> None:
    sandbox.configure("first")
    assert MAKING in sandbox.configure("second", "-DTVMAKE_EXTRAS=test")
    assert len(sandbox.environments) == 2
    sandbox.project("third").configure("-DTVMAKE_PYTHON=", "-DTVMAKE_EXTRAS=tests").fails(
        "unknown extra 'tests', expected one of test"
    )


def test_a_format_brings_its_requirements(sandbox: Sandbox) -> None:
    project = sandbox.project()
    project.write(
        "_tvmake_python(before)\n_tvmake_require_extra(test)\n_tvmake_python(python)\n"
        'execute_process(COMMAND "${before}" -c "import sample_extra" RESULT_VARIABLE first\n'
        "  ERROR_QUIET)\n"
        'execute_process(COMMAND "${python}" -c "import sample_extra" RESULT_VARIABLE second)\n'
        'message(STATUS "before: ${first}, after: ${second}")',
        languages="NONE",
    )
    assert "before: 1, after: 0" in project.configure("-DTVMAKE_PYTHON=").check()
    assert len(sandbox.environments) == 2


def test_two_configure_runs_at_once(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(sandbox.configure, ("first", "second", "third")))
    assert all("import: 0;" in text for text in said)
    assert sum(MAKING in text for text in said) == 1
    assert len(sandbox.environments) == 1


@pytest.mark.parametrize("damage", ["unfinished", "package lost", "python lost"])
def test_damaged_environment_is_made_again(sandbox: Sandbox, damage: str) -> None:
    sandbox.configure()
    (environment,) = sandbox.environments
    if damage == "unfinished":  # as a killed run leaves it
        (environment / ".complete").unlink()
        (environment / "bin" / "pip").unlink()
    elif damage == "package lost":
        for path in environment.rglob("tvmake_sample_package-*"):
            shutil.rmtree(path)
    else:
        (environment / "bin" / "python").unlink()
    said = sandbox.configure()
    assert MAKING in said
    assert "import: 0;" in said
    assert (environment / "bin" / "pip").exists()


def test_active_environment_is_used_but_never_changed(sandbox: Sandbox) -> None:
    active = sandbox.folder / "active"
    run(sys.executable, "-m", "venv", active).check()
    before = sorted(active.rglob("*"))
    sandbox.environment["VIRTUAL_ENV"] = str(active)
    said = sandbox.configure("first")  # it lacks the package
    assert MAKING in said
    assert f"python: {active}" not in said
    assert [p for p in sorted(active.rglob("*")) if "__pycache__" not in str(p)] == [
        p for p in before if "__pycache__" not in str(p)
    ]
    _install(sandbox, active / "bin" / "python", "tvmake-sample-package")
    said = sandbox.configure("second")
    assert MAKING not in said
    assert f"import: 0; python: {active}/bin/python" in said


def test_chosen_python_must_have_the_requirements(sandbox: Sandbox) -> None:
    chosen = sandbox.folder / "chosen"
    run(sys.executable, "-m", "venv", chosen).check()
    python = chosen / "bin" / "python"
    project = sandbox.project()
    project.configure(f"-DTVMAKE_PYTHON={python}").fails(
        "lacks tvmake-sample-package>=1.2,<2",
        f"fix: {python} -m pip install 'tvmake-sample-package>=1.2,<2'",
    )
    _install(sandbox, python, "tvmake-sample-package==1.1")
    project.configure(f"-DTVMAKE_PYTHON={python}").fails("lacks tvmake-sample-package>=1.2,<2")
    _install(sandbox, python, "tvmake-sample-package>=1.2,<2")
    project.configure(f"-DTVMAKE_PYTHON={python}").check()


def test_chosen_python_must_exist(sandbox: Sandbox) -> None:
    sandbox.project().configure("-DTVMAKE_PYTHON=/nowhere/python").fails(
        "TVMAKE_PYTHON '/nowhere/python' does not work", "fix: correct TVMAKE_PYTHON"
    )


def _fake_python(folder: Path, script: str) -> Path:
    """A `python3` in front of the real one."""
    folder.mkdir()
    python = folder / "python3"
    python.write_text(f'#!/bin/sh\n{script}\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return python


def test_missing_venv_package_is_named(sandbox: Sandbox) -> None:
    python = _fake_python(
        sandbox.folder / "bin",
        'if [ "$1 $2" = "-m venv" ]; then echo "ensurepip is not available" >&2; exit 1; fi',
    )
    project = sandbox.project()
    project.configure("-DTVMAKE_PYTHON=", f"-DPython3_EXECUTABLE={python}").fails(
        "-m venv' failed", "ensurepip is not available", "fix: apt-get install python3-venv"
    )
    assert sandbox.environments == []
    assert "import: 0;" in sandbox.configure("with venv")


def test_package_index_out_of_reach_is_explained(sandbox: Sandbox) -> None:
    for wheel in (sandbox.folder / "wheels").iterdir():
        wheel.unlink()
    project = sandbox.project()
    project.configure("-DTVMAKE_PYTHON=").fails(
        "pip cannot install the requirements", "tvmake-sample-package", "fix: see pip's message"
    )
    assert sandbox.environments == []


def test_requirements_pin_the_runtime_that_cmake_expects() -> None:
    """One version in two places: pyproject.toml and cmake/private/sources.cmake."""
    sources = (REPO / "cmake" / "private" / "sources.cmake").read_text("utf-8")
    requirements = (REPO / "pyproject.toml").read_text("utf-8")
    for variable, package in (("TVM", "apache-tvm"), ("TVM_FFI", "apache-tvm-ffi")):
        (line,) = [text for text in sources.splitlines() if f"TVMAKE_{variable}_VERSION " in text]
        version = line.split()[-1].rstrip(")")
        assert f'"{package}=={version}"' in requirements


def test_missing_build_tools_are_named(tmp_path: Path) -> None:
    """With a PATH that has CMake only."""
    cmake = shutil.which("cmake")
    assert cmake is not None
    empty = tmp_path / "bin"
    empty.mkdir()
    for generator, parts in (
        ("Ninja", ("the build tool ninja is missing", "fix: apt-get install ninja-build")),
        ("Unix Makefiles", ("a C++ compiler is missing", "fix: apt-get install g++")),
    ):
        process = subprocess.run(
            [cmake, "-S", str(REPO), "-B", str(tmp_path / generator), "-G", generator],
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": str(empty), "HOME": str(tmp_path)},
        )
        assert process.returncode == 1, process.stdout
        for part in parts:
            assert part in process.stderr
