"""A calibration while it runs: how far it is, how long it will take, and the picture that is being made."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import latent_preview
import torch

from ..frdiff.auto_fr.calibrate import EFFORTS, Calibration, Keep
from ..frdiff.schedule_files.model import ScheduleFile
from ..frdiff.schedule_files.store import write_schedule
from .calibration_request import HostRuns, Request

PARTS = 1000
# Between texts, which go through ComfyUI's websocket.
SECONDS_BETWEEN = 1.0
# Below it, minutes say too little.
SHORT = 90.0


class Pace:
    """The progress of a calibration of so many ordinary runs; `say` writes on the node."""

    def __init__(
        self, model: Any, runs: int, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        self._bar = comfy.utils.ProgressBar(PARTS)
        self._runs, self._say, self._clock = runs, say, clock
        self._begun = self._share = 0.0
        self._text = ""
        # When, and at what part of all, steps were first seen: what comes before them is loading.
        self._first: tuple[float, float] | None = None
        self._said = float("-inf")

    def begin(self, done: float, share: float, text: str) -> None:
        """Note that the next run begins; raises the user's Cancel."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._begun, self._share, self._text = done, share, text
        self._show(done, None)

    def tick(self, step: int, total: int, x0: torch.Tensor) -> None:
        """Note a step of the run, with the denoised latent (B, C, ...) so far."""
        part = self._begun + self._share * step / total
        self._first = self._first or (self._clock(), part)
        preview = None
        if self._previewer:
            preview = self._previewer.decode_latent_to_preview_image("JPEG", x0)
        self._show(part, preview)

    def words(self, part: float) -> str:
        """What is going on, and how long it will: an estimate as soon as two steps are made."""
        left = self._left(part)
        cost = f"{self._runs} ordinary runs in all"
        return f"{self._text}: {cost if left is None else f'{duration(left)} left, {cost}'}"

    def _left(self, part: float) -> float | None:
        if self._first is None or part <= self._first[1]:
            return None
        return (self._clock() - self._first[0]) * (1 - part) / (part - self._first[1])

    def _show(self, part: float, preview: Any) -> None:
        self._bar.update_absolute(int(PARTS * part), PARTS, preview)
        now = self._clock()
        if now - self._said >= SECONDS_BETWEEN:
            self._said = now
            self._say(self.words(part))


def run_calibration(
    request: Request, path: Path, known: ScheduleFile | None, say: Callable[[str], None], shown: Keep
) -> ScheduleFile:
    """Measure what a request asks for, or what is left of it; the file is written and `shown` after each picture."""
    effort = EFFORTS[request.effort]
    pace = Pace(request.model, effort.most_runs, say)

    def keep(file: ScheduleFile) -> None:
        write_schedule(path, file)
        shown(file)

    begun = known or request.new_file(path.stem)
    with torch.inference_mode():
        return Calibration(HostRuns(request, pace.tick), effort, begun, pace.begin).run(keep)


def duration(seconds: float) -> str:
    """Seconds in words, in minutes where there are some."""
    return f"about {seconds:.0f} s" if seconds < SHORT else f"about {seconds / 60:.0f} min"
