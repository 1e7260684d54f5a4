"""The toolchain files: found, complete, and clear about what is missing or contradictory."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from cmake_support.onnx_models import dense
from cmake_support.project import REPO, Project, Result

TOOLCHAINS = REPO / "toolchains"
MODEL = "tvmake_add_model(net MODEL dense.onnx)"
PROGRAM = "add_executable(app main.c)\nadd_test(NAME app COMMAND app)"
CHECKED_BY_COMPILING = "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY"  # no library of that ABI


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    dense(folder / "dense.onnx")
    (folder / "main.c").write_text("int main(void) { return 0; }\n", encoding="utf-8")
    return Project(folder)


def toolchain(name: str) -> str:
    return f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAINS / name}.cmake"


def compilers(prefix: str) -> tuple[str, ...]:
    """A cross build without any toolchain file of ours."""
    return (
        "-DCMAKE_SYSTEM_NAME=Linux",
        f"-DCMAKE_C_COMPILER={prefix}-gcc",
        f"-DCMAKE_CXX_COMPILER={prefix}-g++",
    )


def without(project: Project, folder: Path, pattern: str) -> Project:
    """The project, on a machine whose PATH has no program of that name."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*"):
            link = folder / program.name
            if not re.match(pattern, program.name) and not link.is_symlink():
                link.symlink_to(program)
    return Project(project.folder, environment={"PATH": str(folder)})


def target(project: Project) -> dict[str, object]:
    """The target that CMake passes to the compiler of models."""
    content: dict[str, object] = project.json("net", "spec.json")["target"]
    return content


@pytest.mark.parametrize("file", sorted(TOOLCHAINS.glob("*.cmake")), ids=lambda path: path.stem)
def test_leaf_is_short_and_has_presets(file: Path) -> None:
    assert len(file.read_text("utf-8").splitlines()) < 20
    presets = json.loads((REPO / "CMakePresets.json").read_text("utf-8"))
    name = file.name.removesuffix(".cmake")
    for kind in ("configurePresets", "buildPresets", "testPresets", "workflowPresets"):
        assert name in [preset["name"] for preset in presets[kind]]


MISSING = {
    "riscv64-linux-gnu": [
        "the compiler riscv64-linux-gnu-gcc is not on the PATH",
        "apt-get install g++-riscv64-linux-gnu",
        "zig-riscv64-linux-gnu",
    ],
    "clang-aarch64-linux-gnu": ["clang is not on the PATH", "fix: apt-get install clang lld"],
}


@pytest.mark.parametrize(("name", "parts"), MISSING.items(), ids=MISSING.keys())
def test_missing_compiler_is_told(
    project: Project, tmp_path: Path, name: str, parts: list[str]
) -> None:
    project.write(PROGRAM)
    bare = without(project, tmp_path / "bin", r"riscv64-linux-gnu-|clang")
    bare.configure(toolchain(name)).fails(*parts)


def test_missing_emulator_fails_the_tests_only(project: Project, tmp_path: Path) -> None:
    project.write(PROGRAM)
    bare = without(project, tmp_path / "bin", r"qemu-")
    bare.configure(toolchain("aarch64-linux-gnu")).check()
    bare.build().check()
    tests = bare.run("ctest", "--test-dir", project.build_folder, "--output-on-failure")
    assert tests.code
    assert "qemu-aarch64 is missing" in tests.output
    assert "fix: apt-get install qemu-user" in tests.output


def test_program_runs_under_the_emulator(project: Project) -> None:
    project.write(PROGRAM)
    project.configure(toolchain("riscv64-linux-gnu")).check()
    project.build().check()
    project.run("ctest", "--test-dir", project.build_folder).check()


def test_host_tools_are_not_looked_for_in_the_sysroot(project: Project, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for folder in ("bin", "usr/bin"):
        (root / folder).mkdir(parents=True)
        for name in ("python3", "qemu-aarch64", "ninja"):
            shutil.copy("/bin/false", root / folder / name)
    show = 'message(STATUS "[${tool}] [${CMAKE_CROSSCOMPILING_EMULATOR}]")'
    project.write(f"find_program(tool NAMES python3)\n{show}\n{MODEL}")
    text = project.configure(
        toolchain("aarch64-linux-gnu"), f"-DCMAKE_FIND_ROOT_PATH={root}"
    ).check()
    assert re.search(r"\[/.*python3\] \[/.*qemu-aarch64", text)
    assert f"[{root}" not in text


FOREIGN = {
    "arm": (compilers("arm-linux-gnueabihf"), "armv7l-linux-gnueabihf"),
    "aarch64": (compilers("aarch64-linux-gnu"), "aarch64-linux-gnu"),
    "riscv64": (compilers("riscv64-linux-gnu"), "riscv64-linux-gnu"),
}


@pytest.mark.parametrize(("options", "triple"), FOREIGN.values(), ids=FOREIGN.keys())
def test_foreign_toolchain_tells_its_triple(
    project: Project, options: tuple[str, ...], triple: str
) -> None:
    project.write(MODEL)
    project.configure(*options).check()
    assert target(project)["triple"] == triple


def test_cpu_and_features_refine_the_toolchain(project: Project) -> None:
    project.write(f"{MODEL}\ntvmake_add_model(other MODEL dense.onnx CPU cortex-a72)")
    project.configure(
        toolchain("aarch64-linux-gnu"),
        "-DTVMAKE_TARGET_CPU=cortex-a55",
        "-DTVMAKE_TARGET_FEATURES=+dotprod;-sve",
    ).check()
    expected = {"cpu": "cortex-a55", "features": ["+dotprod", "-sve"]}
    assert target(project) == {"triple": "aarch64-linux-gnu", **expected}
    assert project.json("other", "spec.json")["target"]["cpu"] == "cortex-a72"


CONTRADICTIONS = {
    "architecture": (
        (*compilers("aarch64-linux-gnu"), "-DTVMAKE_TARGET_TRIPLE=riscv64-linux-gnu"),
        ["makes code for aarch64, but the target is riscv64-linux-gnu", "fix:"],
    ),
    "pointer width": (
        (*compilers("aarch64-linux-gnu"), "-DTVMAKE_TARGET_TRIPLE=armv7l-linux-gnueabihf"),
        ["makes 64-bit code, but the target is armv7l-linux-gnueabihf", "expected:"],
    ),
    "byte order": (
        (*compilers("aarch64-linux-gnu"), "-DTVMAKE_TARGET_TRIPLE=aarch64_be-linux-gnu"),
        ["LITTLE_ENDIAN, but the target aarch64_be-linux-gnu is not", "fix:"],
    ),
    "float ABI, arm": (
        (*compilers("arm-linux-gnueabihf"), "-DTVMAKE_TARGET_TRIPLE=armv7l-linux-gnueabi"),
        ["float ABI 'hard', but kernels for armv7l-linux-gnueabi have 'soft'", "fix:"],
    ),
    "float ABI, riscv": (
        (
            toolchain("riscv64-linux-gnu"),
            "-DCMAKE_CXX_FLAGS=-march=rv64imac -mabi=lp64",
            CHECKED_BY_COMPILING,
        ),
        ["float ABI 'soft'", "'double'", "-mabi=lp64d"],
    ),
    "feature of the calling convention": (
        (toolchain("riscv64-linux-gnu"), "-DTVMAKE_TARGET_FEATURES=-d"),
        ["FEATURES has -d", "take floats in those registers", "fix: leave out -d"],
    ),
    "feature that the C++ side lacks": (
        (
            toolchain("x86_64-linux-gnu"),
            "-DTVMAKE_TARGET_FEATURES=+avx2",
            "-DCMAKE_CXX_FLAGS=-mno-avx2",
        ),
        ["FEATURES has +avx2, but the C++ compiler's flags have -mno-avx2"],
    ),
    "toolchain and triple": (
        (toolchain("aarch64-linux-gnu"), "-DTVMAKE_TARGET_TRIPLE=riscv64-linux-gnu"),
        ["is riscv64-linux-gnu, but the toolchain is for aarch64-linux-gnu", "fix:"],
    ),
    "no zig": (
        (toolchain("zig-aarch64-linux-gnu"), "-DTVMAKE_ZIG=/nowhere/zig"),
        ["TVMAKE_ZIG '/nowhere/zig' does not exist", "fix:"],
    ),
    "no sysroot": (
        (toolchain("clang-aarch64-linux-gnu"), "-DCMAKE_SYSROOT=/nowhere"),
        ["CMAKE_SYSROOT '/nowhere' is no folder", "expected:"],
    ),
}


@pytest.mark.parametrize(("options", "parts"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_contradiction_stops_the_configure_run(
    project: Project, options: tuple[str, ...], parts: list[str]
) -> None:
    project.write(MODEL)
    project.configure(*options).fails(*parts)


# The compiler that the NDK's file would choose.
CLANG = """
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_C_COMPILER clang)
set(CMAKE_CXX_COMPILER clang++)
set(CMAKE_C_COMPILER_TARGET {triple})
set(CMAKE_CXX_COMPILER_TARGET {triple})
"""


def fake_ndk(folder: Path, compiler: str = "") -> Path:
    """What of an NDK the toolchain files touch; compiles for the host, or with that compiler."""
    file = folder / "build" / "cmake" / "android.toolchain.cmake"
    file.parent.mkdir(parents=True)
    file.write_text(
        'message(STATUS "NDK: ${ANDROID_ABI} ${ANDROID_PLATFORM} ${ANDROID_STL}")\n'
        f"set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)\n{compiler}",
        encoding="utf-8",
    )
    return folder


def android(project: Project, *options: str, ndk: str = "", abi: str = "x86_64") -> Result:
    environment = dict.fromkeys(("ANDROID_NDK_ROOT", "ANDROID_NDK"), "")
    return Project(project.folder, environment={**environment, "ANDROID_NDK_HOME": ndk}).configure(
        toolchain(f"android-{abi}"), *options
    )


def test_android_wraps_the_ndk(project: Project, tmp_path: Path) -> None:
    project.write(f'{MODEL}\nmessage(STATUS "mode ${{CMAKE_FIND_ROOT_PATH_MODE_PACKAGE}}")')
    text = android(project, ndk=str(fake_ndk(tmp_path / "ndk"))).check()
    assert "NDK: x86_64 android-24 c++_static" in text
    assert "mode BOTH" in text
    assert target(project)["triple"] == "x86_64-linux-android"


@pytest.mark.parametrize(
    ("abi", "triple"),
    [("arm64-v8a", "aarch64-linux-android"), ("armeabi-v7a", "armv7a-linux-androideabi")],
)
def test_android_abi_decides_the_kernels(
    project: Project, tmp_path: Path, abi: str, triple: str
) -> None:
    """With Clang in the NDK's place, which needs no C library as long as nothing is linked."""
    project.write(MODEL)
    ndk = fake_ndk(tmp_path / "ndk", CLANG.format(triple=f"{triple}24"))
    text = android(project, CHECKED_BY_COMPILING, ndk=str(ndk), abi=abi).check()
    assert f"NDK: {abi} android-24 c++_static" in text
    assert target(project)["triple"] == triple


def test_android_options_reach_the_ndk(project: Project, tmp_path: Path) -> None:
    project.write(MODEL)
    ndk = fake_ndk(tmp_path / "ndk")
    options = ("-DANDROID_PLATFORM=android-30", "-DANDROID_STL=c++_shared")
    text = android(project, f"-DANDROID_NDK={ndk}", *options).check()
    assert "NDK: x86_64 android-30 c++_shared" in text


def test_missing_ndk_is_told(project: Project, tmp_path: Path) -> None:
    project.write(MODEL)
    android(project).fails("the Android NDK is not known", "fix: get it from", "ANDROID_NDK_HOME")
    android(project, ndk=str(tmp_path)).fails("has no build/cmake/android.toolchain.cmake", "fix:")
