"""Runs a static Linux program for x86-64 on a machine that Bochs emulates, one with AVX-512.

    run.py <program> [<file>...]

The arguments are all the files that the program can open, by their names without folders; they keep
their sizes.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_SOURCES = Path(__file__).parent
_FLAGS = (
    *("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-nostdlib", "-static"),
    *("-fno-pie", "-fno-stack-protector", "-fcf-protection=none", "-mgeneral-regs-only"),
    *(f"-Wl,-T,{_SOURCES / 'machine.ld'}", "-Wl,--build-id=none"),
)
# The display waits for nobody to look at it; the port is where the machine prints.
_CONFIGURATION = """\
config_interface: textconfig
display_library: rfb, options="timeout=0"
cpu: model=corei7_skylake_x, ips=1000000, reset_on_triple_fault=0
memory: guest=512, host=512
romimage: file=rom
ata0-master: type=disk, path=disk, mode=flat
sound: waveoutdrv=dummy
port_e9_hack: enabled=1
log: log
panic: action=fatal
"""

# As in machine.c
_MOST_FILES = 4
_SECTOR = 512
_HEADER = struct.Struct("<qQ")
_FILE = struct.Struct("<104sQQ")
_NOT_RUN = -1
# What the emulator takes for a cylinder: disks have whole ones.
_CYLINDER = 16 * 63 * _SECTOR
_LAST_WORDS = 4000


def run(files: Sequence[Path]) -> int:
    """Run the first of the files, which may change the others; its exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = (_SOURCES / "machine.c", _SOURCES / "start.S")
        subprocess.run(["cc", *_FLAGS, *sources, "-o", folder / "rom"], check=True)
        _write_disk(folder / "disk", files)
        (folder / "bochsrc").write_text(_CONFIGURATION, encoding="utf-8")
        result = subprocess.run(
            ["bochs", "-q", "-f", "bochsrc"],
            cwd=folder,
            input="continue\n",  # Debian's begins in its debugger
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        status = _read_disk(folder / "disk", files)
        if status != 0:
            log = (folder / "log").read_text(errors="replace")
            print(result.stdout[-_LAST_WORDS:], log[-_LAST_WORDS:])  # the registers at the end
        return status


def _write_disk(path: Path, files: Sequence[Path]) -> None:
    if len(files) > _MOST_FILES:
        raise ValueError(f"the machine has room for {_MOST_FILES} files, got {len(files)}")
    header = bytearray(_HEADER.pack(_NOT_RUN, len(files)))
    contents = bytearray()
    for file in files:
        data = file.read_bytes()
        header += _FILE.pack(file.name.encode(), len(contents), len(data))
        contents += data + bytes(-len(data) % _SECTOR)
    disk = header.ljust(_SECTOR, b"\0") + contents
    path.write_bytes(disk + bytes(-len(disk) % _CYLINDER))


def _read_disk(path: Path, files: Sequence[Path]) -> int:
    """Give the files, but for the program, their new contents; the exit status."""
    disk = path.read_bytes()
    status, _ = _HEADER.unpack_from(disk)
    described = _FILE.iter_unpack(disk[_HEADER.size :][: _FILE.size * len(files)])
    for file, (_, offset, size) in list(zip(files, described, strict=True))[1:]:
        file.write_bytes(disk[_SECTOR + offset :][:size])
    return int(status)


if __name__ == "__main__":
    sys.exit(run([Path(argument) for argument in sys.argv[1:]]))
