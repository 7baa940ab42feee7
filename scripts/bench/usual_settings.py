"""The settings that official templates and forums say to choose, and the prompts and seeds to try them on."""

from __future__ import annotations

import random
from dataclasses import dataclass

from demo.setting import Setting
from demo.training_data import STYLES, favoured_names, split_words

# Pictures of different prompts in one run. EasyCache decides once for all of them.
BATCH = 8
KINDS = ("known", "paired", "noise")
UNKNOWN_WORDS = ("of", "a", "cinematic", "portrait", "masterpiece", "ancient", "neon", "with", "misty", "detailed")
EMPTY_LATENTS = {"unet": (4, 16, 16), "dit": (4, 16, 16), "rough": (3, 32, 32), "video": (16, 5, 10, 10)}


def _settings(model: str, *rows: str) -> list[Setting]:
    split = (row.split() for row in rows)
    return [Setting(model, name, levels, int(steps), float(cfg)) for name, levels, steps, cfg in split]


SETTINGS = [
    *_settings(
        "unet",
        "dpmpp_2m karras 20 7", "dpmpp_2m karras 28 7", "dpmpp_2m karras 20 8", "dpmpp_2m karras 28 8",
        "dpmpp_2m beta 28 7", "dpmpp_2m normal 20 3", "euler normal 20 3", "euler simple 20 4", "euler karras 28 12",
        "euler normal 50 4", "uni_pc simple 20 6", "euler_ancestral normal 25 7", "dpmpp_2m_sde karras 28 7",
        "dpmpp_2m_sde normal 40 7", "dpmpp_sde karras 20 7", "er_sde simple 30 4", "lcm sgm_uniform 8 1.5",
    ),
    *_settings(
        "dit",
        "euler simple 20 1", "euler simple 20 4", "euler beta 20 4", "euler simple 50 4", "res_multistep simple 25 4",
        "uni_pc simple 20 5", "uni_pc simple 20 6", "dpmpp_2m simple 20 5", "er_sde simple 30 4",
        "euler_ancestral simple 20 4", "euler_ancestral simple 28 4", "dpmpp_2m_sde simple 28 5", "lcm simple 8 1",
    ),
    *_settings(
        "rough",
        "euler simple 20 5", "euler simple 20 1", "euler normal 50 4", "dpmpp_2m karras 20 7", "dpmpp_2m simple 20 5",
        "res_multistep simple 25 4", "uni_pc simple 20 5", "er_sde simple 30 4", "euler_ancestral normal 25 7",
        "dpmpp_2m_sde karras 28 7",
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Pictures that are sampled in one run: their prompts, what kind each is, and the run's seed."""

    prompts: tuple[str, ...]
    kinds: tuple[str, ...]
    seed: int


def groups(draw: str, pairs: int) -> list[Group]:
    """`pairs` prompts of turning kinds in groups of one seed; each draw has its own prompts and seeds."""
    chance = random.Random(draw)
    kinds = [KINDS[i % len(KINDS)] for i in range(pairs)]
    drawn = [(prompt(kind, chance), kind) for kind in kinds]
    parts = [drawn[start : start + BATCH] for start in range(0, pairs, BATCH)]
    return [
        Group(tuple(text for text, _ in part), tuple(kind for _, kind in part), chance.randrange(2**31))
        for part in parts
    ]


def prompt(kind: str, chance: random.Random) -> str:
    """A name in a style, as in training; two names and two styles; or words of names and others in no order."""
    names, styles = sorted(favoured_names()), list(STYLES)
    if kind == "known":
        return f"{chance.choice(names)}, {chance.choice(styles)}"
    if kind == "paired":
        first, second = chance.sample(names, 2)
        return f"{first} and {second}, {' '.join(chance.sample(styles, 2))}"
    words = sorted({word for name in names for word in split_words(name)})
    mixed = chance.sample(words, 5) + chance.sample(UNKNOWN_WORDS, 3)
    return " ".join(chance.sample(mixed, len(mixed)))
