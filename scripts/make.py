"""Make again what is in the repository and comes out of a program: for maintainers.

    python scripts/make.py host             set up ComfyUI, or check an existing one
    python scripts/make.py locales          locales/, from the nodes and scripts/docs/translations
    python scripts/make.py workflows        workflows/ and subgraphs/, in the real frontend
    python scripts/make.py pictures         the pictures of the help pages, in the real frontend
    python scripts/make.py map              the map of the modules in CONTRIBUTING.md
    python scripts/make.py icon             docs/icon.svg and docs/banner.svg
    python scripts/make.py usual            the benchmark's chart and table of samplers for the README and docs/
    python scripts/make.py memory           what is remembered, by model and size, for docs/memory.md
    python scripts/make.py calibration-table
                                            what Auto-FR is worth, for docs/findings_auto_fr.md
    python scripts/make.py model            the demo models, by training them

Each says more with --help.
"""

from __future__ import annotations

import argparse
import sys

from calibrate import worth
from demo import model
from docs import icon, locales, memory, module_map, pictures, usual, workflows
from setup import host
from setup.host import add_comfyui_argument
from setup.inside import reported

WHAT = {
    "host": host,
    "locales": locales,
    "workflows": workflows,
    "pictures": pictures,
    "map": module_map,
    "icon": icon,
    "usual": usual,
    "memory": memory,
    "calibration-table": worth,
    "model": model,
}
WITH_OPTIONS = (locales, pictures, worth, model)


def main() -> int:
    """Command line: make one thing, and return the exit code."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    things = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, module in WHAT.items():
        thing = things.add_parser(name, description=module.__doc__, formatter_class=layout)
        add_comfyui_argument(thing)
        if module in WITH_OPTIONS:
            module.add_arguments(thing)
    arguments = parser.parse_args()
    return reported(f"make.py {arguments.what}", lambda: WHAT[arguments.what].make(arguments))


if __name__ == "__main__":
    sys.exit(main())
