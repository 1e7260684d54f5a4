"""What goes with a compiled model: its bill of materials and the licences' texts.

Both follow from the manifest and from the installed packages alone: same input, same bytes.
"""

from __future__ import annotations

import json
import typing
import uuid
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .emit import files
from .errors import TvmakeError
from .manifest import Manifest, parse_manifest
from .paths import PACKAGE_DIR, data_dir
from .sbom_spdx import spdx_document

if typing.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SPEC_VERSION = "1.6"  # of CycloneDX

# Namespace of the serial numbers, which are made of the contents instead of at random.
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/tvmake")

# The licence of each package whose code can be inside, as an SPDX identifier.
_LICENSES = {
    "tvmake": "Apache-2.0",
    "apache-tvm": "Apache-2.0",
    "apache-tvm-ffi": "Apache-2.0",
    "nanobind": "BSD-3-Clause",
}

# The wheel of TVM does not hold this file of its sources.
_TVM_NOTICE = """Apache TVM
Copyright 2019-2023 The Apache Software Foundation

This product includes software developed at
The Apache Software Foundation (http://www.apache.org/).
"""


@dataclass(frozen=True)
class Product:
    """What the bill is for.

    Attributes:
        name: of the library or Python module.
        version: its version.
        license: an SPDX expression for it; None if nobody said.
        packages: further packages whose code is inside, besides tvmake's and TVM's.
    """

    name: str
    version: str
    license: str | None = None
    packages: tuple[str, ...] = ()


def plan(product: Product) -> dict[str, list[str]]:
    """What writing them makes, relative to the output folder, and depends on."""
    sources = ("sbom.py", "sbom_spdx.py", "manifest.py", "errors.py", "emit/files.py")
    return {
        "outputs": [f"{product.name}.cdx.json", f"{product.name}.spdx.json", "licenses/NOTICE"],
        "depends": [str(PACKAGE_DIR / file) for file in sources],
    }


def write(manifest_path: Path, product: Product, output_dir: Path) -> None:
    """Write `<name>.cdx.json`, `<name>.spdx.json` and the folder `licenses` into a folder.

    Raises:
        ArtifactError: if the manifest is damaged.
        TvmakeError: if a package's licence is not known.
    """
    manifest, _ = parse_manifest(manifest_path)
    for package in product.packages:
        if package not in _LICENSES:
            raise TvmakeError(
                f"the licence of the package '{package}' is not known",
                expected=" ".join(_LICENSES),
            )
    for name, text in _license_texts(("apache-tvm", "apache-tvm-ffi", *product.packages)).items():
        files.write(output_dir / "licenses" / name, text)
    bill = bill_of_materials(manifest, product)
    for kind, document in (("cdx", bill), ("spdx", spdx_document(bill))):
        text = json.dumps(document, indent=1, ensure_ascii=True)
        files.write(output_dir / f"{product.name}.{kind}.json", f"{text}\n")


def bill_of_materials(manifest: Manifest, product: Product) -> dict[str, Any]:
    """The CycloneDX document of a compiled model."""
    libraries = [
        _library("tvmake", manifest.versions.tvmake),
        _library("apache-tvm", manifest.versions.tvm),
        _library("apache-tvm-ffi", manifest.versions.tvm_ffi),
        *(_library(name, metadata.version(name)) for name in product.packages),
    ]
    components = [*libraries, *_data(manifest)]
    document: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": {
            "tools": {
                "components": [
                    _application("tvmake", manifest.versions.tvmake),
                    _application("LLVM", manifest.versions.llvm),
                ]
            },
            "component": _product(manifest, product),
        },
        "components": components,
        "dependencies": [
            {"ref": "product", "dependsOn": [entry["bom-ref"] for entry in components]},
            {"ref": "kernels", "dependsOn": ["model"]},
            {"ref": "weights", "dependsOn": ["model"]},
        ],
    }
    content = json.dumps(document, sort_keys=True)
    return {**document, "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, content)}"}


def _product(manifest: Manifest, product: Product) -> dict[str, Any]:
    target = manifest.target
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": "product",
        "name": product.name,
        "version": product.version,
    }
    if product.license:
        component["licenses"] = [{"expression": product.license}]
    return {
        **component,
        "properties": _properties(
            {
                "executor": manifest.executor,
                "target.triple": target.triple,
                "target.cpu": target.cpu,
                "target.required_cpu_features": ",".join(target.required_cpu_features),
            }
        ),
    }


def _library(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "licenses": [{"license": {"id": _LICENSES[name]}}],
        "purl": purl,
    }


def _application(name: str, version: str) -> dict[str, Any]:
    return {"type": "application", "name": name, "version": version}


def _data(manifest: Manifest) -> list[dict[str, Any]]:
    model = manifest.model
    return [
        {
            "type": "machine-learning-model",
            "bom-ref": "model",
            "name": model.file,
            "hashes": _sha256(model.sha256),
            "properties": _properties({"format": model.format, "producer": model.producer}),
        },
        {
            "type": "file",
            "bom-ref": "kernels",
            "name": manifest.kernels.file,
            "hashes": _sha256(manifest.kernels.sha256),
        },
        {
            "type": "file",
            "bom-ref": "weights",
            "name": manifest.weights.file,
            "properties": _properties(
                {"weights.id": manifest.weights.id, "weights.mode": manifest.weights.mode}
            ),
        },
    ]


def _sha256(value: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": value}]


def _properties(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": f"tvmake:{name}", "value": value} for name, value in values.items()]


def _license_texts(packages: Sequence[str]) -> dict[str, str]:
    """The texts by file name, below the folder `licenses`."""
    own = data_dir("cmake").parent / "LICENSE"
    texts = {"tvmake/LICENSE": own.read_text(encoding="utf-8")}
    notices = [_TVM_NOTICE]
    for package in packages:
        for path in _license_files(package):
            text = path.read_text(encoding="utf-8")
            if path.name.startswith("NOTICE"):
                notices.append(text)
            else:
                texts[f"{package}/{path.name}"] = text
    separator = "\n" + "-" * 70 + "\n\n"
    texts["NOTICE"] = separator.join(text.strip() + "\n" for text in notices)
    return texts


def _license_files(package: str) -> Iterable[Path]:
    """The licence files that an installed package brings, in a stable order."""
    found = metadata.distribution(package).files or ()
    inside = [file for file in found if ".dist-info" in file.parts[0]]
    named = [file for file in inside if file.name.startswith(("LICENSE", "NOTICE", "COPYING"))]
    return [Path(str(file.locate())) for file in sorted(named, key=str)]
