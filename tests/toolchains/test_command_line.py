"""`tvmake --toolchain` and `tvmake doctor --target`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cmake_support.project import REPO, Result, run

ENVIRONMENT = {"PYTHONPATH": str(REPO / "python")}
NAMES = sorted(file.name.removesuffix(".cmake") for file in (REPO / "toolchains").glob("*.cmake"))


def tvmake(*arguments: str, **environment: str) -> Result:
    python = sys.executable
    return run(python, "-m", "tvmake", *arguments, environment={**ENVIRONMENT, **environment})


def test_toolchain_prints_a_path() -> None:
    text = tvmake("--toolchain", "zig-aarch64-linux-gnu.2.28").check()
    assert Path(text.strip()) == REPO / "toolchains" / "zig-aarch64-linux-gnu.2.28.cmake"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("aarch64-gnu", "aarch64-linux-gnu"), ("zig-x86_64-musl", "zig-x86_64-linux-musl")],
)
def test_unknown_toolchain_suggests_the_nearest(wrong: str, right: str) -> None:
    for arguments in (("--toolchain", wrong), ("doctor", "--target", wrong)):
        result = tvmake(*arguments)
        result.fails(f"there is no toolchain '{wrong}'", f"did you mean '{right}'?")


def test_doctor_is_content_with_an_installed_target() -> None:
    text = tvmake("doctor", "--target", "aarch64-linux-gnu").output
    assert "ok      aarch64-linux-gnu: C++ compiler" in text
    assert "ok      aarch64-linux-gnu: emulator" in text


MISSING = {
    "riscv64-linux-gnu": [
        "apt-get install g++-riscv64-linux-gnu, or use the toolchain zig-riscv64-linux-gnu",
        "apt-get install qemu-user",
    ],
    "armv7l-linux-gnueabihf": [
        "apt-get install g++-arm-linux-gnueabihf, or use the toolchain zig-armv7l-linux-gnueabihf"
    ],
    "x86_64-linux-gnu": ["apt-get install g++-x86-64-linux-gnu"],
    "zig-aarch64-linux-gnu.2.28": ["apt-get install qemu-user"],
    "clang-aarch64-linux-gnu": ["apt-get install clang lld", "zig-aarch64-linux-gnu"],
    "android-arm64-v8a": ["get it from https://developer.android.com/ndk", "ANDROID_NDK_HOME"],
}


@pytest.mark.parametrize(("name", "fixes"), MISSING.items(), ids=MISSING.keys())
def test_doctor_tells_how_to_get_what_is_missing(
    name: str, fixes: list[str], tmp_path: Path
) -> None:
    bare = dict.fromkeys(("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK"), "")
    tvmake("doctor", "--target", name, PATH=str(tmp_path), **bare).fails(*fixes)


@pytest.mark.parametrize("name", NAMES)
def test_doctor_knows_every_toolchain(name: str) -> None:
    assert f"{name}: " in tvmake("doctor", "--target", name).output
