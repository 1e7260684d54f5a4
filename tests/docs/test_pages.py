"""What the pages say works: commands run, programs compile and run, links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
DOCS = REPO / "docs"
PAGES = (REPO / "README.md", *sorted(DOCS.glob("*.md")))

# Commands that cannot run inside the tests, and the file that runs each.
ELSEWHERE = {
    "cmake --workflow --preset demo": ".ci/run",
    "cmake --workflow --preset test": ".ci/run",
}

_BLOCK = re.compile(
    r"(?:^<!-- file: (?P<file>\S+) -->\n)?"
    r"^```(?P<language>\w*)(?P<note>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block; ``file`` is the name that the page gives it, if any."""

    language: str
    note: str
    text: str
    file: str | None

    @property
    def commands(self) -> list[str]:
        """The commands to run, without those that run elsewhere."""
        if self.language != "sh" or self.note.startswith("norun: "):
            return []
        return [line for line in self.text.splitlines() if line and line not in ELSEWHERE]


def blocks(page: Path) -> Iterator[Block]:
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield Block(match["language"], match["note"].strip(), match["text"], match["file"])


def _name(page: Path) -> str:
    return page.stem


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that git knows or would add."""
    folder = tmp_path_factory.mktemp("clone") / "tvmake"
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for name in listing.stdout.split("\0"):
        if name and (REPO / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, target)
    return folder


@pytest.fixture(scope="session")
def environment(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a reader has: tvmake's sources, the command line, an active virtual environment."""
    tools = tmp_path_factory.mktemp("tools")
    python = f'exec "{sys.executable}"'
    for name, line in (
        ("python", f'{python} "$@"'),
        ("tvmake", f'PYTHONPATH="{clone}/python" {python} -m tvmake "$@"'),
    ):
        command = tools / name
        command.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        command.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "TVMAKE_SOURCE_DIR": str(clone),
        "VIRTUAL_ENV": sys.prefix,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.commands for block in blocks(page))], ids=_name
)
def test_commands_of_a_page_run(page: Path, environment: dict[str, str], tmp_path: Path) -> None:
    for block in blocks(page):
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        if block.commands:
            _run(["sh", "-euxc", "\n".join(block.commands)], tmp_path, environment)


@pytest.mark.slow
def test_programs_of_all_pages_run(environment: dict[str, str], tmp_path: Path) -> None:
    """Each C or C++ program on a page links to the digits model; the README's answers 3 or 8."""
    shutil.copy(REPO / "examples" / "digits" / "digits.onnx", tmp_path)
    project = [
        "cmake_minimum_required(VERSION 3.25)",
        "project(pages LANGUAGES C CXX)",
        'add_subdirectory("${TVMAKE_SOURCE_DIR}" tvmake)',
        "tvmake_add_model(digits MODEL digits.onnx)",
    ]
    names = []
    for page in PAGES:
        for index, block in enumerate(blocks(page)):
            if '#include "digits.h' in block.text and "main(" in block.text:
                name = f"{page.stem.replace('-', '_').lower()}_{index}"
                (tmp_path / f"{name}.{block.language}").write_text(block.text, encoding="utf-8")
                project += [
                    f"add_executable({name} {name}.{block.language})",
                    f"target_link_libraries({name} PRIVATE digits)",
                    f"target_compile_features({name} PRIVATE cxx_std_20)",
                    f"target_compile_options({name} PRIVATE -Wall -Wextra -Werror)",
                ]
                names.append(name)
    assert len(names) >= 3
    (tmp_path / "CMakeLists.txt").write_text("\n".join(project) + "\n", encoding="utf-8")
    source = f"-DTVMAKE_SOURCE_DIR={environment['TVMAKE_SOURCE_DIR']}"
    _run(["cmake", "-S.", "-Bbuild", "-GNinja", source], tmp_path, environment)
    _run(["cmake", "--build", "build"], tmp_path, environment)
    for name in names:
        status = subprocess.run([tmp_path / "build" / name], check=False).returncode
        assert status in ((3, 8) if name.startswith("readme") else (0,)), name


@pytest.mark.slow
def test_project_of_the_readme_builds(environment: dict[str, str], tmp_path: Path) -> None:
    program, project = (
        next(
            block.text
            for block in blocks(REPO / "README.md")
            if block.language == language and start in block.text
        )
        for language, start in (("cpp", "main("), ("cmake", "project("))
    )
    (tmp_path / "main.cpp").write_text(program, encoding="utf-8")
    (tmp_path / "CMakeLists.txt").write_text(project, encoding="utf-8")
    (tmp_path / "third_party").mkdir()
    (tmp_path / "third_party" / "tvmake").symlink_to(environment["TVMAKE_SOURCE_DIR"])
    (tmp_path / "models").mkdir()
    shutil.copy(REPO / "examples" / "digits" / "digits.onnx", tmp_path / "models")
    _run(["cmake", "-S.", "-Bbuild", "-GNinja"], tmp_path, environment)
    _run(["cmake", "--build", "build"], tmp_path, environment)
    _run(["build/digits_harness", "--help"], tmp_path, environment)
    assert subprocess.run([tmp_path / "build" / "app"], check=False).returncode in (3, 8)


@pytest.mark.parametrize("command", ELSEWHERE)
def test_command_runs_elsewhere(command: str) -> None:
    lines = (REPO / ELSEWHERE[command]).read_text(encoding="utf-8").splitlines()
    assert command in lines


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not re.match(r"https?://", target):
            assert (page.parent / target).exists(), target


def test_every_page_is_in_the_readme() -> None:
    text = (REPO / "README.md").read_text(encoding="utf-8")
    sources = {"cmake-introduction.md"}  # a part of cmake.md
    for page in DOCS.glob("*.md"):
        assert page.name in sources or f"(docs/{page.name})" in text, page.name


def test_messages_on_the_errors_page_exist() -> None:
    """Every message that a table of docs/errors.md quotes is in the sources."""
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for folder, pattern in (
            ("cmake", "*.cmake"),
            ("toolchains", "*.cmake"),
            ("python/tvmake", "*.py"),
            ("cpp/src", "*.cc"),
            ("cpp/include", "*.h"),
        )
        for path in sorted((REPO / folder).rglob(pattern))
    )
    rows = re.findall(
        r"^\| (.*?) \| (.*?) \|", (DOCS / "errors.md").read_text("utf-8"), re.MULTILINE
    )
    quotes = [quote for row in rows for cell in row for quote in re.findall(r"`([^`]+)`", cell)]
    assert len(quotes) > 20
    for quote in quotes:
        if re.match(r"[A-Za-z_ ]+$", quote):
            assert quote in sources, quote


def test_reference_is_what_the_cmake_files_say() -> None:
    update = DOCS / "update_reference.py"
    program = f"import runpy; print(runpy.run_path({str(update)!r})['page'](), end='')"
    page = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True
    )
    assert page.stdout == (DOCS / "cmake.md").read_text(encoding="utf-8"), (
        "run docs/update_reference.py"
    )


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        pytest.fail(f"{command} ended with {result.returncode}:\n{result.stdout[-20000:]}")
