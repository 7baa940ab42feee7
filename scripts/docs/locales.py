"""Make locales/: the nodes' texts from the nodes themselves, with the translations in scripts/docs/translations.

    python scripts/make.py locales           write locales/
    python scripts/make.py locales --missing list what has no translation yet

A translation file says for each English text what it is in that language; the same text is translated once, and one
without a translation is shown in English.
`steps.json` beside them lists the English words of the step map.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from setup import ROOT
from setup.in_process import load_comfyui
from setup.inside import inside

LOCALES = ROOT / "locales"
TRANSLATIONS = Path(__file__).resolve().parent / "translations"
LANGUAGES = ("de", "es", "fr", "ja", "ko", "ru", "zh", "zh-TW")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    parser.add_argument("--missing", action="store_true", help="list the texts without a translation")


def make(arguments: argparse.Namespace) -> int:
    """Write the locales, or list what is missing in a language; returns the exit code."""
    return inside(arguments.comfyui, lambda _: _make(arguments.missing))


def _make(only_list: bool) -> int:
    nodes = {name: texts_of(node) for name, node in pack_nodes(load_comfyui()).items()}
    gaps = {language: missing(nodes, language) for language in LANGUAGES}
    if only_list or any(gaps.values()):
        print(json.dumps(gaps, indent=1, ensure_ascii=False))
    if only_list:
        return 0
    for path, text in files(nodes).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


def pack_nodes(host_nodes: Any) -> dict[str, Any]:
    """The pack's node classes by id, from ComfyUI's own module `nodes`."""
    return {
        name: node for name, node in host_nodes.NODE_CLASS_MAPPINGS.items()
        if name.startswith("FRDiff") and "Demo" not in name
    }  # fmt: skip


def texts_of(node: Any) -> dict[str, Any]:
    """A node's name and description, and the names and tooltips of its inputs and outputs, as in nodeDefs.json."""
    schema = node.define_schema()
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {one.id: {"name": one.id, "tooltip": one.tooltip} for one in schema.inputs},
        "outputs": {
            str(place): {"name": one.display_name or one.io_type, "tooltip": one.tooltip}
            for place, one in enumerate(schema.outputs)
        },
    }


def files(nodes: dict[str, Any]) -> dict[Path, str]:
    """Every locale file with its text, English included."""
    made = {}
    for language in ("en", *LANGUAGES):
        words = translations(language)
        made[LOCALES / language / "nodeDefs.json"] = _as_text(translated(nodes, words))
        made[LOCALES / language / "main.json"] = _as_text({"frdiff": translated(step_words(), words)})
    return made


def missing(nodes: dict[str, Any], language: str) -> list[str]:
    """The English texts that have no translation: they are shown in English."""
    return [text for text in _wanted(nodes) if text not in translations(language)]


def unused(nodes: dict[str, Any], language: str) -> list[str]:
    """Translations of texts that there are no more."""
    return [text for text in translations(language) if text not in _wanted(nodes)]


def _wanted(nodes: dict[str, Any]) -> dict[str, None]:
    return dict.fromkeys([*texts(nodes), *texts(step_words())])


def translations(language: str) -> dict[str, str]:
    """What English texts are in a language; English has none, because nothing changes."""
    return {} if language == "en" else json.loads((TRANSLATIONS / f"{language}.json").read_text(encoding="utf-8"))


def step_words() -> dict[str, str]:
    """The step map's English words."""
    return json.loads((TRANSLATIONS / "steps.json").read_text(encoding="utf-8"))


def texts(part: Any) -> list[str]:
    """All texts in a description."""
    if isinstance(part, str):
        return [part]
    return [text for inner in part.values() for text in texts(inner)]


def translated(part: Any, words: dict[str, str]) -> Any:
    """A description with every text in another language."""
    if isinstance(part, str):
        return words.get(part, part)
    return {key: translated(inner, words) for key, inner in part.items()}


def _as_text(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
