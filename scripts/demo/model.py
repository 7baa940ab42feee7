"""Train the small demo models of FRDiff inside ComfyUI's own model classes.

    python scripts/make.py model train unet --minutes 60
    python scripts/make.py model codec --minutes 10
    python scripts/make.py model export unet
    python scripts/make.py model grid unet grid.png
    python scripts/make.py model train video --batch 12 --lr 1.5e-3 --minutes 60
    python scripts/make.py model codec video --minutes 5

The latents are fixed before training (see pack/vae.py), so networks and codec can be trained in any order.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from setup import HOST_DIR
from setup.inside import inside

FAMILIES = ["unet", "dit", "video"]
CLIP_PROMPTS = [
    "grinning face slide", "red heart pulse", "dog face bounce", "red apple turn", "rocket slide", "cat face grow",
    "pizza turn", "sun with face bounce",
]  # fmt: skip
PROMPTS = ["grinning face", "red heart", "dog face", "red apple", "rocket", "cat face", "pizza", "sun with face"]


def make(arguments: argparse.Namespace) -> int:
    """Do one of the commands in the host's Python."""

    def work(_: object) -> None:
        from .model_files import do

        do(arguments)

    return inside(arguments.comfyui, work)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The commands; all share the common options."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--cache", type=Path, default=HOST_DIR / "train")
    common.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    common.add_argument("--threads", type=int, default=1)
    common.add_argument("--seed", type=int, default=0)
    network = argparse.ArgumentParser(add_help=False, parents=[common])
    network.add_argument("family", choices=FAMILIES)
    network.add_argument("--file", type=Path, help="the model file, if not the pack's")
    network.add_argument("--tag", default="", help="added to the checkpoint's name; such a training is not exported")
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", parents=[network], help="train a network and its text encoder, then export")
    training.add_argument("--minutes", type=float, default=math.inf)
    training.add_argument("--samples", type=float, default=math.inf)
    training.add_argument("--batch", type=int, default=48)
    training.add_argument("--lr", type=float, default=1e-3)
    training.add_argument("--only", type=int, help="train on this many pictures only, to test the pipeline")
    codec = commands.add_parser("codec", parents=[common], help="train the codec's detail network")
    codec.add_argument("family", choices=FAMILIES, nargs="?", default="unet", help="the pictures' are the same one")
    codec.add_argument("--minutes", type=float, default=10)
    commands.add_parser("export", parents=[network], help="write the file that the pack loads")
    sheet = commands.add_parser("grid", parents=[network], help="sample prompts through the host")
    sheet.add_argument("sheet", type=Path)
    sheet.add_argument("--prompts", nargs="+")
    sheet.add_argument("--rows", type=int, default=2)
    sheet.add_argument("--steps", type=int, default=30)
    sheet.add_argument("--cfg", type=float, default=3.0)
    sheet.add_argument("--scheduler", default="simple")
