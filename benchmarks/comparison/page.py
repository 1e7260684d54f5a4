"""docs/speed.md: its generated sections, one for each kind of machine, and the files beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from comparison.report import OURS, vector_bits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comparison.layers import Layer
    from comparison.report import Report

_BEGIN = "<!-- begin {kind}: written by benchmarks/speed.py -->\n"
_END = "<!-- end -->\n"


def write(report: Report, folder: Path, note: str) -> None:
    """Replace the section of machines with such vectors, its JSON and its plot.

    Args:
        report: what was measured.
        folder: with speed.md, which has the section's two marks.
        note: a sentence on the circumstances, empty if there is nothing to say.

    Raises:
        ValueError: when the page lacks the marks.
    """
    page, kind = folder / "speed.md", str(vector_bits())
    picture = folder / f"speed-{kind}.svg"
    text = page.read_text(encoding="utf-8")
    section = section_text(report, note, picture.name)
    page.write_text(with_section(text, kind, section), encoding="utf-8")
    content = json.dumps({**report.to_json(), "note": note}, indent=1)
    (folder / f"speed-{kind}.json").write_text(content + "\n", encoding="utf-8")
    plot(report, picture)


def check(folder: Path) -> None:
    """See to it that there is a section to write into, before an hour of measuring.

    Raises:
        ValueError: when the page lacks the marks.
    """
    with_section((folder / "speed.md").read_text(encoding="utf-8"), str(vector_bits()), "")


def with_section(text: str, kind: str, section: str) -> str:
    """The page with the section of a kind of machine replaced.

    Raises:
        ValueError: when the page lacks its marks.
    """
    mark = _BEGIN.format(kind=kind)
    before, begin, rest = text.partition(mark)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(
            f"docs/speed.md has no section for vectors of {kind} bits: add the lines"
            f" '{mark.strip()}' and '{_END.strip()}'"
        )
    return f"{before}{begin}{section}\n{end}{after}"


def section_text(report: Report, note: str, picture: str) -> str:
    """What the page tells of a measurement, with a picture of this name."""
    content = report.to_json()
    versions = ", ".join(f"{peer} {v}" for peer, v in content["versions"].items() if peer != OURS)
    means = [
        f"| {mean['family']} | {mean['threads']} | {mean['ratio']:.2f} |"
        for mean in content["geometric_means"]
    ]
    machine = f"{content['machine']['cpu']}, vectors of {vector_bits()} bits"
    parts = [
        f"{machine}; {versions}. {_sentence(report.heading())}",
        note,
        f"![times as fast as the best peer]({picture})",
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
    gains = [
        f"| {gain.network} | {gain.threads} | {gain.ratio:.2f} | {gain.bound:.2f} |"
        for gain in report.scalings
    ]
    if gains:
        head = "| network | threads | times as fast | times as many runs of that many copies |"
        about = (
            "More threads over one, in turns with one, and with as many copies of one thread each,"
            " which run at the same time and wait for nothing of each other:"
        )
        parts += [about, "\n".join([head, "|---|--:|--:|--:|", *gains])]
    if report.layers:
        about = (
            "Single layers, their multiplications by their time, over the peak measured right"
            " before each turn; with as many multiplications as their definition has (`OPTIMIZE"
            " PRECISE`):"
        )
        parts += [about, _layer_table(report.layers)]
    return "\n" + "\n\n".join(part.strip() for part in parts if part) + "\n"


def _layer_table(layers: Sequence[Layer]) -> str:
    """A line for every layer, a column for every number of threads."""
    counts = sorted({layer.threads for layer in layers})
    shares = {(layer.layer, layer.threads): layer.share for layer in layers}
    names = list(dict.fromkeys(layer.layer for layer in layers))
    threads = [f"{count} thread{'s' * (count > 1)}" for count in counts]
    lines = [f"| layer | {' | '.join(threads)} |", "|---|" + "--:|" * len(counts)]
    for name in names:
        cells = (f"{100 * shares[name, count]:.0f} %" for count in counts)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


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
