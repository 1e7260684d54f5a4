"""docs/speed.md: the generated section between two marks, the JSON and the plot beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from comparison.report import OURS

if TYPE_CHECKING:
    from comparison.report import Report

_BEGIN = "<!-- begin: written by benchmarks/speed.py -->\n"
_END = "<!-- end -->\n"


def write(report: Report, folder: Path, note: str) -> None:
    """Replace the page's generated section, speed.json and speed.svg.

    Args:
        report: what was measured.
        folder: with speed.md, which has the two marks.
        note: a sentence on the circumstances, empty if there is nothing to say.

    Raises:
        ValueError: when the page lacks its marks.
    """
    page = folder / "speed.md"
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{page} has no section to write into: {_BEGIN.strip()} … {_END.strip()}")
    section = f"{section_text(report, note)}\n"
    page.write_text(before + begin + section + end + after, encoding="utf-8")
    content = json.dumps({**report.to_json(), "note": note}, indent=1)
    (folder / "speed.json").write_text(content + "\n", encoding="utf-8")
    plot(report, folder / "speed.svg")


def section_text(report: Report, note: str) -> str:
    """What the page tells of a measurement."""
    content = report.to_json()
    versions = ", ".join(f"{peer} {v}" for peer, v in content["versions"].items() if peer != OURS)
    means = [
        f"| {mean['family']} | {mean['threads']} | {mean['ratio']:.2f} |"
        for mean in content["geometric_means"]
    ]
    parts = [
        f"{content['machine']['cpu']}; {versions}. {_sentence(report.heading())}",
        note,
        "![times as fast as the best peer](speed.svg)",
        report.markdown(),
        "\n".join(["| family | threads | geometric mean of the ratios |", "|---|--:|--:|", *means]),
    ]
    costs = [
        f"| {cost.network} | {cost.seconds:.1f} | {cost.cpu_seconds:.1f} "
        f"| {cost.peak_bytes / 1e6:.0f} | {cost.model_bytes / 1e6:.0f} |"
        for cost in report.costs
    ]
    if costs:
        head = "| network | wall s | CPU s | peak MB | model file MB |"
        parts += [
            "Compiling, with nothing cached:",
            "\n".join([head, "|---|--:|--:|--:|--:|", *costs]),
        ]
    gains = [f"| {gain.network} | {gain.threads} | {gain.ratio:.2f} |" for gain in report.scalings]
    if gains:
        parts += [
            "More threads over one, the two in turns, each pair compared:",
            "\n".join(["| network | threads | median of the ratios |", "|---|--:|--:|", *gains]),
        ]
    return "\n" + "\n\n".join(part.strip() for part in parts if part) + "\n"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def plot(report: Report, path: Path) -> None:
    """A bar for every network: how many times as fast as the best peer, by number of threads."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "tvmake"  # names inside the file, the same every time
    from matplotlib import pyplot as plt

    counts = sorted({row.threads for row in report.rows})
    names = list(dict.fromkeys(row.network for row in report.rows))
    ratios = {(row.network, row.threads): row.ratio or 0.0 for row in report.rows}
    figure, axes = plt.subplots(figsize=(8, 1 + 0.32 * len(names)))
    height = 0.8 / len(counts)
    for position, threads in enumerate(counts):
        places = [
            index + (position - (len(counts) - 1) / 2) * height for index in range(len(names))
        ]
        label = f"{threads} thread" if threads == 1 else f"{threads} threads"
        axes.barh(places, [ratios.get((n, threads), 0.0) for n in names], height, label=label)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the best of the others")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)
