"""The benchmark at usual settings for readers: the README's chart and the table of samplers, from docs/benchmark.md.

    python scripts/make.py usual
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from setup import ROOT

from .marks import with_part
from .usual_chart import MODELS, Row, chart

DOCS = ROOT / "docs"
SOURCE, CHART = DOCS / "benchmark.md", DOCS / "usual.svg"
PAGE, README = DOCS / "choosing-a-speed.md", ROOT / "README.md"
# A row of the table: the setting, the cost, three other methods, the dial, and the share of better pictures.
ROW = re.compile(
    r"^\| (?P<model>unet|dit|rough) (?P<sampler>\w+) (?P<levels>\w+) (?P<steps>\d+) cfg (?P<cfg>\d+) \| [\d.]+ "
    r"\| \**(?P<fewer>[\d.]+)\** \| [^|]* \| [^|]* \| \**(?P<dial>[\d.]+)\** \| (?P<better>\d+)% \|", re.MULTILINE
)  # fmt: skip
# Above the table.
PAIRS = re.compile(r"(\d+) pairs of prompt and seed")
MARK = "usual"
# Below it, in dB, neither is called better.
EVEN = 0.5


def make(_: argparse.Namespace) -> int:
    """Write the chart and the table; returns the exit code."""
    for path, text in files().items():
        path.write_text(text, encoding="ascii")
    return 0


def files() -> dict[Path, str]:
    """The files with their content."""
    source = SOURCE.read_text(encoding="ascii")
    found, pairs = rows(source), int(PAIRS.findall(source)[0])
    pages = {
        path: with_part(path.read_text(encoding="ascii"), MARK, text)
        for path, text in ((PAGE, table(found)), (README, sentences(found)))
    }
    return {CHART: chart(found, pairs), **pages}


def rows(page: str) -> list[Row]:
    """The rows of the first table of usual settings in docs/benchmark.md."""
    return [
        Row(m["model"], m["sampler"], m["levels"], int(m["steps"]), int(m["cfg"]), float(m["fewer"]), float(m["dial"]),
            int(m["better"]) / 100)
        for m in ROW.finditer(page)
    ]  # fmt: skip


def sentences(found: Sequence[Row]) -> str:
    """What the benchmark says in short: how often it gains, how much, and every setting in which it loses."""
    gains, lost = [row.gain for row in found], [row for row in found if row.gain < 0]
    worse = "; ".join(f"{row.setting} ({MODELS[row.model]}, {row.gain:+.1f} dB)" for row in lost)
    said = (
        "**What it gains**: at 2.0, which halves the network's work, the picture is nearer to the plain one than that "
        f"of as many plain steps in **{len(found) - len(lost)} of {len(found)}** usual settings, by "
        f"{median(gains):.1f} dB in the middle and {max(gains):.1f} dB at best. "
        f"**Where it loses**: {worse}. Take fewer steps there."
    )
    return "\n".join(textwrap.wrap(said, 120))


def table(found: Sequence[Row]) -> str:
    """What was measured of each sampler, as Markdown; the best first."""
    samplers = {row.sampler: [each for each in found if each.sampler == row.sampler] for row in found}
    ranked = sorted(samplers.items(), key=lambda item: -sum(row.gain for row in item[1]) / len(item[1]))
    head = "| sampler | settings | gain over as many plain steps, dB | better pictures | so |\n|---|---|---|---|---|"
    return "\n".join([head, *(_table_row(name, own) for name, own in ranked)])


def _table_row(sampler: str, own: Sequence[Row]) -> str:
    gains, shares = sorted(row.gain for row in own), sorted(row.better for row in own)
    return f"| {sampler} | {len(own)} | {_range(gains, '{:+.1f}')} | {_range(shares, '{:.0%}')} | {_advice(own)} |"


def _range(values: Sequence[float], layout: str) -> str:
    ends = [layout.format(value) for value in (values[0], values[-1])]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _advice(own: Sequence[Row]) -> str:
    worse = [row for row in own if row.gain < -EVEN]
    even = [row for row in own if abs(row.gain) <= EVEN]
    if len(worse) == len(own):
        return "take fewer steps, or a dial below 2"
    exceptions = [f"{MODELS[row.model]} at cfg {row.cfg}" for row in worse + even]
    return f"2.0; not better: {', '.join(exceptions)}" if exceptions else "2.0"
