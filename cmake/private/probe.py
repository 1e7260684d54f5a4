"""Tells CMake about one Python, in JSON on stdout: what it is, has and lacks.

CMake runs this file with whatever Python it found, so it needs nothing but the standard library of
any Python 3, imports no package that it looks for, and answers in a few hundredths of a second.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*(?P<rest>.*)")
_CLAUSE = re.compile(r"(==|>=|<=|!=|~=|>|<)\s*([^,\s]+)")

# Packages whose folder CMake needs.
_FOLDERS = {"apache-tvm": "tvm", "apache-tvm-ffi": "tvm_ffi", "ziglang": "ziglang"}


def main() -> None:
    """Answer for the Python that runs this."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, help="pyproject.toml that lists the requirements")
    parser.add_argument("--extras", default="", help="extra requirement groups, comma-separated")
    arguments = parser.parse_args()
    extras = [extra for extra in arguments.extras.split(",") if extra]
    answer: dict[str, object] = {
        "executable": sys.executable,
        "base": str(Path(sys.base_prefix).resolve()),
        "version": platform.python_version(),
        "platform": f"{sys.implementation.cache_tag}-{sys.platform}-{platform.machine()}",
        "packages": {name: _package(name) for name in _FOLDERS},
    }
    try:
        required = requirements(arguments.project, extras)
    except (OSError, ValueError) as error:
        sys.exit(f"{error}")
    answer["requirements"] = required
    answer["missing"] = [entry for entry in required if not satisfied(entry)]
    print(json.dumps(answer))


def requirements(project: Path | None, extras: list[str]) -> list[str]:
    """The requirement lines of a pyproject.toml, those of the extras included.

    Raises:
        ValueError: for an extra that the project does not have.
    """
    if project is None:
        return []
    dependencies, optional = _read_lists(project.read_text(encoding="utf-8"))
    result = list(dependencies)
    for extra in extras:
        if extra not in optional:
            raise ValueError(
                f"unknown extra '{extra}', expected one of {' '.join(sorted(optional))}"
            )
        result += optional[extra]
    return result


def _read_lists(text: str) -> tuple[list[str], dict[str, list[str]]]:
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        try:
            from pip._vendor import tomli as tomllib
        except ModuleNotFoundError:
            message = "this Python reads no TOML; apt-get install python3-pip, or use Python 3.11"
            raise ValueError(message) from None
    table = tomllib.loads(text)["project"]
    return table["dependencies"], table.get("optional-dependencies", {})


def satisfied(requirement: str) -> bool:
    """Whether this Python has a package that fulfils one requirement line."""
    match = _REQUIREMENT.match(requirement.split(";", maxsplit=1)[0].strip())
    if not match:
        return False
    try:
        version = _version(metadata.version(match["name"]))
    except metadata.PackageNotFoundError:
        return ";" in requirement  # a conditional one may rightly be absent
    return all(_holds(version, *clause) for clause in _CLAUSE.findall(match["rest"]))


def _holds(version: tuple[int, ...], operator: str, text: str) -> bool:
    wanted = _version(text)
    if operator == "~=":
        return version >= wanted and version[: len(wanted) - 1] == wanted[:-1]
    length = max(len(version), len(wanted))
    have, want = (entry + (0,) * (length - len(entry)) for entry in (version, wanted))
    return {
        "==": have == want,
        "!=": have != want,
        ">=": have >= want,
        "<=": have <= want,
        ">": have > want,
        "<": have < want,
    }[operator]


def _version(text: str) -> tuple[int, ...]:
    """The numbers of a version, local part left out: `0.27.0.post1` -> (0, 27, 0, 1)."""
    return tuple(int(number) for number in re.findall(r"\d+", text.split("+", maxsplit=1)[0]))


def _package(name: str) -> dict[str, str] | None:
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return {"version": found.version, "folder": str(found.locate_file(_FOLDERS[name]))}


if __name__ == "__main__":
    main()
