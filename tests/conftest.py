"""Load ComfyUI and the pack the way the host does, on the CPU where there is no GPU."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# After ComfyUI's own folder, whose nodes.py has the name of our package.
sys.path.append(str(ROOT))
# The rooms of scripts/ are packages.
sys.path.insert(0, str(ROOT / "scripts"))


def pytest_addoption(parser):
    """Tables in docs/ are written from test results."""
    parser.addoption("--write-tables", action="store_true", help="write the tables of results in docs/")


def pytest_configure(config):
    """A table is written whole."""
    if config.getoption("--write-tables") and config.option.keyword:
        raise pytest.UsageError("--write-tables writes whole tables: leave out -k.")
