"""Show where the engine's constants come from: replay recorded trajectories of the demo models.

    python scripts/study.py record                record trajectories (about two minutes)
    python scripts/study.py forecasts             error of each forecast, in dB below the straight line's
    python scripts/study.py keyframes             error that masks of different cost models leave, in dB
    python scripts/study.py partial               what one partial step at each place does to the picture
    python scripts/study.py repair                what repairs of different strengths do, in dB
    python scripts/study.py noise                 ways of skipping where the sampler adds noise, in dB
    python scripts/study.py one                   what one skipped step at each place does, where noise is added
    python scripts/study.py boundary              forecasts of the output against those of the last hidden state
    python scripts/study.py samplers              the dial against as many plain steps, with every sampler
    python scripts/study.py counts                every count of computed steps: is one more ever worse?
    python scripts/study.py bent                  keyframes by costs that fall with the flow time, against the dial's
    python scripts/study.py search                the best of 150 plans around the dial's, on other pairs as well
    python scripts/study.py layers                layers repeated in skipped steps, where noise is added
    python scripts/study.py windows               context windows that stay and that move, on the video model

The trajectories are plain Euler runs of eight prompts, kept in .host/study. A replayed run follows the true
trajectory, so that the error of a forecast does not feed back into the network: good enough to choose between
constants, not to report a quality; scripts/bench.py does that. All from `partial` on sample for real.
"""

from __future__ import annotations

import argparse
import sys

from setup.host import Host, add_comfyui_argument
from setup.in_process import load_comfyui, pack_module
from setup.inside import inside, reported

# By the module that has them.
STUDIES = {
    "study_replays": ("record", "forecasts", "keyframes"),
    "study_runs": ("partial", "repair", "noise", "one", "boundary", "samplers"),
    "study_counts": ("counts",),
    "study_plans": ("bent", "search"),
    "study_layers": ("layers",),
    "study_windows": ("windows",),
}


def main() -> int:
    """Command line: set up, run inside the host's Python, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_comfyui_argument(parser)
    modules = {study: module for module, studies in STUDIES.items() for study in studies}
    parser.add_argument("what", choices=modules)
    arguments = parser.parse_args()

    def work(_: Host) -> None:
        host = load_comfyui("cpu")
        vars(pack_module(host, f"scripts.bench.{modules[arguments.what]}"))[arguments.what](host)

    return reported("The study", lambda: inside(arguments.comfyui, work))


if __name__ == "__main__":
    sys.exit(main())
