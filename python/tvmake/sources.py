"""tvmake's own files that a build depends on."""

from __future__ import annotations

from tvmake.paths import PACKAGE_DIR

# What never changes a compiled artifact: the faces and the tools around the compiler.
_NOT_COMPILER = {
    *("__main__.py", "cli.py", "doctor.py", "dump.py", "render.py", "report.py", "sources.py"),
    *("export.py", "verify.py", "paths.py", "sbom.py", "new.py", "render_wheel.py"),
}


def compiler_sources() -> list[str]:
    """Every file of the compiler: when one changes, models are compiled again."""
    return sorted(
        str(path)
        for path in PACKAGE_DIR.rglob("*.py")
        if not (path.name in _NOT_COMPILER and path.parent == PACKAGE_DIR)
        and path.relative_to(PACKAGE_DIR).parts[0] not in ("_data", "reference")
    )
