"""Parts of pages that a program writes: they stand between two marks."""

from __future__ import annotations

import re


def part(page: str, name: str) -> str:
    """What stands between the marks of this name."""
    found = _pattern(name).search(page)
    assert found, f"There is no mark {name}."
    return found.group().strip()


def with_part(page: str, name: str, text: str) -> str:
    """The page with a text between the marks of this name."""
    return _pattern(name).sub(lambda _: f"\n{text}\n\n", page)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
