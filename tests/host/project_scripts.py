"""The modules of scripts/, for tests."""

import importlib
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "scripts"


def import_script(name):
    """A module of scripts/, without leaving that folder where ComfyUI would find our server.py in it."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = [entry for entry in sys.path if entry != str(SCRIPTS)]
