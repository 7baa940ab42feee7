"""Schedule files on the disk: written atomically, read as untrusted input, and nowhere but in their folder."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path

from ..errors import FRDiffError
from .format import from_bytes, to_bytes
from .model import ScheduleFile
from .reader import LARGEST_FILE

SUFFIX = ".safetensors"


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
