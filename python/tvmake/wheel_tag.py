"""The platform tag of a wheel, read off the binaries inside: their machine, their glibc.

A wheel built for Linux is tagged `linux_<machine of the build>`, which says nothing about the C
library, is refused by package indexes, and is wrong for a cross build. PEP 600 (manylinux) and
PEP 656 (musllinux) say what a better tag promises; which version of libstdc++ goes with which glibc
is the table of auditwheel.
"""

from __future__ import annotations

import base64
import hashlib
import re
import typing
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from .errors import TvmakeError

if typing.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from elftools.elf.elffile import ELFFile

Version = tuple[int, ...]


@dataclass(frozen=True)
class Binary:
    """What one ELF file of a wheel asks of the machine.

    Attributes:
        name: its path in the wheel.
        architecture: as platform tags spell it.
        needed: the shared libraries that it names.
        versions: the newest version of each library's symbols, for example GLIBC: (2, 34).
    """

    name: str
    architecture: str
    needed: tuple[str, ...]
    versions: dict[str, Version]


@dataclass(frozen=True)
class Promise:
    """What every distribution with a glibc has: the newest versions of symbols."""

    glibc: Version
    glibcxx: Version
    cxxabi: Version
    gcc: Version

    @property
    def newest(self) -> dict[str, Version]:
        """By the names that ELF files use."""
        return {
            "GLIBC": self.glibc,
            "GLIBCXX": self.glibcxx,
            "CXXABI": self.cxxabi,
            "GCC": self.gcc,
            "LIBATOMIC": (1, 2) if self.glibc >= (2, 24) else (1, 0),
        }


# auditwheel's manylinux-policy.json, the lower value where architectures differ. Oldest first.
_PROMISES = (
    Promise((2, 17), (3, 4, 19), (1, 3, 7), (4, 7)),
    Promise((2, 24), (3, 4, 22), (1, 3, 10), (4, 7)),
    Promise((2, 26), (3, 4, 22), (1, 3, 10), (4, 7)),
    Promise((2, 27), (3, 4, 24), (1, 3, 11), (7, 0)),
    Promise((2, 28), (3, 4, 24), (1, 3, 11), (7, 0)),
    Promise((2, 31), (3, 4, 28), (1, 3, 12), (7, 0)),
    Promise((2, 34), (3, 4, 29), (1, 3, 13), (7, 0)),
    *(Promise((2, minor), (3, 4, 30), (1, 3, 13), (7, 0)) for minor in (35, 36, 37, 38)),
    *(Promise((2, minor), (3, 4, 33), (1, 3, 15), (14, 0)) for minor in (39, 40, 41)),
)

# Of PEP 600 and PEP 656: on every such system.
_GLIBC_LIBRARIES = re.compile(
    r"(lib(c|m|mvec|dl|rt|pthread|util|gcc_s|stdc\+\+|atomic)\.so\.\d+|ld-linux[a-z0-9_-]*\.so\.\d+)"
)
_MUSL_LIBRARIES = re.compile(r"(libc\.so|libc\.musl-[a-z0-9_]+\.so\.1|ld-musl-[a-z0-9_]+\.so\.1)")
_MUSL = "musllinux_1_2"  # musl 1.2 is what has been built against since 2020

_MACHINES = {
    ("EM_X86_64", 64): "x86_64",
    ("EM_386", 32): "i686",
    ("EM_AARCH64", 64): "aarch64",
    ("EM_RISCV", 64): "riscv64",
    ("EM_PPC64", 64): "ppc64le",
    ("EM_S390", 64): "s390x",
}
_ARM_HARD_FLOAT = 0x400


def retag(wheel: Path) -> Path:
    """Give a wheel the platform tag that follows from its binaries; without any it stays as it is.

    Returns:
        The wheel's new path, in the same folder.

    Raises:
        TvmakeError: if the wheel holds binaries of several architectures, or of one without a tag.
    """
    binaries = read(wheel)
    if not binaries:
        return wheel
    return _rename(wheel, platform_tag(binaries))


def platform_tag(binaries: Sequence[Binary]) -> str:
    """The tag of the oldest systems that these binaries run on.

    It is `linux_<architecture>` when no other can be promised: they need a library that not every
    system has, or a glibc newer than all that are known here.
    """
    architectures = sorted({binary.architecture for binary in binaries})
    if len(architectures) > 1:
        raise TvmakeError(
            f"the wheel has binaries for {' and '.join(architectures)}",
            where=", ".join(binary.name for binary in binaries),
            expected="one architecture in one wheel",
            fix="build each in a folder of its own",
        )
    (architecture,) = architectures
    own = {Path(binary.name).name for binary in binaries}
    needed = {name for binary in binaries for name in binary.needed} - own
    versions = _newest(binaries)
    if needed and all(map(_MUSL_LIBRARIES.fullmatch, needed)) and not versions:
        return f"{_MUSL}_{architecture}"
    promise = _oldest_promise(versions)
    if not all(map(_GLIBC_LIBRARIES.fullmatch, needed)) or promise is None:
        return f"linux_{architecture}"
    tag = f"manylinux_{promise.glibc[0]}_{promise.glibc[1]}_{architecture}"
    # The name that installers knew before PEP 600.
    return f"{tag}.manylinux2014_{architecture}" if promise.glibc == (2, 17) else tag


def read(wheel: Path) -> list[Binary]:
    """All ELF files of a wheel."""
    from elftools.elf.elffile import ELFFile

    binaries = []
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                if file.read(4) != b"\x7fELF":
                    continue
            binaries.append(_binary(name, ELFFile(BytesIO(archive.read(name)))))
    return binaries


def _binary(name: str, elf: ELFFile) -> Binary:
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.gnuversions import GNUVerNeedSection

    dynamic = elf.get_section_by_name(".dynamic")
    tags: Iterable[Any] = ()  # each has an attribute of its kind's name
    if isinstance(dynamic, DynamicSection):
        tags = dynamic.iter_tags("DT_NEEDED")
    versions: dict[str, Version] = {}
    needs = elf.get_section_by_name(".gnu.version_r")
    for _, entries in needs.iter_versions() if isinstance(needs, GNUVerNeedSection) else ():
        for entry in entries:
            library, version = _version(entry.name)
            versions[library] = max(versions.get(library, ()), version)
    return Binary(name, _architecture(name, elf), tuple(tag.needed for tag in tags), versions)


def _architecture(name: str, elf: ELFFile) -> str:
    machine = elf.header["e_machine"]
    if machine == "EM_ARM" and elf.header["e_flags"] & _ARM_HARD_FLOAT:
        return "armv7l"
    known = _MACHINES.get((machine, elf.elfclass))
    if known is None:
        raise TvmakeError(
            f"there is no platform tag for {machine} with {elf.elfclass} bits",
            where=name,
            expected=" ".join(["armv7l (hard float)", *_MACHINES.values()]),
        )
    return known


def _version(text: str) -> tuple[str, Version]:
    """GLIBC_2.34 -> GLIBC, (2, 34)."""
    library, _, version = text.partition("_")
    if text == "GLIBC_ABI_DT_RELR":
        return "GLIBC", (2, 36)
    if re.fullmatch(r"[0-9.]+", version):
        return library, tuple(map(int, version.split(".")))
    if text == "CXXABI_TM_1":  # older than all promises
        return library, (1, 3, 7)
    return text, (0,)  # GLIBC_PRIVATE and the like: promised by nobody


def _newest(binaries: Iterable[Binary]) -> dict[str, Version]:
    versions: dict[str, Version] = {}
    for binary in binaries:
        for library, version in binary.versions.items():
            versions[library] = max(versions.get(library, ()), version)
    return versions


def _oldest_promise(versions: dict[str, Version]) -> Promise | None:
    for promise in _PROMISES:
        newest = promise.newest
        if all(
            library in newest and version[: len(newest[library])] <= newest[library]
            for library, version in versions.items()
        ):
            return promise
    return None


def _rename(wheel: Path, platform: str) -> Path:
    """Write the wheel anew under another platform tag; same input, same bytes."""
    *parts, _ = wheel.stem.split("-")
    target = wheel.with_name("-".join([*parts, platform]) + ".whl")
    if target == wheel:
        return wheel
    partial = target.with_suffix(".part")
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(partial, "w") as archive:
        changed: dict[str, bytes] = {}
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith(".dist-info/WHEEL"):
                content = changed[entry.filename] = _with_tags(content, platform)
            elif entry.filename.endswith(
                ".dist-info/RECORD"
            ):  # the last entry, as the format wants it
                content = _with_hashes(content, changed)
            archive.writestr(entry, content)
    partial.replace(target)
    wheel.unlink()
    return target


def _with_tags(text: bytes, platform: str) -> bytes:
    lines: list[str] = []
    for line in text.decode().splitlines():
        if line.startswith("Tag: "):
            python, abi, _ = line.removeprefix("Tag: ").split("-")
            lines += [f"Tag: {python}-{abi}-{single}" for single in platform.split(".")]
        else:
            lines.append(line)
    return "".join(f"{line}\n" for line in dict.fromkeys(lines)).encode()


def _with_hashes(record: bytes, changed: dict[str, bytes]) -> bytes:
    lines = []
    for line in record.decode().splitlines():
        name = line.rsplit(",", 2)[0]
        content = changed.get(name)
        lines.append(line if content is None else f"{name},{_digest(content)},{len(content)}")
    return "".join(f"{line}\n" for line in lines).encode()


def _digest(content: bytes) -> str:
    """A hash as the file RECORD has it."""
    text = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
    return f"sha256={text.rstrip('=')}"
