"""Set up a real ComfyUI for the demo and the tests, or use one that is already there.

Standard library only, so that it runs on a bare Python 3.10 or newer. Everything it makes is inside
the checkout, in the git-ignored folder `.host`:

    .host/venv      virtual environment with torch, torchvision and ComfyUI's requirements
    .host/ComfyUI   ComfyUI 0.3.75
    .host/base      ComfyUI's --base-directory: the links in custom_nodes, output, user data

An existing installation (--comfyui PATH or COMFYUI_PATH) is used with its own Python environment and
is not changed: its custom nodes, models and outputs stay out of the way, because ComfyUI is started
with .host/base as its base directory.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from . import HOST_DIR, PACKS, ROOT, ScriptError
from .installing import Say, ensure_tools, imports, own_comfyui

DEV_REQUIREMENTS = ROOT / "tests" / "requirements.txt"
BROWSER_REQUIREMENTS = ROOT / "tests" / "browser" / "requirements.txt"
MANAGER_REQUIREMENTS = ROOT / "tests" / "manager" / "requirements.txt"


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
        """Where ComfyUI Manager, comfy-cli and comfy-test are, if they are installed; not on the path of others."""
        return self.tools.with_name(self.tools.name.replace("tools", "manager"))

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs this host's Python with `arguments`."""
        return [str(self.python), *arguments]


def ensure_host(comfyui: Path | None = None, say: Say = print) -> Host:
    """Return a ComfyUI that works, setting up what is missing.

    `comfyui` is an existing installation; without it COMFYUI_PATH is used, and without that the
    project's own installation is made or repaired. Raises ScriptError with a sentence for the user.
    """
    if sys.version_info < (3, 10):
        raise ScriptError(f"Python 3.10 or newer is needed; this is {sys.version.split()[0]}.")
    existing = comfyui or (Path(os.environ["COMFYUI_PATH"]) if os.environ.get("COMFYUI_PATH") else None)
    HOST_DIR.mkdir(exist_ok=True)
    if existing:
        folder = existing.expanduser().resolve()
        python = _existing_python(folder)
    else:
        folder, python = own_comfyui(say)
    host = host_of(folder, python)
    link_packs(host.base / "custom_nodes")
    return host


def host_of(comfyui: Path, python: Path) -> Host:
    """What is used of a ComfyUI with its Python, whether all of it is installed or not."""
    key = hashlib.sha256(str(python).encode()).hexdigest()[:8]
    return Host(comfyui, python, HOST_DIR / "base", HOST_DIR / f"tools-{key}")


def ensure_test_tools(host: Host, say: Say = print) -> None:
    """Install pytest and the linters beside the host's environment, never into it."""
    ensure_tools(host.python, host.tools, DEV_REQUIREMENTS, "Installing the test tools ...", say)


def ensure_browser_tools(host: Host, say: Say = print) -> None:
    """Install the driver of the browser tests, not a browser, beside the host's environment."""
    ensure_tools(host.python, host.browser_tools, BROWSER_REQUIREMENTS, "Installing the browser driver ...", say)


def ensure_manager(host: Host, say: Say = print) -> None:
    """Install ComfyUI Manager, comfy-cli and comfy-test for their tests beside the host's environment."""
    doing = "Installing ComfyUI Manager for its tests ..."
    ensure_tools(host.python, host.manager_tools, MANAGER_REQUIREMENTS, doing, say)


def link_packs(custom_nodes: Path) -> None:
    """Put links to this pack and to the demo models into a folder of custom nodes."""
    custom_nodes.mkdir(parents=True, exist_ok=True)
    for name, target in PACKS.items():
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


def add_comfyui_argument(parser: argparse.ArgumentParser) -> None:
    """Add the --comfyui option that every script shares."""
    parser.add_argument(
        "--comfyui",
        type=Path,
        metavar="PATH",
        help="an existing ComfyUI to use with its own Python environment (also: COMFYUI_PATH)",
    )


def make(arguments: argparse.Namespace) -> None:
    """Set up or check, and say what was found."""
    host = ensure_host(arguments.comfyui)
    print(f"ComfyUI  {host.comfyui}\nPython   {host.python}\nBase     {host.base}")


def _existing_python(folder: Path) -> Path:
    if not (folder / "main.py").is_file() or not (folder / "comfy").is_dir():
        raise ScriptError(f"{folder} is not a ComfyUI folder: main.py and comfy/ are not in it.")
    tried = [path for path in _python_candidates(folder) if path.is_file()]
    for python in tried:
        if imports(python, "torch", "torchvision", "aiohttp"):
            return python
    listed = ", ".join(str(path) for path in tried) or "none found"
    raise ScriptError(
        f"No Python environment with ComfyUI's requirements belongs to {folder} (tried: {listed}). "
        "Activate the environment that you start ComfyUI with and run this again."
    )


def _python_candidates(folder: Path) -> list[Path]:
    homes = [folder / ".venv", folder / "venv", folder.parent / "python_embeded"]
    homes += [Path(os.environ[name]) for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    inside = ("bin/python", "Scripts/python.exe", "python.exe")
    return [home / path for home in homes for path in inside] + [Path(sys.executable)]
