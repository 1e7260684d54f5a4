"""Runs tvmake's command line from the folder of the package that the first argument names.

The Python that runs this may be another than the one that tvmake is installed for, so the folder is
taken for the package alone and not put on the path, where its neighbours would hide that Python's
own packages.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    """Load the package and hand over the remaining arguments."""
    folder = Path(sys.argv.pop(1))
    sys.argv[0] = "tvmake"
    spec = importlib.util.spec_from_file_location(
        "tvmake", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        sys.exit(f"tvmake: error: there is no package in {folder}")
    package = importlib.util.module_from_spec(spec)
    sys.modules["tvmake"] = package
    spec.loader.exec_module(package)
    from tvmake.cli import main as run

    run()


if __name__ == "__main__":
    main()
