"""What a .pt2 file may hold before torch opens it. Nothing here needs torch but one check.

torch.export.load() unpickles whatever the archive says is pickled, and evaluates the expressions of
symbolic sizes as Python. An archive that torch.export.save() writes for a model of plain tensors
needs neither, so that tvmake refuses one that has more: no code of a model file is ever run.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import TYPE_CHECKING, Any

from tvmake.errors import ModelError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The arithmetic of symbolic sizes, as sympy writes it: names in quotes or without, calls of sympy's
# classes (Symbol, Mul, FloorDiv …), numbers, operators. No attribute, index or other function.
_EXPRESSION = re.compile(
    r"(?:'\w+'|[A-Z]\w*\(|[A-Za-z]\w*(?![\w(])|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
    r"|[-+*/%(),<>=! &|~])*\Z"
)
_AGAIN = "export it again with torch.export.save(), or copy it again"


def check_archive(path: Path) -> None:
    """Check that a file is a whole archive of torch.export.save() and holds no code.

    Raises:
        ModelError: when it is something else, is truncated or damaged.
        UnsupportedError: when it holds pickled objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise ModelError(
                    f"the .pt2 file is damaged: '{damaged}' has a wrong checksum",
                    where=str(path),
                    fix=_AGAIN,
                )
            _check_members(archive, path)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if path.read_bytes()[:2] == b"PK":
            what = f"the .pt2 file is truncated or damaged: {error}"
        else:
            what = "the file is not a .pt2 archive"
        raise ModelError(what, where=str(path), fix=_AGAIN) from error


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    # All members lie in one folder of any name.
    members = {name.partition("/")[2]: name for name in archive.namelist()}
    if "models/model.json" not in members or "archive_version" not in members:
        raise ModelError(
            "the file is an archive, but not one of torch.export",
            where=str(path),
            expected="a program written by torch.export.save()",
            fix="torch.export.save(torch.export.export(model.eval(), (example,)), 'net.pt2'), or "
            "`tvmake export`",
        )
    for member, name in members.items():
        if member.startswith("data/") and member.endswith("_config.json"):
            _check_no_pickles(_json(archive, name, path), path)
        elif member.startswith("models/") and member.endswith(".json"):
            _check_expressions(_json(archive, name, path), path)
        elif member.startswith("data/sample_inputs/"):
            _check_sample(archive.read(name), path)
        elif member.startswith("data/weights/") and member.endswith(".pt"):
            raise UnsupportedError(
                "the .pt2 file has its weights in a form that can run code",
                where=str(path),
                fix="export it again with a newer PyTorch",
            )


def _json(archive: zipfile.ZipFile, name: str, path: Path) -> Any:
    try:
        return json.loads(archive.read(name))
    except ValueError as error:
        raise ModelError(
            f"the .pt2 file is damaged: '{name}' is not JSON", where=str(path), fix=_AGAIN
        ) from error


def _check_no_pickles(config: Any, path: Path) -> None:
    entries = config.get("config", {}) if isinstance(config, dict) else {}
    for tensor, entry in entries.items():
        if not isinstance(entry, dict) or entry.get("use_pickle", True):
            raise UnsupportedError(
                f"the .pt2 file holds '{tensor}' as a pickled object, which can run code",
                where=str(path),
                expected="plain tensors",
                fix="export the model without custom objects and tensor subclasses",
            )


def _check_expressions(document: Any, path: Path) -> None:
    for expression in _expressions(document):
        if not _EXPRESSION.match(expression):
            raise ModelError(
                f"the .pt2 file has a size '{expression[:60]}', which is no arithmetic",
                where=str(path),
                fix=_AGAIN,
            )


def _expressions(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "expr_str" and isinstance(value, str):
                yield value
            elif key == "range_constraints" and isinstance(value, dict):
                yield from value
            yield from _expressions(value)
    elif isinstance(document, list):
        for value in document:
            yield from _expressions(value)


def _check_sample(data: bytes, path: Path) -> None:
    import torch

    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:  # pickle raises every kind
        raise UnsupportedError(
            "the .pt2 file holds example inputs that are no plain tensors",
            where=str(path),
            fix="export the model with tensors as example inputs",
        ) from error
