"""Where schedule files lie, and which one a node's widgets mean."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import folder_paths

from ..frdiff.errors import FRDiffError
from ..frdiff.schedule_files.store import SUFFIX, schedule_path

FOLDER = "frdiff"
SHIPPED = Path(__file__).resolve().parent.parent / "schedules"
SHIPPED_PREFIX = "shipped: "
NOTHING = "nothing calibrated yet"
# The widget that says which file a node means.
FILE_WIDGETS = {"FRDiffScheduleLoader": "file", "FRDiffAutoFR": "name"}

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
    return _paths_of(name)[-1]


def newest_path(name: str) -> Path:
    """The last file that was calibrated under a name; raises FRDiffError where there is none."""
    made = _paths_of(name)[:-1]
    if not made:
        raise FRDiffError("Nothing has been calibrated under this name yet.")
    return made[-1]


def file_of(node: str, inputs: Mapping[str, Any]) -> Path:
    """The schedule file that a node of FILE_WIDGETS means; raises FRDiffError."""
    name = inputs.get(FILE_WIDGETS[node])
    if not isinstance(name, str):
        raise FRDiffError("The request for a schedule file could not be read.")
    return newest_path(name) if node == "FRDiffAutoFR" else find_file(name)


def _folders() -> list[str]:
    return folder_paths.get_folder_paths(FOLDER)


def _paths_of(name: str) -> list[Path]:
    """The files of a name as they were numbered, and the next one, which is free."""
    first = schedule_path(Path(_folders()[0]), name)
    paths = [first]
    while paths[-1].exists():
        paths.append(schedule_path(first.parent, f"{first.stem} {len(paths) + 1}"))
    return paths
