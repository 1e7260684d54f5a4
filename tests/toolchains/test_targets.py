"""The main job for every target: digits with VERIFY and harness, run under an emulator."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from onnx import helper

from cmake_support.project import REPO, Project, run


@dataclass(frozen=True)
class Target:
    """A toolchain and what readelf says of what it makes.

    Attributes:
        header: texts of the ELF header.
        newest: the newest symbol versions that a program may ask for; of libraries that are not
            named it may not ask for any.
    """

    toolchain: str
    header: tuple[str, ...]
    newest: dict[str, str]
    options: tuple[str, ...] = ()


X86 = ("ELF64", "X86-64")
ARM64 = ("ELF64", "AArch64")
ARM32 = ("ELF32", "ARM", "hard-float ABI")
RISCV = ("ELF64", "RISC-V", "double-float ABI")
# GCC and LIBATOMIC: libgcc_s and libatomic, both of GCC.
DEBIAN_12 = {
    "GLIBC": "2.36",
    "GLIBCXX": "3.4.30",
    "CXXABI": "1.3.13",
    "GCC": "7.0",
    "LIBATOMIC": "1.2",
}
ZIG = {"GLIBC": "2.34"}  # libc++ is inside of the program

TARGETS = [
    Target("x86_64-linux-gnu", X86, DEBIAN_12),
    Target("aarch64-linux-gnu", ARM64, DEBIAN_12),
    Target("armv7l-linux-gnueabihf", ARM32, DEBIAN_12),
    Target("riscv64-linux-gnu", RISCV, DEBIAN_12),
    Target("zig-x86_64-linux-gnu", X86, ZIG),
    Target("zig-x86_64-linux-gnu.2.28", X86, {"GLIBC": "2.28"}),
    Target("zig-aarch64-linux-gnu", ARM64, ZIG),
    Target("zig-aarch64-linux-gnu.2.28", ARM64, {"GLIBC": "2.28"}),
    Target("zig-armv7l-linux-gnueabihf", ARM32, ZIG),
    Target("zig-riscv64-linux-gnu", RISCV, ZIG),
    Target("zig-x86_64-linux-musl", X86, {}),
    Target("zig-aarch64-linux-musl", ARM64, {}),
]
PROGRAMS = ("digits_harness", "digits_verify", "digits_demo", "floats_verify")
# Digits have no call of libm; where such a call takes its floats is a matter of the target's ABI.
FLOATS = "\ntvmake_add_model(floats MODEL floats.onnx VERIFY)\n"
# exp() is another function since glibc 2.29, without an error handler.
EXPONENT = """
#include <math.h>
int main(int count, char** arguments) {
  (void)arguments;
  return exp(count) < 2.7;
}
"""
MEGABYTE = 1e6
STATIC_HARNESS = 1.5 * MEGABYTE


def build(target: Target, folder: Path) -> Project:
    """Digits, configured with the toolchain file and built, in a folder outside the repository."""
    shutil.copytree(REPO / "examples" / "digits", folder)
    with (folder / "CMakeLists.txt").open("a", encoding="utf-8") as listing:
        listing.write(FLOATS)
    onnx.save(floats(), folder / "floats.onnx")
    project = Project(folder)
    project.configure(
        f"-DCMAKE_TOOLCHAIN_FILE={REPO / 'toolchains' / target.toolchain}.cmake",
        f"-Dtvmake_DIR={REPO / 'cmake'}",
        "-DCMAKE_BUILD_TYPE=Release",
        *target.options,
    ).check()
    project.build().check()
    return project


def floats() -> onnx.ModelProto:
    """Returns sin(erf(x) ^ 2.5), which the kernels leave to libm."""
    nodes = [
        helper.make_node("Erf", ["x"], ["a"]),
        helper.make_node("Abs", ["a"], ["b"]),
        helper.make_node("Pow", ["b", "exponent"], ["c"]),
        helper.make_node("Sin", ["c"], ["y"]),
    ]
    exponent = helper.make_tensor("exponent", onnx.TensorProto.FLOAT, [], [2.5])
    values = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 16]) for n in "xy"]
    graph = helper.make_graph(nodes, "floats", values[:1], values[1:], [exponent])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def header(file: Path) -> str:
    return run("readelf", "--file-header", "--wide", file).check()


def newest_versions(program: Path) -> dict[str, str]:
    """The newest version of each library's symbols that a program asks for."""
    names = re.findall(
        r"Name: ([A-Z]+)_([0-9.]+) ", run("readelf", "-V", "--wide", program).check()
    )
    versions: dict[str, str] = {}
    for library, version in names:
        versions[library] = max(versions.get(library, "0"), version, key=numbers)
    return versions


def numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def check_programs(target: Target, project: Project) -> None:
    objects = [project.build_folder / name for name in PROGRAMS]
    for file in [*objects, project.model("digits") / "kernels.o"]:
        text = header(file)
        for part in target.header:
            if file.suffix != ".o" or part != "hard-float ABI":  # an attribute section tells there
                assert part in text, f"{file}: {text}"
    for program in objects:
        for library, version in newest_versions(program).items():
            assert library in target.newest, f"{program} needs {library}_{version}"
            assert numbers(version) <= numbers(target.newest[library]), program


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.toolchain)
def test_digits_are_built_and_run(target: Target, tmp_path: Path) -> None:
    project = build(target, tmp_path / "digits")
    listing = project.run("ctest", "--test-dir", project.build_folder, "--output-on-failure")
    assert "100% tests passed, 0 tests failed out of 3" in listing.check()
    check_programs(target, project)
    if "musl" in target.toolchain:
        check_static(project)


def check_static(project: Project) -> None:
    harness = project.build_folder / "digits_harness"
    assert "INTERP" not in run("readelf", "--program-headers", harness).check()
    assert "no dynamic section" in run("readelf", "--dynamic", harness).check()
    stripped = project.folder / "stripped"
    strip = "aarch64-linux-gnu-strip" if "AArch64" in header(harness) else "strip"
    run(strip, "-o", stripped, harness).check()
    assert stripped.stat().st_size <= STATIC_HARNESS


def glibc_of_exponent(toolchain: str, parts: tuple[str, ...], folder: Path) -> list[int]:
    """The version of glibc that a program in C needs for exp(); it is run, too."""
    project = Project(folder)
    project.write(
        "add_executable(app main.c)\ntarget_link_libraries(app PRIVATE m)\n"
        "add_test(NAME app COMMAND app)",
        languages="C",
    )
    (folder / "main.c").write_text(EXPONENT, encoding="utf-8")
    file = REPO / "toolchains" / f"{toolchain}.cmake"
    project.configure(f"-DCMAKE_TOOLCHAIN_FILE={file}").check()
    project.build().check()
    project.run("ctest", "--test-dir", project.build_folder, "--output-on-failure").check()
    program = project.build_folder / "app"
    assert all(part in header(program) for part in parts)
    return numbers(newest_versions(program)["GLIBC"])


@pytest.mark.parametrize(
    ("toolchain", "parts"), [("zig-x86_64-linux-gnu", X86), ("zig-aarch64-linux-gnu", ARM64)]
)
def test_zig_takes_a_newer_glibc_unless_told(
    toolchain: str, parts: tuple[str, ...], tmp_path: Path
) -> None:
    assert [2, 29] <= glibc_of_exponent(toolchain, parts, tmp_path / "new") <= numbers(ZIG["GLIBC"])
    assert glibc_of_exponent(f"{toolchain}.2.28", parts, tmp_path / "old") <= [2, 28]


def debian_sysroot(folder: Path, triple: str) -> Path:
    """A root folder as a device has it, of Debian's cross libraries."""
    libraries = folder / "usr" / "lib"
    libraries.mkdir(parents=True)
    for file in Path("/usr", triple, "lib").iterdir():
        (libraries / file.name).symlink_to(file)
    (libraries / "gcc" / triple).mkdir(parents=True)
    for version in Path("/usr/lib/gcc-cross", triple).iterdir():
        (libraries / "gcc" / triple / version.name).symlink_to(version)
    (folder / "usr" / "include").symlink_to(f"/usr/{triple}/include")
    (folder / "lib").symlink_to("usr/lib")
    return folder


@pytest.mark.slow
def test_clang_takes_libraries_from_the_sysroot(tmp_path: Path) -> None:
    root = debian_sysroot(tmp_path / "root", "aarch64-linux-gnu")
    options = (f"-DCMAKE_SYSROOT={root}",)
    target = Target("clang-aarch64-linux-gnu", ARM64, DEBIAN_12, options)
    project = build(target, tmp_path / "digits")
    listing = project.run("ctest", "--test-dir", project.build_folder, "--output-on-failure")
    assert "100% tests passed" in listing.check()
    check_programs(target, project)


@pytest.mark.slow
def test_riscv_vectors_compute_the_same(tmp_path: Path) -> None:
    """With them; a CPU that has none is told what it lacks."""
    emulator = f"{shutil.which('qemu-riscv64')};-cpu;rv64,v=true;-L;/usr/riscv64-linux-gnu"
    options = ("-DTVMAKE_TARGET_FEATURES=+v", f"-DCMAKE_CROSSCOMPILING_EMULATOR={emulator}")
    target = Target("riscv64-linux-gnu", RISCV, DEBIAN_12, options)
    project = build(target, tmp_path / "digits")
    assert "v" in project.json("digits", "manifest.json")["target"]["required_cpu_features"]
    project.run("ctest", "--test-dir", project.build_folder, "--output-on-failure").check()

    done = run(
        *("qemu-riscv64", "-cpu", "rv64,v=false", "-L", "/usr/riscv64-linux-gnu"),
        project.build_folder / "digits_demo",
        project.folder,
    )
    assert done.code == 1
    assert "this CPU lacks v" in done.output
