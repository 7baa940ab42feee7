"""Set up a real ComfyUI and run the tests in it: the engine's and the host's.

    python scripts/test.py                        all tests, in two processes
    python scripts/test.py tests/engine -k mixing arguments go on to pytest
    python scripts/test.py -m browser             those in a real browser; the others need none
    python scripts/test.py -m manager             ComfyUI Manager, comfy-cli and comfy-test
    python scripts/test.py --lint                 ruff and pyright instead of the tests
    python scripts/test.py --comfyui PATH         use an existing ComfyUI
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from setup import ROOT
from setup.host import (
    Host,
    add_comfyui_argument,
    ensure_browser_tools,
    ensure_host,
    ensure_manager,
    ensure_test_tools,
)
from setup.inside import reported

TESTS = ROOT / "tests"
# The longest file takes as long as all others together.
MOST_WORKERS = 2


def main() -> int:
    """Command line: set up, run, and return the exit code of what ran."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_comfyui_argument(parser)
    parser.add_argument("--lint", action="store_true", help="run ruff and pyright instead of the tests")
    arguments, passed_on = parser.parse_known_args()
    return reported("Set-up", lambda: _run(arguments, passed_on))


def _run(arguments: argparse.Namespace, passed_on: list[str]) -> int:
    host = ensure_host(arguments.comfyui)
    ensure_test_tools(host)
    if any("browser" in argument for argument in passed_on):
        ensure_browser_tools(host)
    if any("manager" in argument for argument in passed_on):
        ensure_manager(host)
    if arguments.lint:
        return lint(host)
    return run_tests(host, passed_on)


def run_tests(host: Host, passed_on: list[str]) -> int:
    """Run pytest with `passed_on`, on all tests unless a path is among them, and return its exit code."""
    arguments = [_test_path(argument) or argument for argument in passed_on]
    if not any(_test_path(argument) for argument in passed_on):
        arguments.append(str(TESTS))
    environment = host.environment()
    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    if not passed_on and workers > 1:
        # Those of a file share what takes long to make.
        arguments += ["-n", str(workers), "--dist", "loadfile"]
        # Threads of several processes on the same cores wait for each other.
        environment |= {"OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // workers, 1))}
    # With the checkout as the working directory its nodes/ would hide ComfyUI's nodes.py.
    command = host.command("-m", "pytest", "-c", str(TESTS / "pytest.ini"), *arguments)
    return subprocess.run(command, cwd=TESTS, env=environment).returncode


def lint(host: Host) -> int:
    """Run ruff and pyright on the sources, both even if the first finds something."""
    # What they look at is in pyproject.toml.
    tools = [["ruff", "check", "."], ["pyright", "--pythonpath", str(host.python)]]
    codes = [subprocess.run(host.command("-m", *tool), cwd=ROOT, env=host.environment()).returncode for tool in tools]
    return max(codes)


def _test_path(argument: str) -> str | None:
    """The absolute form of an argument that names a file, a folder or a test in a file; None for others."""
    path, separator, rest = argument.partition("::")
    if argument.startswith("-") or not Path(path).exists():
        return None
    return str(Path(path).resolve()) + separator + rest


if __name__ == "__main__":
    sys.exit(main())
