"""The build backend of a model wheel: scikit-build-core's, with an honest platform tag.

[build-system]
requires = ["scikit-build-core>=1.0", "tvmake"]
build-backend = "tvmake.build_backend"
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .wheel_tag import retag


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, list[str] | str] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Build the wheel and tag it by what its binaries ask for (PEP 517).

    Returns:
        The wheel's file name.
    """
    from scikit_build_core import build

    name = build.build_wheel(wheel_directory, config_settings, metadata_directory)
    return retag(Path(wheel_directory, name)).name


def __getattr__(name: str) -> Any:
    """All other hooks of PEP 517, as scikit-build-core has them."""
    from scikit_build_core import build

    return getattr(build, name)
