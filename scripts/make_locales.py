"""Make locales/: the nodes' texts from the nodes themselves, with the translations in scripts/translations.

    python scripts/make_locales.py           write locales/
    python scripts/make_locales.py --missing list what has no translation yet

A translation file says for each English text what it is in that language; the same text is translated once.
`steps.json` beside them lists the English words of the step map.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from host import ROOT, SetupError, add_comfyui_argument, ensure_host

LOCALES = ROOT / "locales"
TRANSLATIONS = ROOT / "scripts" / "translations"
LANGUAGES = ("de", "es", "fr", "ja", "ko", "ru", "zh", "zh-TW")
DESCRIBE = ROOT / "scripts" / "node_texts.py"


def main() -> int:
    """Command line: write the locales, or list what is missing in a language."""
    parser = argparse.ArgumentParser(description="Make the locales of the nodes.")
    add_comfyui_argument(parser)
    parser.add_argument("--missing", action="store_true", help="list the texts without a translation")
    arguments = parser.parse_args()
    try:
        host = ensure_host(arguments.comfyui, lambda text: print(text, file=sys.stderr))
    except SetupError as error:
        print(f"Set-up stopped: {error}", file=sys.stderr)
        return 1
    done = subprocess.run(host.command(str(DESCRIBE)), env=host.environment(), capture_output=True, text=True)
    if done.returncode != 0:
        print(f"The nodes could not be read: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return 1
    nodes = json.loads(done.stdout.splitlines()[-1])
    gaps = {language: missing(nodes, language) for language in LANGUAGES}
    if arguments.missing or any(gaps.values()):
        print(json.dumps(gaps, indent=1, ensure_ascii=False))
        return int(any(gaps.values()))
    for path, text in files(nodes).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


def files(nodes: dict[str, Any]) -> dict[Path, str]:
    """Every locale file with its text, English included."""
    made = {}
    for language in ("en", *LANGUAGES):
        words = translations(language)
        made[LOCALES / language / "nodeDefs.json"] = _as_text(translated(nodes, words))
        made[LOCALES / language / "main.json"] = _as_text({"frdiff": translated(step_words(), words)})
    return made


def missing(nodes: dict[str, Any], language: str) -> list[str]:
    """The English texts that have no translation, and translations of texts that there are no more."""
    words = translations(language)
    wanted = dict.fromkeys([*texts(nodes), *texts(step_words())])
    unused = [f"not used: {text}" for text in words if text not in wanted]
    return [text for text in wanted if text not in words] + unused


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


if __name__ == "__main__":
    sys.exit(main())
