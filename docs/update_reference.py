"""Writes docs/cmake.md from the comment blocks above the public CMake functions.

Run it after changing such a block; a test fails when the page is not what this script writes.
"""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent
CMAKE = DOCS.parent / "cmake"
PAGE = DOCS / "cmake.md"
INTRODUCTION = DOCS / "cmake-introduction.md"

_FIRST = "tvmake_add_model"  # the verb; the rest follows by name


def page() -> str:
    """Returns the page: the introduction, then one section per public function."""
    paths = sorted(CMAKE.glob("tvmake_*.cmake"), key=lambda path: (path.stem != _FIRST, path.stem))
    note = "<!-- Written by update_reference.py from cmake/tvmake_*.cmake. Do not edit. -->\n"
    sections = [_section(path) for path in paths]
    return "\n".join([note, INTRODUCTION.read_text(encoding="utf-8"), *sections])


def _section(path: Path) -> str:
    """Returns the section of one file's first comment block.

    The block is: the signature up to an empty line; paragraphs; indented paragraphs, kept as they
    are; and, after a line ``Example:``, code.
    """
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].removeprefix(" ").rstrip())
    signature, *paragraphs = _paragraphs(lines)
    if not re.match(rf"{path.stem}\(", signature):
        message = f"{path.name}: the comment does not start with the signature of {path.stem}"
        raise ValueError(message)
    parts = [f"## {path.stem}\n", _fenced("cmake", signature)]
    for paragraph in paragraphs:
        head, _, rest = paragraph.partition("\n")
        if re.match(r"Examples?:$", head):
            parts += [f"{head}\n", _fenced("cmake", _dedent(rest))]
        elif head.startswith("  "):
            parts.append(_fenced("text", _dedent(paragraph)))
        elif rest.startswith("  "):
            parts += [f"{_escaped(head)}\n", _fenced("text", _dedent(rest))]
        else:
            parts.append(f"{_escaped(paragraph)}\n")
    return "\n".join(parts)


def _paragraphs(lines: list[str]) -> list[str]:
    """Splits at empty lines; code after ``Example:`` and an indented list keep theirs."""
    paragraphs: list[str] = []
    for paragraph in "\n".join(lines).split("\n\n"):
        indented = paragraph.startswith("  ")
        if paragraphs and indented and re.search(r"(^|\n)(Examples?:$|  )", paragraphs[-1]):
            paragraphs[-1] += f"\n\n{paragraph}"
        else:
            paragraphs.append(paragraph)
    return paragraphs


def _dedent(text: str) -> str:
    return "\n".join(line.removeprefix("  ") for line in text.strip("\n").splitlines())


def _escaped(text: str) -> str:
    return text.replace("<", "\\<")  # or Markdown takes <target> for HTML


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
