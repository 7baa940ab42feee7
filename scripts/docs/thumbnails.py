"""The thumbnails of the shared workflows: cards that can be read at the size of the template browser."""

from __future__ import annotations

import html
from dataclasses import dataclass

SIZE = (770, 400)
# As the step map draws them: how much of a cell is filled.
FILLED = {"full": 100, "partial": 50, "skip": 0}
CELLS_PER_ROW = 15
STYLE = """
* { box-sizing: border-box; margin: 0; }
body { width: 770px; height: 400px; padding: 34px 40px; overflow: hidden; color: #16181d; background: #f3efe6;
  font-family: "DejaVu Sans", Inter, Arial, sans-serif; display: flex; flex-direction: column; gap: 20px; }
h1 { font-size: 58px; line-height: 1; letter-spacing: -2px; }
p { font-size: 30px; line-height: 1.2; color: #4a4f5a; }
.way { display: flex; align-items: center; gap: 14px; font-size: 29px; font-weight: bold; white-space: nowrap; }
.way span { padding: 14px 16px; border: 3px solid #16181d; border-radius: 12px; background: #fffdf8; }
.way span[data-own] { color: #fffdf8; background: #c8421b; border-color: #c8421b; }
.way:has(+ .cells:empty) { margin-top: auto; }
.cells { display: grid; grid-template-columns: repeat(15, 1fr); gap: 8px; margin-top: auto; }
.cells:empty { margin: 0; }
.cells i { height: 34px; border: 3px solid #16181d; border-radius: 6px;
  background: linear-gradient(to top, #16181d var(--filled), transparent var(--filled)); }
"""


@dataclass(frozen=True)
class Card:
    """What a thumbnail says: a title, a line, and the way through the workflow; * marks what is of this pack."""

    title: str
    line: str
    way: tuple[str, ...]


CARDS = {
    "FRDiff quick start": Card(
        "Quick start", "KSampler's inputs, one dial more", ("model", "*FRDiff", "picture")
    ),
    "FRDiff in any graph": Card(
        "Any sampler", "Flux with SamplerCustomAdvanced", ("model", "*FRDiff", "any sampler")
    ),
    "FRDiff A-B compare": Card(
        "A-B compare", "The same seed, plain and with FRDiff", ("A plain", "*B FRDiff", "difference")
    ),
    "FRDiff speed sweep": Card(
        "Speed sweep", "Speed and error on your machine", ("plain", "*1.5x", "*2x", "*3x", "plot")
    ),
    "FRDiff video (Wan)": Card(
        "Video: Wan 2.2", "A dial for each of its networks", ("*high noise", "*low noise", "video")
    ),
    "FRDiff Auto-FR calibrate": Card(
        "Auto-FR: calibrate",
        "Measures on pictures of your own how near to the plain one each speed stays, and keeps it in a file",
        ("model", "*Auto-FR", "file"),
    ),
    "FRDiff Auto-FR load": Card(
        "Auto-FR: load",
        "Finds the file that fits model and sampler, and goes by speed or by error, such as not below 35 dB",
        ("file", "*FRDiff", "picture"),
    ),
}  # fmt: skip


def page(card: Card, kinds: list[str]) -> str:
    """A card as an HTML page; `kinds` are those of the steps that the workflow plans, of which there may be none."""
    way = " &#8594; ".join(f"<span{' data-own' if part[0] == '*' else ''}>{text(part)}</span>" for part in card.way)
    cells = "".join(f'<i style="--filled: {FILLED[kind]}%"></i>' for kind in kinds[: 2 * CELLS_PER_ROW])
    return (
        f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><h1>{text(card.title)}</h1><p>{text(card.line)}</p>"
        f'<div class="way">{way}</div><div class="cells">{cells}</div>'
    )


def text(part: str) -> str:
    """A part of a card without its mark."""
    return html.escape(part.removeprefix("*"))
