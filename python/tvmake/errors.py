"""The one error that tvmake raises for what a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TvmakeError(Exception):
    """Something in the user's input or environment is wrong.

    Args:
        what: what is wrong, in one sentence.
        where: the file, model, node or argument it was found in.
        expected: what would have been right.
        fix: what to do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        details = (("where", self.where), ("expected", self.expected), ("fix", self.fix))
        return "\n".join([self.what, *(f"  {label}: {text}" for label, text in details if text)])


class SpecError(TvmakeError):
    """The request (spec.json or the command line) is wrong."""


class ModelError(TvmakeError):
    """The model file cannot be read, or is not a valid model."""


class UnsupportedError(TvmakeError):
    """The model is valid, but uses something tvmake cannot compile."""


class ArtifactError(TvmakeError):
    """A compiled artifact is missing, damaged or does not belong to the others."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to a misspelled one, if any is close."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The fix for a misspelled name, if one of the known names is close."""
    match = nearest(name, known)
    return f"did you mean '{match}'?" if match else None
