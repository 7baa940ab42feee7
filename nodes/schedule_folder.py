"""Where schedule files lie, and which one a node means."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths

from ..frdiff.blocks.network_id import NetworkId
from ..frdiff.errors import FRDiffError
from ..frdiff.schedule_files.calibrated import fits
from ..frdiff.schedule_files.model import ScheduleFile
from ..frdiff.schedule_files.store import SUFFIX, read_schedule, schedule_path, write_schedule

FOLDER = "frdiff"
# The choice of the file that fits, and a name made of the model's and the setting's.
AUTO = "auto"
# The widget that says which file a node means.
FILE_WIDGETS = {"FRDiffScheduleLoader": "file", "FRDiffAutoFR": "name"}
UNREADABLE = "The request for a schedule file could not be read."
WHEN_IT_RUNS = "Which file fits is known when the node runs."

folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER), is_default=True)
folder_paths.folder_names_and_paths[FOLDER][1].add(SUFFIX)


def file_names() -> list[str]:
    """The files in models/frdiff and in what else belongs to it."""
    return sorted({path.name for path in _files()})


def find_file(name: str) -> Path:
    """The path that belongs to a name of `file_names`; raises FRDiffError for names that lead elsewhere."""
    paths = [schedule_path(Path(folder), name) for folder in _folders()]
    return next((path for path in paths if path.is_file()), paths[0])


def file_to_go_on(name: str, key: str) -> tuple[Path, ScheduleFile | None]:
    """The file of a name that was begun for the same, or where a new one goes: no other file is written over.

    What was measured for the same under another name is taken over and not measured again.
    """
    same = [(path, file) for path, file in _newest_first() if file.key == key]
    paths = _paths_of(name)
    for path, file in same:
        if path in paths:
            return path, file
    if not same:
        return paths[-1], None
    taken_over = replace(same[0][1], name=paths[-1].stem)
    write_schedule(paths[-1], taken_over)
    return paths[-1], taken_over


def fitting_file(network: NetworkId, sampler: str | None) -> ScheduleFile | None:
    """The newest file of a network and a sampler, where this is known; of its own weights and patches if there is."""
    found = [file for _, file in _newest_first() if fits(file, network) and sampler in (None, file.provenance.sampler)]
    return min(found, key=lambda file: _strangeness(file, network), default=None)


def newest_file(name: str) -> ScheduleFile:
    """The last file that was calibrated under a name; raises FRDiffError where there is none."""
    made = _paths_of(name)[:-1]
    if not made:
        raise FRDiffError("Nothing has been calibrated under this name yet.")
    return read_schedule(made[-1])


def file_of(node: str, inputs: Mapping[str, Any]) -> ScheduleFile:
    """The schedule file that a node of FILE_WIDGETS means by its widgets; raises FRDiffError."""
    name = inputs.get(FILE_WIDGETS[node])
    if not isinstance(name, str):
        raise FRDiffError(UNREADABLE)
    if node == "FRDiffAutoFR":
        return _of_setting(inputs) if name == AUTO else newest_file(name)
    if name == AUTO:
        raise FRDiffError(WHEN_IT_RUNS)
    return read_schedule(find_file(name))


def stamp() -> list[tuple[str, int]]:
    """Which files there are, and when they were written."""
    return sorted((str(path), path.stat().st_mtime_ns) for path in _files())


def _of_setting(inputs: Mapping[str, Any]) -> ScheduleFile:
    """The newest file of the sampler's settings, whatever the model, of which widgets say nothing."""
    for _, file in _newest_first():
        made = file.provenance
        if (made.sampler, made.scheduler, file.steps, made.cfg) == tuple(
            inputs.get(name) for name in ("sampler_name", "scheduler", "steps", "cfg")
        ):
            return file
    raise FRDiffError("Nothing has been calibrated with these settings yet.")


def _strangeness(file: ScheduleFile, network: NetworkId) -> tuple[bool, bool]:
    made = file.provenance.network
    return made.weights != network.weights, made.patches != network.patches


def _newest_first() -> Iterator[tuple[Path, ScheduleFile]]:
    """The files that can be read; others say what is wrong with them when they are chosen."""
    for path in sorted(_files(), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            file = read_schedule(path)
        except FRDiffError:
            continue
        yield path, file


def _files() -> list[Path]:
    return [path for folder in _folders() for path in Path(folder).glob("*" + SUFFIX) if path.is_file()]


def _folders() -> list[str]:
    return folder_paths.get_folder_paths(FOLDER)


def _paths_of(name: str) -> list[Path]:
    """The files of a name as they were numbered, and the next one, which is free."""
    first = schedule_path(Path(_folders()[0]), name)
    paths = [first]
    while paths[-1].exists():
        paths.append(schedule_path(first.parent, f"{first.stem} {len(paths) + 1}"))
    return paths
