"""Where schedule files lie: ComfyUI's models/frdiff, and those that come with the pack."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ..frdiff.errors import FRDiffError
from ..frdiff.schedule_store import SUFFIX, schedule_path

FOLDER = "frdiff"
SHIPPED = Path(__file__).resolve().parent.parent / "schedules"
SHIPPED_PREFIX = "shipped: "
NOTHING = "nothing calibrated yet"

folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER), is_default=True)
folder_paths.folder_names_and_paths[FOLDER][1].add(SUFFIX)


def file_names() -> list[str]:
    """The files in models/frdiff, then the shipped ones."""
    own = {path.name for folder in _folders() for path in Path(folder).glob("*" + SUFFIX) if path.is_file()}
    return sorted(own) + [SHIPPED_PREFIX + path.stem for path in sorted(SHIPPED.glob("*" + SUFFIX))]


def find_file(name: str) -> Path:
    """The path that belongs to a name of `file_names`; raises FRDiffError for names that lead elsewhere."""
    if name == NOTHING:
        raise FRDiffError("There is no schedule file yet. Calibrate with FRDiff Auto-FR, or put one in models/frdiff.")
    if name.startswith(SHIPPED_PREFIX):
        return schedule_path(SHIPPED, name.removeprefix(SHIPPED_PREFIX))
    paths = [schedule_path(Path(folder), name) for folder in _folders()]
    return next((path for path in paths if path.is_file()), paths[0])


def free_path(name: str) -> Path:
    """Where a new file goes: no file of the user's is written over."""
    folder = Path(_folders()[0])
    path = schedule_path(folder, name)
    number = 2
    while path.exists():
        path = schedule_path(folder, f"{path.stem if number == 2 else path.stem.rpartition(' ')[0]} {number}")
        number += 1
    return path


def _folders() -> list[str]:
    return folder_paths.get_folder_paths(FOLDER)
