"""Where tvmake's own data files are: in a source checkout, a wheel or an installation prefix."""

from __future__ import annotations

from pathlib import Path

from tvmake.errors import TvmakeError

PACKAGE_DIR = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """The folder of tvmake's data called ``name``, e.g. ``templates``, ``cmake`` or ``cpp``.

    Raises:
        TvmakeError: if the installation does not have it.
    """
    places = [
        PACKAGE_DIR.parents[1] / name,  # source checkout: <repo>/python/tvmake
        PACKAGE_DIR / "_data" / name,  # wheel
        *(parent / "share" / "tvmake" / name for parent in PACKAGE_DIR.parents),  # prefix
    ]
    for place in places:
        if place.is_dir():
            return place
    raise TvmakeError(
        f"tvmake's {name} folder is missing",
        where=str(PACKAGE_DIR),
        expected=f"one of {', '.join(str(place) for place in places[:2])}",
        fix="install tvmake again",
    )
