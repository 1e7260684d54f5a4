"""CPython 3.13 of Debian 13, unpacked into a folder: for this machine, and for ARM under qemu.

The stable ABI of model wheels starts with Python 3.12, and Debian 12 has 3.11. The packages are
fetched by apt with a configuration of its own, so nothing is installed; they bring their own C
library.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from packages.support import check

VERSION = "3.13"
_SUITE = "trixie"
_PACKAGES = (
    *(f"python{VERSION}-minimal", f"libpython{VERSION}-minimal", f"libpython{VERSION}-stdlib"),
    f"libpython{VERSION}-dev",  # headers
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libffi8", "libexpat1", "libssl3t64"),
    *("libbz2-1.0", "liblzma5", "libzstd1"),
)
_TRIPLES = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
_START = {
    # What a program of another system needs to run here: its own loader and libraries, an emulator.
    "amd64": (
        '"$root/usr/lib64/ld-linux-x86-64.so.2" '
        '--library-path "$root/usr/lib/x86_64-linux-gnu" --argv0'
    ),
    "arm64": 'qemu-aarch64 -L "$root" -0',
}

# A cache may be moved; a virtual environment starts it by a link.
_ROOT = 'root=$(readlink -f "$0") && root=${root%/usr/bin/*}'


def debian_python(architecture: str, cache: Path) -> Path:
    """The interpreter of one of Debian's architectures as a command of this machine.

    Args:
        architecture: amd64 or arm64.
        cache: where it is kept.
    """
    root = cache / "tests" / f"{_SUITE}-{architecture}-python{VERSION}"
    python = root / "usr" / "bin" / "python3"
    if python.is_file():
        return python
    shutil.rmtree(root, ignore_errors=True)
    (root / "packages").mkdir(parents=True)
    for package in _download(architecture, root / "packages"):
        check("dpkg-deb", "--extract", package, root)
    shutil.rmtree(root / "packages")
    for name in ("lib", "lib64"):
        if not (root / name).exists() and (root / "usr" / name).is_dir():
            (root / name).symlink_to(f"usr/{name}")
    # The header of the architecture, in place of one that looks for it in /usr/include.
    headers = root / "usr" / "include"
    own = Path(f"python{VERSION}", "pyconfig.h")
    shutil.copy(headers / _TRIPLES[architecture] / own, headers / own)
    _compile(architecture, root / "usr" / "lib" / f"python{VERSION}", cache)
    start = f'{_START[architecture]} "$0" "$root/usr/bin/python{VERSION}" "$@"'
    text = f"#!/bin/sh\n{_ROOT}\nexec {start}\n"
    partial = python.with_suffix(".part")
    partial.write_text(text, encoding="utf-8")
    partial.chmod(0o755)
    partial.rename(python)  # the stamp, too
    return python


def compile_all(folder: Path, cache: Path) -> None:
    """Compile modules ahead, for any architecture; the emulator takes a minute for NumPy's."""
    native = debian_python("amd64", cache)
    skipped = r"/(tests?|idlelib|lib2to3|f2py|distutils)/"
    check(native, "-m", "compileall", "-q", "-x", skipped, folder)


def _compile(architecture: str, folder: Path, cache: Path) -> None:
    if architecture != "amd64":
        compile_all(folder, cache)


def _download(architecture: str, folder: Path) -> list[Path]:
    """The packages, checked by apt against Debian's keys."""
    state = folder / "apt"
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    mirror = os.environ.get("TVMAKE_TEST_DEBIAN_MIRROR", "http://deb.debian.org/debian")
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (state / "sources.list").write_text(f"deb [signed-by={keys}] {mirror} {_SUITE} main\n")
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Dir::Cache": state,
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "/nonexistent",
        "Dir::State": state,
        "Dir::State::status": state / "status",
    }
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in settings.items())]
    check(*apt, "update")
    check(*apt, "download", *_PACKAGES, cwd=folder)
    return sorted(folder.glob("*.deb"))
