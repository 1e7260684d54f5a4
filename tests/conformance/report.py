"""docs/conformance.md, from docs/conformance.json."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

_DOCS = Path(__file__).resolve().parents[2] / "docs"
_COMMANDS = """```sh norun: takes minutes; the test suite runs the same cases
PYTHONPATH=python:tests python tests/conformance/suite.py --output docs/conformance.json
PYTHONPATH=python:tests python tests/conformance/report.py
```"""
_ROUNDING = """`rounding`: the suite's values, computed in single or half precision, miss the result
in double precision by more than tvmake's do, which are within the suite's tolerances of it.
"""
_SETS = {
    "Node": "one operator, and its function body",
    "Simple": "small graphs",
    "PyTorchOperator": "operators as PyTorch exported them",
    "PyTorchConverted": "layers as PyTorch exported them",
    "Real": "networks",
}


def page(document: dict[str, Any]) -> str:
    """The documentation page."""
    cases = document["cases"]
    introduction = (
        f"ONNX's own backend suite (`onnx.backend.test` of onnx {document['onnx']}), run by its\n"
        "own runner with its own tolerances against `tvmake.backend`: each model is compiled,\n"
        f"linked and run by the executor, in a process of its own. **{document['passed']} of "
        f"{document['total']} cases\npass**{_measured(document)}. The others are listed below with "
        "the reason. This page and\n`conformance.json` are written by"
    )
    parts = [
        "# ONNX conformance",
        introduction,
        _COMMANDS,
        "## Sets",
        _table(
            ("set", "models", "pass"),
            [(f"{s}: {text}", *_counts(cases, "group", s)) for s, text in _SETS.items()],
        ),
        "## Opsets",
        _table(
            ("opset", "models", "pass"),
            [
                (str(opset), *_counts(cases, "opset", opset))
                for opset in sorted({entry.get("opset", 0) for entry in cases.values()})
            ],
        ),
        "## Operators",
        "Cases of the set Node, by the operator that they are about.",
        _table(("operator", "models", "pass"), _operator_rows(cases)),
        "## What does not pass",
        _failures(cases),
    ]
    return "\n\n".join(parts) + "\n"


def _measured(document: dict[str, Any]) -> str:
    missing = document["suite"] - document["total"]
    return f"; {missing} more cases of the suite are not measured yet" if missing else ""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _counts(cases: dict[str, Any], key: str, value: Any) -> tuple[str, str]:
    results = [e["result"] for e in cases.values() if e.get(key, 0) == value]
    return str(len(results)), str(results.count("passed"))


def _operator_rows(cases: dict[str, Any]) -> list[tuple[str, ...]]:
    results = defaultdict(list)
    for name, entry in cases.items():
        if entry["group"] == "Node":
            results[_operator(name, cases)].append(entry["result"])
    return [
        (f"`{operator}`", str(len(found)), str(found.count("passed")))
        for operator, found in sorted(results.items())
    ]


def _operator(name: str, cases: dict[str, Any]) -> str:
    """The operator that a case is about: of `x_expanded`, the one that was expanded."""
    entry = cases.get(re.sub(r"_expanded.*$", "", name), cases[name])
    operators = entry.get("operators", [])
    return operators[0] if len(operators) == 1 else "several"


def _failures(cases: dict[str, Any]) -> str:
    failed = {name: entry for name, entry in cases.items() if entry["result"] != "passed"}
    if not failed:
        return "Nothing."
    lines = []
    kinds = Counter(entry["result"] for entry in failed.values())
    lines.append(", ".join(f"{kind}: {count}" for kind, count in kinds.most_common()) + ".\n")
    if kinds["rounding"]:
        lines.append(_ROUNDING)
    for name, entry in failed.items():
        reason = re.sub(r"([|<>*_])", r"\\\1", entry.get("reason", ""))
        lines.append(f"- `{name}` ({entry['result']}): {reason}")
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    document = json.loads((_DOCS / "conformance.json").read_text(encoding="utf-8"))
    (_DOCS / "conformance.md").write_text(page(document), encoding="utf-8")


if __name__ == "__main__":
    main()
