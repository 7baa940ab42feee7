"""Schedule files on the disk: written atomically, read as untrusted input, and nowhere but in their folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from ..errors import FRDiffError
from .model import LATENT, PICTURE, ScheduleFile
from .reader import KEY, LARGEST_FILE, Reader, shortened

# Written, and read as well.
FORMAT, OLD_FORMAT = 2, 1
FROM_BEFORE = "Measured by an earlier version, as a mean over its pictures."

SUFFIX = ".safetensors"


def to_bytes(file: ScheduleFile) -> bytes:
    """The content of a file; raises FRDiffError when it could not be read again."""
    header = {"format": FORMAT, **{key: value for key, value in asdict(file).items() if key != "times"}}
    times = {"times": np.array(file.times, dtype=np.float64)}
    data = safetensors.numpy.save(times, metadata={KEY: json.dumps(header, allow_nan=False)})
    from_bytes(data, file.name)
    return data


def from_bytes(data: bytes, name: str) -> ScheduleFile:
    """Read the content of a file called `name`, field by field; raises FRDiffError with one sentence."""
    reader = Reader(name)
    header, arrays = reader.header(data), reader.arrays(data)
    written = header.get("format")
    if type(written) is not int or written not in (FORMAT, OLD_FORMAT):
        raise reader.wrong(f"its format is {shortened(written)}, and this version reads {OLD_FORMAT} and {FORMAT}")
    notes = tuple(reader.text({"notes": note}, "notes") for note in reader.list(header, "notes", 20))
    common: dict[str, Any] = {
        "name": reader.text(header, "name"), "times": reader.times(arrays["times"]),
        "provenance": reader.provenance(header), "stochastic": reader.boolean(header, "stochastic"),
    }  # fmt: skip
    if written == OLD_FORMAT:
        return ScheduleFile(**common, points=reader.old_points(header), measure=LATENT, notes=(FROM_BEFORE,))
    measure = reader.text(header, "measure")
    if measure not in (PICTURE, LATENT):
        raise reader.wrong(f"the measure {shortened(measure)} is not known")
    return ScheduleFile(
        **common, points=reader.points(header), measure=measure, done=reader.whole(header, "done"),
        planned=reader.whole(header, "planned"), key=reader.text(header, "key"), notes=notes,
        repair=reader.number(header, "repair", 0, 1),
    )  # fmt: skip


def write_schedule(path: Path, file: ScheduleFile) -> None:
    """Write a file so that at every moment there is the old one or the new one, whole."""
    data = to_bytes(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # Temporary files are for their owner alone; this one is to be like any other.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def read_schedule(path: Path) -> ScheduleFile:
    """Read and validate a file; raises FRDiffError with one sentence that names it."""
    try:
        if not path.is_file():
            raise FRDiffError(f"The schedule file {path.name} does not exist. Choose another or calibrate again.")
        with path.open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise FRDiffError(f"The schedule file {path.name} cannot be read: {error.strerror}.") from error
    return from_bytes(data, path.name)


def schedule_path(folder: Path, name: str) -> Path:
    """The path of a file inside `folder`; raises FRDiffError for a name that is more than a plain file name."""
    name = name.removesuffix(SUFFIX)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_. +-]{0,99}", name) or ".." in name or name != name.strip(" ."):
        raise FRDiffError(
            f"The schedule name {name[:100]!r} cannot be used. Use letters, digits, spaces and . _ + - only."
        )
    path = folder / (name + SUFFIX)
    if path.resolve().parent != folder.resolve():
        raise FRDiffError(f"The schedule file {path.name} lies outside its folder. Put the file itself there, no link.")
    return path
