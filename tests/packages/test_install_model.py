"""tvmake_install_model(): what it installs works without tvmake, in any place."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from packages.support import (
    DIGITS,
    REPO,
    Result,
    build_project,
    check,
    cmake,
    needed,
    own_python,
    run,
)

# Model target and what tvmake_add_model() gets besides MODEL.
VARIANTS = {
    "digits_static": "",
    "digits_static_file": "WEIGHTS FILE",
    "digits_shared": "LIBRARY SHARED",
    "digits_shared_file": "LIBRARY SHARED WEIGHTS FILE",
    "digits_two_libraries": "LIBRARY SHARED RUNTIME SHARED",
}

_MAIN = """
#include <stdio.h>
#include "MODEL.h"
int main(void) {
  char error[256];
  float scores[10];
  float* image;
  int i;
  MODEL_model* model = NULL;
  if (MODEL_create(NULL, &model, error, sizeof(error)) != TVMAKE_OK) {
    fprintf(stderr, "%s\\n", error);
    return 1;
  }
  image = (float*)MODEL_input_data(model, MODEL_UPPER_INPUT_image);
  for (i = 0; i < 64; ++i) image[i] = 0.25F;
  if (MODEL_run(model) != TVMAKE_OK) return 1;
  MODEL_get_output(model, 0, scores, sizeof(scores));
  for (i = 0; i < 10; ++i) printf("%.9g\\n", scores[i]);
  MODEL_destroy(model);
  return 0;
}
"""


@dataclass(frozen=True)
class Installed:
    """All variants in one prefix, which was then moved; build tree and model are gone.

    Attributes:
        refused: how the installation to a folder ended that cannot be made.
    """

    prefix: Path
    refused: Result


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("models")
    source = folder / "source"
    source.mkdir()
    shutil.copy(DIGITS / "digits.onnx", source)
    (source / "MODEL_LICENSE").write_text("Do what you like.\n")
    lines = [
        "cmake_minimum_required(VERSION 3.25)",
        "project(models VERSION 1.2.0 LANGUAGES C CXX)",
        f'include("{REPO}/cmake/tvmake-config.cmake")',
    ]
    for name, options in VARIANTS.items():
        lines += [
            f"tvmake_add_model({name} MODEL digits.onnx {options})",
            f"tvmake_install_model({name} LICENSE MIT LICENSE_FILES MODEL_LICENSE)",
        ]
    (source / "CMakeLists.txt").write_text("\n".join(lines) + "\n")
    build = build_project(source, folder / "build", own_python())
    (folder / "file").touch()
    refused = run("cmake", "--install", build, "--prefix", folder / "file" / "prefix")
    check("cmake", "--install", build, "--prefix", folder / "first" / "prefix")
    moved = folder / "elsewhere" / "moved"
    moved.parent.mkdir()
    (folder / "first" / "prefix").rename(moved)
    shutil.rmtree(build)
    shutil.rmtree(source)
    return Installed(moved, refused)


@pytest.fixture(scope="module")
def prefix(installed: Installed) -> Path:
    return installed.prefix


def _program(folder: Path, name: str, language: str) -> Path:
    folder.mkdir(exist_ok=True)
    text = _MAIN.replace("MODEL_UPPER", name.upper()).replace("MODEL", name)
    source = folder / f"main.{'c' if language == 'C' else 'cpp'}"
    source.write_text(text)
    return source


def _consumer(folder: Path, name: str, language: str, version: str = "1.2") -> Path:
    source = _program(folder, name, language)
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\n"
        f"project(consumer LANGUAGES {language})\n"
        f"find_package({name} {version} CONFIG REQUIRED)\n"
        f"add_executable(consumer {source.name})\n"
        f"target_link_libraries(consumer PRIVATE {name}::{name})\n"
        f'if({name}_WEIGHTS_FILE MATCHES "/share/")\n'
        f'  configure_file("${{{name}_WEIGHTS_FILE}}" {name}.weights.bin COPYONLY)\n'
        "endif()\n"
    )
    return folder


def _check_numbers(output: str) -> None:
    session = ort.InferenceSession(DIGITS / "digits.onnx", providers=["CPUExecutionProvider"])
    expected = session.run(None, {"image": np.full((1, 1, 8, 8), 0.25, np.float32)})[0]
    values = np.array([float(line) for line in output.split()], np.float32)
    np.testing.assert_allclose(values, expected.ravel(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("language", ["C", "CXX"])
@pytest.mark.parametrize("name", VARIANTS)
def test_find_package(prefix: Path, tmp_path: Path, name: str, language: str) -> None:
    source = _consumer(tmp_path / "consumer", name, language)
    build = build_project(source, tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    _check_numbers(check(build / "consumer"))
    libraries = {"libtvm_runtime.so"} if name == "digits_two_libraries" else set()
    if "static" not in name:
        libraries |= needed(prefix / "lib" / f"lib{name}.so")
        assert needed(build / "consumer") - libraries == {f"lib{name}.so"}
    else:
        assert not needed(build / "consumer")


@pytest.mark.parametrize("name", VARIANTS)
def test_pkg_config(prefix: Path, tmp_path: Path, name: str) -> None:
    source = _program(tmp_path, name, "C")
    search = {"PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    assert check("pkg-config", "--modversion", name, environment=search).strip() == "1.2.0"
    flags = check("pkg-config", "--cflags", "--libs", name, environment=search).split()
    strict = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    check("cc", *strict, source, "-o", tmp_path / "program", *flags)
    weights = check("pkg-config", "--variable=weights_file", name, environment=search).strip()
    if weights:
        shutil.copy(weights, tmp_path)
    _check_numbers(
        check(tmp_path / "program", environment={"LD_LIBRARY_PATH": str(prefix / "lib")})
    )


def test_prefix_that_cannot_be_written(installed: Installed) -> None:
    """Below a regular file: whoever is root may write anywhere else."""
    installed.refused.fails("cannot create directory", "/file/prefix/include")


def test_nothing_names_the_folders_of_the_build(prefix: Path) -> None:
    folder = str(prefix.parents[1]).encode()
    files = [path for path in prefix.rglob("*") if path.is_file()]
    assert len(files) > 40
    assert not [path for path in files if folder in path.read_bytes()]
    assert not [path for path in files if str(REPO).encode() in path.read_bytes()]


@pytest.mark.parametrize("triple", ["aarch64-linux-gnu", "x86_64-linux-musl"])
def test_another_architecture_is_refused(prefix: Path, tmp_path: Path, triple: str) -> None:
    """As a cross compiler would announce itself."""
    source = _consumer(tmp_path / "consumer", "digits_static", "CXX")
    result = _configure_for(source, tmp_path / "build", prefix, triple)
    result.fails(
        "was compiled for x86_64-linux-gnu (64 bits)",
        f"this build is for {triple}",
        f"install the model's package for {triple}",
    )


def test_other_names_of_the_same_architecture_are_taken(prefix: Path, tmp_path: Path) -> None:
    source = _consumer(tmp_path / "consumer", "digits_static", "CXX")
    for triple in ("x86_64-pc-linux-gnu", "x86_64-linux-gnu.2.28", "x86_64-redhat-linux"):
        result = _configure_for(source, tmp_path / triple, prefix, triple)
        assert result.code == 0, result.output


def _configure_for(source: Path, build: Path, prefix: Path, triple: str) -> Result:
    options = (f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_CXX_COMPILER_TARGET={triple}")
    return cmake(source, build, *options)


def test_another_version_is_refused(prefix: Path, tmp_path: Path) -> None:
    source = _consumer(tmp_path / "consumer", "digits_static", "CXX", "2.0")
    result = cmake(source, tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    result.fails("requested version", "version: 1.2.0")


def test_provenance(prefix: Path) -> None:
    share = prefix / "share" / "digits_static"
    manifest = json.loads((share / "manifest.json").read_text())
    bill = json.loads((share / "digits_static.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    product = bill["metadata"]["component"]
    assert (product["name"], product["version"]) == ("digits_static", "1.2.0")
    assert product["licenses"] == [{"expression": "MIT"}]
    components = {entry["name"]: entry for entry in bill["components"]}
    assert {"tvmake", "apache-tvm", "apache-tvm-ffi", "digits.onnx"} <= components.keys()
    assert components["apache-tvm"]["version"] == manifest["versions"]["tvm"]
    assert components["digits.onnx"]["hashes"][0]["content"] == manifest["model"]["sha256"]
    references = {entry["bom-ref"] for entry in [product, *bill["components"]]}
    for edge in bill["dependencies"]:
        assert {edge["ref"], *edge["dependsOn"]} <= references
    licenses = share / "licenses"
    assert "Apache License" in (licenses / "apache-tvm" / "LICENSE").read_text()
    assert "Apache License" in (licenses / "tvmake" / "LICENSE").read_text()
    assert "Apache Software Foundation" in (licenses / "NOTICE").read_text()
    assert (licenses / "digits_static" / "MODEL_LICENSE").is_file()


def test_bills_of_materials_keep_to_the_schemas(prefix: Path) -> None:
    """As the projects that publish the formats check them."""
    share = prefix / "share" / "digits_static"
    text = (share / "digits_static.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = parse_file(str(share / "digits_static.spdx.json"))
    assert validate_full_spdx_document(document, "SPDX-2.3") == []
    licenses = {package.name: str(package.license_declared) for package in document.packages}
    assert (licenses["digits_static"], licenses["apache-tvm"]) == ("MIT", "Apache-2.0")
    related = {
        (relation.spdx_element_id, relation.relationship_type.name)
        for relation in document.relationships
    }
    assert ("SPDXRef-kernels", "GENERATED_FROM") in related


def test_bill_of_materials_is_reproducible(prefix: Path, tmp_path: Path) -> None:
    manifest = prefix / "share" / "digits_static" / "manifest.json"
    bills = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        shutil.copy(manifest, folder)
        arguments = ("--manifest", folder / "manifest.json", "-o", folder, "--name", "digits")
        command = (sys.executable, "-m", "tvmake", "sbom", *arguments)
        check(*command, environment={"PYTHONPATH": str(REPO / "python")})
        bills.append([(folder / f"digits.{kind}.json").read_bytes() for kind in ("cdx", "spdx")])
    assert bills[0] == bills[1]


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("", "VERSON 1.0", "unknown argument 'VERSON' expected: VERSION LICENSE"),
        ("", "VERSION one", "VERSION is 'one' expected: up to four numbers"),
        ("", "LICENSE_FILES nowhere.txt", "which does not exist"),
        ("LIBRARY SHARED RUNTIME EXTERNAL", "", "the model has RUNTIME EXTERNAL"),
    ],
)
def test_wrong_arguments(tmp_path: Path, model: str, arguments: str, message: str) -> None:
    shutil.copy(DIGITS / "digits.onnx", tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\n"
        "project(models LANGUAGES C CXX)\n"
        f'include("{REPO}/cmake/tvmake-config.cmake")\n'
        f"tvmake_add_model(digits MODEL digits.onnx {model})\n"
        f"tvmake_install_model(digits {arguments})\n"
    )
    cmake(tmp_path, tmp_path / "build", own_python()).fails("tvmake_install_model(digits)", message)
