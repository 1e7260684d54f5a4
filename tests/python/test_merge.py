"""Merged objects, as binutils read them. That they link and run is for the tests of kernels."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest
import tvm
from tvm import te

from tvmake.emit import elf
from tvmake.emit.codegen import compile_module
from tvmake.emit.merge import merge
from tvmake.spec import TargetSpec
from tvmake.target import resolve_target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TARGETS = {
    "x86_64": TargetSpec("x86_64-linux-gnu", "x86-64"),
    "AVX-512": TargetSpec("x86_64-linux-gnu", "x86-64-v4"),
    "aarch64": TargetSpec("aarch64-linux-gnu"),
    "armv7": TargetSpec("armv7l-linux-gnueabihf"),
    "riscv64": TargetSpec("riscv64-linux-gnu"),
    "RVV": TargetSpec("riscv64-linux-gnu", "", ("+v",)),
}
CONVERSION = "__truncsfhf2"  # from float to half, which TVM defines weakly in every object
WITHOUT_HALF = {"x86_64", "riscv64", "RVV"}  # these call it


def compiled(target: TargetSpec, folder: Path, dtype: str = "float32", extent: int = 7) -> bytes:
    """An object with the kernel `one`, which calls functions and runs in parallel."""
    source = te.placeholder((extent, 64), dtype, name="source")
    power = te.compute(source.shape, lambda *i: te.exp(source(*i)), name="power")
    axis = te.reduce_axis((0, 64), name="axis")
    result = te.compute((extent,), lambda i: te.sum(power[i, axis], axis), name="result")
    function = te.create_prim_func([source, result]).with_attr("global_symbol", "one")
    schedule = tvm.s_tir.Schedule(tvm.IRModule({"one": function}))
    schedule.parallel(schedule.get_loops(schedule.get_sblock("power", func_name="one"))[0])
    path = folder / "part.o"
    compile_module(schedule.mod, resolve_target(target).tvm_target()).write_to_file(str(path), "o")
    return path.read_bytes()


def called(name: str) -> Callable[[str], str]:
    """A renaming of `one`."""
    return lambda old: {"__tvm_ffi_one": name, "one_compute_": f"{name}_compute_"}.get(old, old)


def readelf(content: bytes, folder: Path, *options: str) -> str:
    """What readelf says about an object, which it must not warn of."""
    path = folder / "read.o"
    path.write_bytes(content)
    command = ["readelf", "-W", *options, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not result.stderr, result.stderr
    return result.stdout


def merged(parts: dict[str, bytes]) -> bytes:
    return elf.write(merge([(part, called(name)) for name, part in parts.items()]))


@pytest.fixture(params=TARGETS)
def parts(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, bytes]]:
    """The target's name, and objects of different kernels for it."""
    target = TARGETS[request.param]
    return request.param, {
        "first": compiled(target, tmp_path),
        "second": compiled(target, tmp_path, "float16"),
        "third": compiled(target, tmp_path, extent=900),
        "fourth": compiled(target, tmp_path, "float16", 900),
    }


def test_merged(parts: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    name, objects = parts
    content = merged(objects)
    readelf(content, tmp_path, "--all")
    assert elf.write(elf.read(content)) == content
    result = elf.read(content)
    assert result.machine == elf.read(objects["first"]).machine
    defined = [s for s in result.symbols if s.binding != elf.LOCAL and s.section != elf.UNDEFINED]
    assert {s.name for s in defined if s.binding == elf.GLOBAL} == set(objects)
    weak = [s.name for s in defined if s.binding == elf.WEAK]
    assert len(weak) == len(set(weak))
    assert "__TVMBackendParallelLaunch" in weak
    assert (CONVERSION in weak) == (name in WITHOUT_HALF)
    sections = [section.name for section in result.sections]
    assert not any(section.startswith(".debug") for section in sections)
    assert sections.count(".text") == len(objects)
    assert sections.count(".text.tvm.fp16.conv") == (CONVERSION in weak)
    assert sections.count(".note.GNU-stack") == 1
    # Each kernel's code is its own, but for what the linker fills in.
    codes = [section.data for section in result.sections if section.name == ".text"]
    for code, part in zip(codes, objects.values(), strict=True):
        assert code in [section.data for section in elf.read(part).sections]


def test_unwind_tables_are_those_of_the_functions(
    parts: tuple[str, dict[str, bytes]], tmp_path: Path
) -> None:
    name, objects = parts
    content = merged(objects)
    result = elf.read(content)
    functions = [s for s in result.symbols if s.type == 2 and s.section != elf.UNDEFINED]
    if name == "armv7":
        tables = [section for section in result.sections if section.linked]
        assert {table.linked for table in tables} == {f.section for f in functions}
        assert len(tables) == len({f.section for f in functions})
        return
    frames = readelf(content, tmp_path, "--debug-dump=frames")
    assert "ZERO terminator" not in frames
    loops = len(objects)  # the parallel loop of each is a function without a name
    assert len(re.findall(r" FDE cie=", frames)) == len(functions) + loops
    assert all(len(s.data) % s.align == 0 for s in result.sections if s.name == ".eh_frame")


def test_a_name_is_defined_once(tmp_path: Path) -> None:
    part = compiled(TARGETS["x86_64"], tmp_path)
    with pytest.raises(ValueError, match="symbol same is defined twice"):
        merge([(part, called("same"))] * 2)


def test_objects_are_for_one_machine(tmp_path: Path) -> None:
    first, second = (compiled(TARGETS[name], tmp_path) for name in ("x86_64", "aarch64"))
    with pytest.raises(ValueError, match="the objects are for different machines"):
        merge([(first, called("first")), (second, called("second"))])


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="not an ELF object"):
        elf.read(b"\x7fELF")
    with pytest.raises(ValueError, match="not an ELF object"):
        elf.read(b"!<arch>\n" + bytes(99))


def test_more_sections_than_a_number_of_16_bits_counts(tmp_path: Path) -> None:
    part = elf.read(compiled(TARGETS["x86_64"], tmp_path))
    (text,) = (section for section in part.sections if section.name == ".text")
    symbols, sections = [], []
    for number in range(70000):
        sections.append(elf.Section(".text", text.type, text.flags, b"\x90", 1))
        symbols.append(elf.Symbol(f"f{number}", elf.GLOBAL << 4 | 2, 0, sections[-1], 0, 1))
    content = elf.write(elf.Object(part.identity, part.machine, sections, symbols))
    table = readelf(content, tmp_path, "--symbols", "--sections")
    for number in (0, 65278, 65279, 65280, 69999):  # around the first that does not fit
        assert re.search(rf"GLOBAL DEFAULT +{number + 1} f{number}\n", table), number
    linked = tmp_path / "linked.so"
    subprocess.run(["cc", "-shared", "-nostdlib", tmp_path / "read.o", "-o", linked], check=True)
    names = subprocess.run(["nm", linked], capture_output=True, text=True, check=True).stdout
    assert len(re.findall(r" T f\d+\n", names)) == 70000
