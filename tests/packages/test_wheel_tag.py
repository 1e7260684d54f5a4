"""The platform tag of a wheel follows from its binaries, and agrees with auditwheel's rules."""

from __future__ import annotations

import json
import zipfile
from importlib import resources
from pathlib import Path

import pytest

from packages.support import check, run
from tvmake import wheel_tag
from tvmake.errors import TvmakeError
from tvmake.wheel_tag import Binary, Version, platform_tag, retag

_LIBC = ("libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2")


def binary(
    versions: dict[str, Version] | None = None,
    *,
    needed: tuple[str, ...] = _LIBC,
    architecture: str = "x86_64",
    name: str = "net/_native.so",
) -> Binary:
    return Binary(name, architecture, needed, versions or {})


@pytest.mark.parametrize(
    ("versions", "tag"),
    [
        ({"GLIBC": (2, 17)}, "manylinux_2_17_x86_64.manylinux2014_x86_64"),
        ({"GLIBC": (2, 2, 5)}, "manylinux_2_17_x86_64.manylinux2014_x86_64"),
        ({"GLIBC": (2, 28)}, "manylinux_2_28_x86_64"),
        ({"GLIBC": (2, 29)}, "manylinux_2_31_x86_64"),
        ({"GLIBC": (2, 34), "GLIBCXX": (3, 4, 29)}, "manylinux_2_34_x86_64"),
        ({"GLIBC": (2, 34), "GLIBCXX": (3, 4, 30)}, "manylinux_2_35_x86_64"),
        ({"GLIBC": (2, 17), "GLIBCXX": (3, 4, 25)}, "manylinux_2_31_x86_64"),
        ({"GLIBC": (2, 99)}, "linux_x86_64"),
        ({"GLIBC": (2, 17), "GLIBC_PRIVATE": (0,)}, "linux_x86_64"),
        ({"GLIBC": (2, 17), "OPENSSL": (3, 0)}, "linux_x86_64"),
    ],
)
def test_tag_of_versions(versions: dict[str, Version], tag: str) -> None:
    assert platform_tag([binary(versions)]) == tag


def test_newest_of_all_binaries_counts() -> None:
    older, newer = binary({"GLIBC": (2, 17)}), binary({"GLIBC": (2, 28)}, name="net/b.so")
    assert platform_tag([older, newer]) == platform_tag([newer, older]) == "manylinux_2_28_x86_64"


def test_libraries() -> None:
    versions: dict[str, Version] = {"GLIBC": (2, 17)}
    foreign = binary(versions, needed=("libc.so.6", "libopenblas.so.0"))
    assert platform_tag([foreign]) == "linux_x86_64"
    own = binary(versions, name="net/libopenblas.so.0")  # the wheel brings it
    assert platform_tag([foreign, own]).startswith("manylinux_2_17")
    musl = binary(needed=("libc.so",), architecture="aarch64")
    assert platform_tag([musl]) == "musllinux_1_2_aarch64"


def test_two_architectures_are_refused() -> None:
    with pytest.raises(TvmakeError, match="aarch64 and x86_64") as caught:
        platform_tag([binary(), binary(architecture="aarch64", name="net/b.so")])
    assert "net/_native.so, net/b.so" in str(caught.value)


def test_promises_are_those_of_auditwheel() -> None:
    """For x86-64 and 64-bit ARM no promise goes beyond auditwheel's of the same name."""
    text = resources.files("auditwheel.policy").joinpath("manylinux-policy.json").read_text()
    theirs = {entry["name"]: entry["symbol_versions"] for entry in json.loads(text)}
    for promise in wheel_tag._PROMISES:
        symbols = theirs["manylinux_{}_{}".format(*promise.glibc)]
        for architecture in ("x86_64", "aarch64"):
            for library, newest in promise.newest.items():
                known = symbols[architecture].get(library)
                if known and library != "GLIBC":  # that one is the name
                    versions = [tuple(map(int, v.split("."))) for v in known if v[0].isdigit()]
                    assert newest <= max(versions), (promise, architecture, library)


def build(folder: Path, compiler: str, source: str) -> Path:
    """A wheel with one library, tagged as scikit-build-core would."""
    (folder / "net.c").write_text(source)
    check(compiler, "-shared", "-fPIC", "-o", folder / "net.so", folder / "net.c")
    wheel = folder / "net-1.0-cp312-abi3-linux_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(folder / "net.so", "net/net.so")
        archive.writestr(
            "net-1.0.dist-info/WHEEL", "Root-Is-Purelib: false\nTag: cp312-abi3-linux_x86_64\n"
        )
        archive.writestr(
            "net-1.0.dist-info/RECORD",
            "net/net.so,sha256=x,1\nnet-1.0.dist-info/WHEEL,sha256=x,1\nnet-1.0.dist-info/RECORD,,\n",
        )
    return wheel


def test_wheel_of_a_cross_build_is_renamed(tmp_path: Path) -> None:
    wheel = retag(build(tmp_path, "aarch64-linux-gnu-gcc", "int answer(void) { return 42; }\n"))
    assert wheel.name == "net-1.0-cp312-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"
    assert [path.name for path in tmp_path.glob("*.whl")] == [wheel.name]
    with zipfile.ZipFile(wheel) as archive:
        lines = archive.read("net-1.0.dist-info/WHEEL").decode().splitlines()
        record = archive.read("net-1.0.dist-info/RECORD").decode().splitlines()
    assert lines[1:] == [
        "Tag: cp312-abi3-manylinux_2_17_aarch64",
        "Tag: cp312-abi3-manylinux2014_aarch64",
    ]
    assert record[0] == "net/net.so,sha256=x,1"
    assert record[1].startswith("net-1.0.dist-info/WHEEL,sha256=")
    assert not record[1].endswith("sha256=x,1")
    before = wheel.read_bytes()
    assert retag(wheel).read_bytes() == before


def test_architecture_without_a_tag(tmp_path: Path) -> None:
    wheel = build(tmp_path, "gcc", "int answer(void) { return 42; }\n")
    content = bytearray((tmp_path / "net.so").read_bytes())
    content[18] = 43
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("net/net.so", bytes(content))
    with pytest.raises(TvmakeError, match="no platform tag for EM_SPARCV9 with 64 bits"):
        retag(wheel)


def test_wheel_without_binaries_stays(tmp_path: Path) -> None:
    wheel = tmp_path / "pure-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pure/__init__.py", "")
    assert retag(wheel) == wheel


def test_programs_of_this_machine_are_read(tmp_path: Path) -> None:
    """What pyelftools finds is what readelf shows."""
    wheel = build(tmp_path, "gcc", '#include <stdio.h>\nint hello(void) { return puts("x"); }\n')
    (found,) = wheel_tag.read(wheel)
    assert found.needed == ("libc.so.6",)
    shown = run("readelf", "-V", "--wide", tmp_path / "net.so").output
    newest = "{}.{}".format(*found.versions["GLIBC"][:2])
    assert f"GLIBC_{newest}" in shown
