"""Find out from the run itself whether the sampler adds fresh noise, and whether it does what it rehearsed."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch

from ..tensors import is_plain
from .elements import LatentElements
from .response import ImpulseResponse

# Of the latent's own size: a linear solver leaves rounding errors, noise leaves far more.
NOISE_TOLERANCE = 1e-3
# Of the same: what a rehearsal in single precision may be wrong by.
RESPONSE_TOLERANCE = 5e-3
# Solvers combine at most this many past evaluations: four of the host's, or two steps with many stages.
MEMORY = 12


class SamplerWatch:
    """Sees what goes into and comes out of each evaluation, and tells whether noise came in between.

    A deterministic solver makes its next input as a linear combination of past inputs and of the
    outputs that it was given; what cannot be written so is fresh noise. `region`, in the latent's shape (B, C, ...), is
    1 where the sampler is free, None where it is free everywhere. With a `response` the combination is known, and
    `contradicted` says that it was another one; until then nothing else is asked.
    `cfg_pp` says that the sampler takes the outputs of single conditions, as CFG++ does. What passes by may be
    anything: at the first that is no latent of finite numbers the watch ends, and `lost` says so.
    """

    def __init__(self, region: torch.Tensor | None = None, response: ImpulseResponse | None = None) -> None:
        self.stochastic: bool | None = None
        self.cfg_pp = False
        self.contradicted = False
        self._response = response
        self._elements = LatentElements(region)
        self._first: np.ndarray | None = None
        self._comparable = True
        self._all_outputs: list[np.ndarray] = []
        self._inputs: deque[np.ndarray] = deque(maxlen=MEMORY)
        self._outputs: deque[np.ndarray] = deque(maxlen=MEMORY)
        # On the device until they are needed.
        self._unread: list[torch.Tensor] = []
        self._parts: deque[torch.Tensor] = deque(maxlen=2 * MEMORY)

    @property
    def lost(self) -> bool:
        """Whether something passed by that cannot be watched."""
        return self._elements.lost

    def arrived(self, x: object) -> None:
        """Note the input (B, C, ...) of an evaluation, and compare it with what came before."""
        if self.stochastic or not self._elements.sees(x):
            return
        now = self._read(x)
        if not self._elements.are_finite(now):
            return
        if self._response:
            self._compare(now, self._response)
        if self._response is None and self._outputs and self._inputs:
            self._explain(now)
        self._inputs.append(now)

    def answered(self, denoised: object) -> None:
        """Note what an evaluation returned to the sampler, (B, C, ...)."""
        if self.stochastic or not self._elements.sees(denoised):
            return
        self._forget_other_shapes(denoised)
        self._unread.append(self._elements.of(denoised))

    def called(self, denoised: object) -> None:
        """Note what one network call returned: the outputs of P conditions in one batch (P B, C, ...)."""
        shape = self._elements.shape
        # A network may return what is no latent: then single conditions are of no use to the sampler either.
        if self.stochastic or self.lost or shape is None or not is_plain(denoised):
            return
        if denoised.shape[1:] == shape[1:] and len(denoised) % shape[0] == 0:
            self._parts.extend(self._elements.of(part) for part in torch.split(denoised, shape[0]))

    def distrust(self) -> None:
        """From here on nothing is known of the sampler but what is seen."""
        self._response = None
        self.contradicted = True

    def _read(self, x: torch.Tensor) -> np.ndarray:
        """Elements (M,) of an input, and by the same copy those of the outputs since the last one."""
        self._forget_other_shapes(x)
        *outputs, now = self._elements.read([*self._unread, self._elements.of(x)])
        self._unread.clear()
        for output in outputs:
            if self._elements.are_finite(output):
                self._outputs.append(output)
                self._all_outputs.append(output)
        return now

    def _forget_other_shapes(self, x: torch.Tensor) -> None:
        """Start again where a latent (B, C, ...) has another shape than those before: it was cut in the run."""
        if self._elements.is_new_shape(x):
            self._comparable = self._first is None
            for kept in (self._outputs, self._parts, self._inputs, self._unread, self._all_outputs):
                kept.clear()

    def _compare(self, now: np.ndarray, response: ImpulseResponse) -> None:
        """Compare an input (M,) with what the rehearsal makes of the outputs so far."""
        if self._first is None:
            self._first = now
            return
        if not self._comparable:
            return
        made = response.input_of(len(self._all_outputs), self._first, self._all_outputs)
        if made is None or response.stochastic:
            return
        if not np.linalg.norm(now - made) <= RESPONSE_TOLERANCE * np.linalg.norm(now):
            self.distrust()

    def _explain(self, now: np.ndarray) -> None:
        """Tell whether an input (M,) is a combination of what came before."""
        # Some samplers remember derivatives, so older inputs matter, and CFG++ uses the unconditional output.
        plain, older = [self._inputs[-1], *self._outputs], list(self._inputs)[:-1]
        if self._explained(now, plain) or self._explained(now, plain + older):
            self.stochastic = False
            return
        parts = [part for part in self._elements.read(self._parts) if np.isfinite(part).all()] if self._parts else []
        self.stochastic = not parts or not self._explained(now, plain + older + parts)
        self.cfg_pp = self.cfg_pp or not self.stochastic

    @staticmethod
    def _explained(now: np.ndarray, basis: list[np.ndarray]) -> bool:
        """Whether `now` (M,) is a linear combination of `basis`, each (M,), but for rounding."""
        return _remainder(now, basis) <= NOISE_TOLERANCE


def _remainder(y: np.ndarray, basis: list[np.ndarray]) -> float:
    """The part of `y` (M,) outside the span of `basis`, each (M,), relative to `y` (docs/math.md, equation 3.7)."""
    columns = np.stack(basis, axis=1)
    # By singular values: successive outputs are nearly parallel.
    solution: np.ndarray = np.linalg.lstsq(columns, y, rcond=None)[0]
    return float(np.linalg.norm(columns @ solution - y)) / max(float(np.linalg.norm(y)), 1e-30)
