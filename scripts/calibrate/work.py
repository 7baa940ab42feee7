"""What calibrate.py does in the host's Python. Loaded as a module of the pack, as all that imports the pack here."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from tqdm import tqdm

from calibrate import ray_workers
from calibrate.headless import Prompt, inputs_of
from setup import ScriptError

from ...frdiff.auto_fr.calibrate import Calibration
from ...frdiff.auto_fr.effort import EFFORTS
from ...frdiff.auto_fr.jobs import Do, in_turn
from ...frdiff.errors import FRDiffError
from ...frdiff.schedule_files.model import Provenance, ScheduleFile
from ...frdiff.schedule_files.store import write_schedule
from ...nodes.calibration_request import Request, describe
from ...nodes.schedule_folder import free_path
from .gates import GateSettings, Keep, Progress, learn
from .gradients import with_gradients

# The file of a name; tells its progress and hands on each better file.
Calibrate = Callable[[str, Progress, Keep], ScheduleFile]


@dataclass(frozen=True)
class Order:
    """What the calibration itself has to know of a request."""

    made: Provenance
    effort: str
    name: str
    seed: int


def request_of(host: Any, prompt: Prompt, node: str) -> Request:
    """The inputs of a workflow's node FRDiff Auto-FR, ready to sample with."""
    return Request(**inputs_of(host, prompt, node))


def order_of(request: Request) -> Order:
    """What a request orders."""
    return Order(request.provenance(), request.effort, request.name, request.seed)


def calibrate(host: Any, arguments: argparse.Namespace, prompt: Prompt, node: str) -> int:
    """Calibrate what a node of a workflow asks for, and return the exit code; raises ScriptError with a sentence."""
    try:
        if arguments.ray:
            with ray_workers.cluster(arguments, prompt, node, _say) as workers:
                return _write(arguments, workers.order, _searching(arguments, workers.order, workers.do))
        request = request_of(host, prompt, node)
        order = order_of(request)
        if arguments.method == "gates":
            return _write(arguments, order, _learning(arguments, order, request))
        return _write(arguments, order, _searching(arguments, order, in_turn(request.sample)))
    except FRDiffError as error:
        raise ScriptError(str(error)) from error


def _searching(arguments: argparse.Namespace, order: Order, do: Do) -> Calibrate:
    chosen = EFFORTS[order.effort]
    chosen = replace(chosen, seconds=0.0, climbed=arguments.tries if chosen.seconds else None)
    if arguments.held_out is not None:
        chosen = replace(chosen, held_out=arguments.held_out)

    def calibrate(name: str, progress: Progress, keep: Keep) -> ScheduleFile:
        with torch.inference_mode():
            return Calibration(do, chosen, order.made, name, order.seed, progress).run(keep)

    return calibrate


def _learning(arguments: argparse.Namespace, order: Order, request: Request) -> Calibrate:
    given = {name: getattr(arguments, name) for name in ("iterations", "rate", "weight")}
    settings = GateSettings(**{name: value for name, value in given.items() if value is not None})

    def calibrate(name: str, progress: Progress, keep: Keep) -> ScheduleFile:
        with with_gradients(request) as learner:
            return learn(learner.sample, order.made, name, order.seed, settings, progress, keep)

    return calibrate


def _write(arguments: argparse.Namespace, order: Order, calibrate: Calibrate) -> int:
    """Calibrate with a bar and write what is known as soon as it is; returns the exit code."""
    path = arguments.output or free_path(order.name)
    with tqdm(total=100, bar_format="{percentage:3.0f}%|{bar}| {elapsed} {desc}", dynamic_ncols=True) as bar:

        def progress(part: float, text: str) -> None:
            bar.n = 100 * part
            bar.set_description_str(text)

        try:
            file = calibrate(path.stem, progress, lambda known: write_schedule(path, known))
        except KeyboardInterrupt:
            known = f"What was known by then is in {path}." if path.is_file() else "Nothing was known yet."
            print(f"\nThe calibration was interrupted. {known}", file=sys.stderr)
            return 130
        progress(1.0, "done")
    print(f"{describe(file)}\nWritten: {path}")
    return 0


def _say(text: str) -> None:
    """Above the bar, if there is one."""
    tqdm.write(text, file=sys.stderr)
