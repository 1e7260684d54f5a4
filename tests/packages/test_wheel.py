"""A model as a wheel: with the stable ABI and without, run where there is nothing but NumPy."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from packages.debian_python import VERSION, compile_all, debian_python
from packages.support import (
    DIGITS,
    REPO,
    check,
    cmake,
    empty_environment,
    needed,
    own_python,
    pip,
    run,
)

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def newer(cache: Path) -> Path:
    """A Python with the stable ABI: 3.12 or later."""
    return debian_python("amd64", cache)


@pytest.fixture(scope="module")
def builder(newer: Path, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python of that version that can build model wheels; another one runs tvmake's compiler."""
    python = empty_environment(tmp_path_factory.mktemp("builder") / "venv", newer)
    # CMake: 3.26 is the first that finds the stable ABI, Debian 12 has 3.25.
    tools = ("scikit-build-core>=1.0,<2", "cmake>=3.26", "ninja", "pyelftools")
    pip(python, "install", "-q", *tools)
    pip(python, "install", "-q", "--no-deps", *wheelhouse.iterdir())
    return python


def build_wheel(builder: Path, folder: Path, *options: str) -> Path:
    """The wheel of examples/wheel."""
    shutil.copytree(REPO / "examples" / "wheel", folder / "source")
    settings = [f"--config-settings=cmake.define.{option}" for option in options]
    settings += [f"--config-settings=cmake.define.{own_python().removeprefix('-D')}"]
    options = ("wheel", "--no-deps", "--no-build-isolation", *settings, "-w", str(folder / "dist"))
    pip(builder, *options, folder / "source")
    (path,) = (folder / "dist").iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(builder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One wheel for Python 3.12 and all later ones."""
    return build_wheel(builder, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(newer: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel and what it depends on."""
    python = empty_environment(tmp_path_factory.mktemp("empty") / "venv", newer)
    pip(python, "install", "-q", wheel)
    return python


def platform_tag(wheel: Path) -> str:
    """The platform that a wheel's name says, without its second name for old installers."""
    return wheel.stem.split("-")[-1].split(".")[0]


def auditwheel_tag(wheel: Path) -> str:
    """The platform tag that auditwheel finds for a wheel, whatever its name says."""
    said = check(sys.executable, "-m", "auditwheel", "show", wheel)
    match = re.search(r'following platform tag:\s+"([^"]+)"', said)
    assert match, said
    return match[1]


def test_wheel(wheel: Path) -> None:
    """Bound: 1.5 MB."""
    assert wheel.stat().st_size <= 1.5 * MEGABYTE
    assert wheel.name.startswith("digits-1.0.0-cp312-abi3-manylinux_2_")
    assert platform_tag(wheel) == auditwheel_tag(wheel)
    assert f"Tag: cp312-abi3-{auditwheel_tag(wheel)}" in metadata_lines(wheel)
    names = zipfile.ZipFile(wheel).namelist()
    own = [name for name in names if name.startswith("digits/")]
    assert [name for name in own if "_native" not in name] == [
        "digits/__init__.py",
        "digits/py.typed",
    ]
    information = "digits-1.0.0.dist-info"
    bill = json.loads(zipfile.ZipFile(wheel).read(f"{information}/sboms/digits.cdx.json"))
    assert bill["metadata"]["component"]["version"] == "1.0.0"
    assert "nanobind" in {entry["name"] for entry in bill["components"]}
    for package in ("tvmake", "apache-tvm", "nanobind"):
        assert f"{information}/licenses/digits/{package}/LICENSE" in names


def metadata_lines(wheel: Path) -> list[str]:
    """The file WHEEL of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        return archive.read(name).decode().splitlines()


def test_module_keeps_to_the_stable_abi(wheel: Path) -> None:
    """abi3audit compares each symbol with the versions that CPython promises it for."""
    said = check(sys.executable, "-m", "abi3audit", "--strict", "--report", wheel)
    report = json.loads(said[said.index("{") :])
    ((module,),) = (entry["wheel"] for entry in report["specs"].values())
    assert module["name"] == "_native.abi3.so"
    result = module["result"]
    assert (result["is_abi3"], result["baseline"], result["computed"]) == (True, "3.12", "3.12")


@pytest.mark.slow
def test_wheel_for_another_architecture(
    builder: Path, cache: Path, wheelhouse: Path, tmp_path: Path
) -> None:
    """Cross built for 64-bit ARM and glibc 2.28; the module runs in that architecture's Python."""
    del wheelhouse
    toolchain = REPO / "toolchains" / "zig-aarch64-linux-gnu.2.28.cmake"
    wheel = build_wheel(builder, tmp_path, f"CMAKE_TOOLCHAIN_FILE={toolchain}")
    older = [f"manylinux_2_{minor}_aarch64" for minor in (17, 24, 26, 27, 28)]
    assert platform_tag(wheel) == auditwheel_tag(wheel)
    assert platform_tag(wheel) in older

    site = tmp_path / "site"
    platforms = [f"--platform={name}" for name in (*older, "manylinux2014_aarch64")]
    only = ("--only-binary=:all:", f"--python-version={VERSION}", *platforms)
    # Without an interpreter of that architecture pip takes a wheel by its tags alone.
    pip(sys.executable, "install", "-q", "--target", site, *only, wheel)
    compile_all(site, cache)
    image = np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
    np.save(tmp_path / "x.npy", image)
    program = (
        "import platform, numpy, digits\n"
        "assert platform.machine() == 'aarch64'\n"
        "numpy.save('y.npy', digits.Model(num_threads=1).run(numpy.load('x.npy')))\n"
    )
    environment = {"PYTHONPATH": str(site), "OPENBLAS_NUM_THREADS": "1"}
    python = debian_python("arm64", cache)
    check(python, "-c", program, cwd=tmp_path, environment=environment)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), reference(image), rtol=1e-4, atol=1e-5)


def reference(image: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Any:
    """What onnxruntime makes of a picture."""
    session = ort.InferenceSession(DIGITS / "digits.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


def test_headers_of_another_architecture_are_told(builder: Path, tmp_path: Path) -> None:
    """The Python that builds has 64 bits; its headers do for 64-bit ARM, but not for 32 bits."""
    toolchain = REPO / "toolchains" / "armv7l-linux-gnueabihf.cmake"
    shutil.copytree(REPO / "examples" / "wheel", tmp_path / "source")
    include = builder.resolve().parents[1] / "include" / f"python{VERSION}"
    result = cmake(
        tmp_path / "source",
        tmp_path / "build",
        f"-DCMAKE_TOOLCHAIN_FILE={toolchain}",
        f"-Dtvmake_DIR={REPO / 'cmake'}",
        own_python(),
        f"-DPython_EXECUTABLE={builder}",
        f"-DPython_INCLUDE_DIR={include}",
        "-DSKBUILD_PROJECT_NAME=digits",
        "-DSKBUILD_PROJECT_VERSION=1.0.0",
    )
    result.fails(f"headers in '{include}' are not for armv7l-linux-gnueabihf", "Python_INCLUDE_DIR")


def test_module_needs_and_exports_nothing_else(python: Path) -> None:
    (module,) = (python.parents[1] / "lib").glob("*/site-packages/digits/_native*.so")
    assert not needed(module)
    symbols = check("nm", "-D", "--defined-only", module).split("\n")
    assert [line.split()[-1] for line in symbols if line] == ["PyInit__native"]
    listing = json.loads(pip(python, "list", "--format=json"))
    assert {entry["name"] for entry in listing} == {"digits", "numpy"}


def test_numbers(python: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
    np.save(tmp_path / "x.npy", image)
    program = (
        "import numpy, digits\n"
        "y = digits.Model().run(numpy.load('x.npy'))\n"
        "numpy.save('y.npy', y)\n"
    )
    check(python, "-c", program, cwd=tmp_path)
    expected = reference(image)
    result = np.load(tmp_path / "y.npy")
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_import_and_first_result(python: Path) -> None:
    """Bound: 50 ms; the best of some processes, because others disturb the measurement."""
    program = (
        "import time, numpy\n"
        "x = numpy.zeros((1, 1, 8, 8), numpy.float32)\n"
        "start = time.perf_counter()\n"
        "import digits\n"
        "digits.Model().run(x)\n"
        "print(time.perf_counter() - start)\n"
    )
    best = min(float(check(python, "-c", program)) for _ in range(7))
    assert best <= 0.050


_BEHAVIOUR = """
import threading
import numpy as np
import digits

def fails(error, text, call):
    try:
        call()
    except error as caught:
        assert text in str(caught), str(caught)
    else:
        raise AssertionError(f"no {error.__name__}")

model = digits.Model(num_threads=1)
x = np.random.default_rng(1).random((1, 1, 8, 8), np.float32)
y = model.run(x)

# By position, by name, called; a result of its own each time.
assert (model.run(image=x) == y).all() and (model(x) == y).all()
before = y.copy()
model.run(x / 2)
assert (y == before).all() and y.flags.writeable

# In: read only, of another layout, unaligned, from others by DLPack or the buffer protocol.
frozen = x.copy()
frozen.flags.writeable = False
assert (model.run(frozen) == y).all()
wide = np.zeros((1, 1, 8, 16), np.float32)
wide[..., ::2] = x
assert (model.run(wide[..., ::2]) == y).all()
memory = np.zeros(65 * 4, np.uint8)[4:]
shifted = memory.view(np.float32).reshape(1, 1, 8, 8)
shifted[...] = x
assert (model.run(shifted) == y).all()
assert (model.run(memoryview(x)) == y).all()

class Foreign:
    def __dlpack__(self, **arguments):
        return x.__dlpack__()
    def __dlpack_device__(self):
        return x.__dlpack_device__()

assert (model.run(Foreign()) == y).all()

# Out: without a copy into other libraries.
assert np.shares_memory(np.from_dlpack(y), y)

# The model's own input: filled in place.
model.inputs["image"][...] = x
assert (model.run() == y).all()
kept = model.inputs["image"]
other = model.clone(num_threads=2)
del model
kept[...] = 1  # keeps the model alive
assert (other.run(x) == y).all() and other.num_threads == 2 and other.weights_bytes > 0

fails(TypeError, "float32, not float64; convert it: array.", lambda: other.run(x.astype("f8")))
fails(ValueError, "has the shape (1, 1, 8, 8), not (8, 8)", lambda: other.run(x[0, 0]))
fails(TypeError, "no input 'picture'", lambda: other.run(picture=x))
fails(TypeError, "'image' twice", lambda: other.run(x, image=x))
fails(TypeError, "takes a NumPy array", lambda: other.run([1.0]))
fails(TypeError, "at most", lambda: other.run(x, x))
fails(digits.ModelError, "num_threads", lambda: digits.Model(num_threads=-1))
assert issubclass(digits.ModelError, RuntimeError)

# Many threads take turns on one model.
results = []
def work(value):
    picture = np.full((1, 1, 8, 8), value, np.float32)
    expected = digits.Model(num_threads=1).run(picture)
    results.append(all((other.run(picture) == expected).all() for _ in range(200)))
threads = [threading.Thread(target=work, args=(value,)) for value in (0.1, 0.2, 0.3, 0.4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert results == [True] * 4

info = digits.info()
assert info["model"]["file"] == "digits.onnx" and info["inputs"][0]["shape"] == [1, 1, 8, 8]
assert digits.Model.__module__ == "digits" and "image: float32[1,1,8,8]" in digits.Model.run.__doc__
"""


def test_behaviour(python: Path) -> None:
    check(python, "-X", "dev", "-W", "error", "-c", _BEHAVIOUR)


def test_run_lets_other_threads_go_on(python: Path) -> None:
    """A thread that only runs the model leaves the interpreter to others: no deadlock, no lock."""
    program = (
        "import sys, threading, numpy, digits\n"
        "sys.setswitchinterval(60)\n"  # so that only what gives the lock away lets others in
        "model = digits.Model(num_threads=1)\n"
        "x = numpy.zeros((1, 1, 8, 8), numpy.float32)\n"
        "seen = threading.Event()\n"
        "threading.Thread(target=seen.set, daemon=True).start()\n"
        "for _ in range(100_000):\n"
        "    model.run(x)\n"
        "    if seen.is_set(): break\n"
        "assert seen.is_set()\n"
    )
    check(python, "-c", program)


def test_stub_says_what_the_module_has(python: Path) -> None:
    (stub,) = (python.parents[1] / "lib").glob("*/site-packages/digits/_native.pyi")
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    public = {name for name in [*classes, *functions] if not name.startswith("_")}
    has = "import digits; print(*digits.__all__); print(*digits.Model.__dict__)"
    exported, members = check(python, "-c", has).splitlines()
    assert public == set(exported.split())
    declared = {node.name for node in classes["Model"].body if isinstance(node, ast.FunctionDef)}
    assert declared <= set(members.split())


@pytest.mark.parametrize(
    ("model", "module", "message"),
    [
        ("", "tvmake_add_wheel_module(digits)", "MODEL is missing"),
        ("", "tvmake_add_wheel_module(digits MODEL digit)", "did you mean digits?"),
        ("", "tvmake_add_wheel_module(di-gits MODEL digits)", "the module's name is 'di-gits'"),
        ("", "tvmake_add_wheel_module(digits MODEL digits STABLE)", "unknown argument 'STABLE'"),
        (
            "LIBRARY SHARED",
            "tvmake_add_wheel_module(digits MODEL digits)",
            "is a SHARED_LIBRARY with RUNTIME STATIC",
        ),
    ],
)
def test_wrong_arguments(tmp_path: Path, model: str, module: str, message: str) -> None:
    shutil.copy(DIGITS / "digits.onnx", tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\n"
        "project(models LANGUAGES CXX)\n"
        f'include("{REPO}/cmake/tvmake-config.cmake")\n'
        f"tvmake_add_model(digits MODEL digits.onnx {model})\n{module}\n"
    )
    cmake(tmp_path, tmp_path / "build", own_python()).fails("tvmake_add_wheel_module", message)


def test_wheel_that_lost_its_weights(tools: Path, wheelhouse: Path, tmp_path: Path) -> None:
    """A package with WEIGHTS FILE, made by `tvmake new` of a model with awkward names."""
    model = tmp_path / "awkward.onnx"
    check(sys.executable, Path(__file__).with_name("awkward_model.py"), model)
    tvmake = tools.parent / "tvmake"
    new = (tvmake, "new", "wheel", tmp_path / "two-sums", "--model", model)
    run(*new).fails("inputs of dynamic shape", "INPUTS in=float32[1,4]")
    shapes = ("--input", "in=float32[2,4]", "--input", "x.1=float32[2,4]")
    assert "pip install" in check(*new, *shapes)
    project = tmp_path / "two-sums" / "CMakeLists.txt"
    text = project.read_text().replace("MODEL awkward.onnx", "MODEL awkward.onnx WEIGHTS FILE")
    project.write_text(text)

    # As a user builds it, in isolation, with a Python that may be older than the stable ABI.
    python = empty_environment(tmp_path / "venv")
    options = ("wheel", "-q", "--no-deps", "-w", tmp_path / "dist")
    found = {"PIP_FIND_LINKS": f"{os.environ.get('PIP_FIND_LINKS', '')} {wheelhouse}".strip()}
    pip(sys.executable, *options, tmp_path / "two-sums", environment=found)
    (wheel,) = (tmp_path / "dist").iterdir()
    _, _, version, abi, _ = wheel.stem.split("-")
    assert abi == ("abi3" if sys.version_info >= (3, 12) else version)
    assert platform_tag(wheel) == auditwheel_tag(wheel)
    pip(python, "install", "-q", wheel)
    program = (
        "import numpy as np, two_sums\n"
        "a, b = np.ones((2, 4), np.float32), np.full((2, 4), 2, np.float32)\n"
        "r = two_sums.Model().run(**{'in': a, 'x.1': b})\n"
        "assert isinstance(r, two_sums.Outputs) and r._fields == ('plus', 'minus'), r._fields\n"
        "assert (r.plus == 3 + np.arange(4)).all() and (r.minus == -1).all(), r\n"
        "assert (two_sums.Model().run(in_=a, x_1=b).plus == r.plus).all()\n"
        "try: two_sums.Model().run(a)\n"
        "except TypeError as error: assert \"misses the input 'x_1'\" in str(error), error\n"
    )
    check(python, "-W", "error", "-c", program)
    (weights,) = tmp_path.glob("venv/lib/*/site-packages/two_sums/two_sums.weights.bin")
    weights.unlink()
    run(python, "-c", "import two_sums; two_sums.Model()").fails(
        "ModelError", "two_sums.weights.bin"
    )
