"""A bill of materials in SPDX 2.3, made of the one in CycloneDX: the same, in other words."""

from __future__ import annotations

import re
import typing
from typing import Any

if typing.TYPE_CHECKING:
    from collections.abc import Mapping

# SPDX wants a time, and the same model is to have the same bytes.
_CREATED = "1970-01-01T00:00:00Z"
_PURPOSES = {"library": "LIBRARY", "machine-learning-model": "FILE", "file": "FILE"}


def spdx_document(bill: Mapping[str, Any]) -> dict[str, Any]:
    """The SPDX document of a CycloneDX document that `sbom.bill_of_materials` made."""
    product = bill["metadata"]["component"]
    components = bill["components"]
    tools = bill["metadata"]["tools"]["components"]
    serial = bill["serialNumber"].removeprefix("urn:uuid:")
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{product['name']}-{product['version']}",
        "documentNamespace": f"https://spdx.org/spdxdocs/{product['name']}-{serial}",
        "creationInfo": {
            "created": _CREATED,
            "creators": [f"Tool: {tool['name']}-{tool['version']}" for tool in tools],
        },
        "packages": [_package(entry) for entry in (product, *components)],
        "relationships": [
            _relationship("SPDXRef-DOCUMENT", "DESCRIBES", _identifier(product)),
            *(_relationship(_identifier(product), "CONTAINS", _identifier(c)) for c in components),
            *(
                _relationship(_reference(edge["ref"]), "GENERATED_FROM", _reference(source))
                for edge in bill["dependencies"]
                if edge["ref"] != product["bom-ref"]
                for source in edge["dependsOn"]
            ),
        ],
    }


def _package(component: Mapping[str, Any]) -> dict[str, Any]:
    license_text = _license(component)
    package: dict[str, Any] = {
        "SPDXID": _identifier(component),
        "name": component["name"],
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": license_text,
        "licenseDeclared": license_text,
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": _PURPOSES[component["type"]],
    }
    if "version" in component:
        package["versionInfo"] = component["version"]
    if "purl" in component:
        package["externalRefs"] = [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": component["purl"],
            }
        ]
    if "hashes" in component:
        package["checksums"] = [
            {"algorithm": value["alg"].replace("-", ""), "checksumValue": value["content"]}
            for value in component["hashes"]
        ]
    if "properties" in component:
        pairs = (f"{entry['name']}={entry['value']}" for entry in component["properties"])
        package["comment"] = "; ".join(pairs)
    return package


def _license(component: Mapping[str, Any]) -> str:
    for entry in component.get("licenses", ()):
        return str(entry.get("expression") or entry["license"]["id"])
    return "NOASSERTION"


def _relationship(source: str, kind: str, target: str) -> dict[str, str]:
    return {
        "spdxElementId": source,
        "relationshipType": kind,
        "relatedSpdxElement": target,
    }


def _identifier(component: Mapping[str, Any]) -> str:
    return _reference(component["bom-ref"])


def _reference(name: str) -> str:
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", name)
