"""Let one of the host's samplers run on numbers of our own, to know before a run what it will do."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ...frdiff.sampler.response import ImpulseResponse

# Samplers of other packs may print, count or look at more than a rehearsal has: they are watched while they run.
HOST = "comfy."
SEED = 1
# What a sampler calls that seeds the generators of every device.
RESEEDS = "manual_seed"
# Adaptive samplers make as many evaluations as they like.
MOST_EVALUATIONS_PER_STEP = 4
# What is noted grows with the square of the steps.
MOST_STEPS = 500
# Of numbers about 1: what rounding leaves, and noise exceeds.
NOISE_TOLERANCE, LINEAR_TOLERANCE = 1e-4, 1e-3
CHECK_INPUT = 0.5
_COMPLAINTS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


def rehearse(sampler: Any, sigmas: torch.Tensor, model: Any) -> ImpulseResponse | None:
    """What a sampler object of the host will do on `sigmas` with a MODEL; None where only the run can show it.

    See docs/math.md, equation 3.2.
    """
    module = inspect.getmodule(getattr(sampler, "sampler_function", None))
    if module is None or not module.__name__.startswith(HOST) or not 1 < len(sigmas) <= MOST_STEPS + 1:
        return None
    if _reseeds(sampler.sampler_function):
        # Whatever is drawn from the generators of a device would begin again, in the run and after it.
        return None
    try:
        script, rows = _played(sampler, sigmas, model, len(sigmas) - 1)
        if len(script.sigmas) != len(sigmas) - 1:
            # Now it is known how many outputs there are.
            script, rows = _played(sampler, sigmas, model, len(script.sigmas))
        stochastic = bool(np.abs(rows[:, _NOTHING]).max() > NOISE_TOLERANCE)
        if stochastic and not _takes_noise(sampler):
            # The same seed makes the same noise, which is all there is where every number is zero.
            rows = rows - _played(sampler, sigmas, model, len(script.sigmas), silent=True)[1]
    except (_LastsTooLong, *_COMPLAINTS):
        # A sampler that asks the model for more than it can give here; if it is broken, the run will say so.
        return None
    known = rows[:, :_NOTHING] if _linear(rows) else None
    return ImpulseResponse(tuple(script.sigmas), stochastic, known, script.cfg_pp)


def _reseeds(function: Any) -> bool:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and RESEEDS in code.co_names


def _takes_noise(sampler: Any) -> bool:
    return "noise_sampler" in inspect.signature(sampler.sampler_function).parameters


class _LastsTooLong(Exception):
    """A rehearsal made more evaluations than one that can be planned for."""


# The last two columns: all numbers zero, and all at once.
_NOTHING, _CHECK = -2, -1


class _Script:
    """Stands in for the model: the n-th output is 1 in the n-th column, and what comes in is noted."""

    def __init__(self, model: Any, steps: int, outputs: int, silent: bool) -> None:
        sampling = model.get_model_object("model_sampling")
        self.inner_model = SimpleNamespace(model_patcher=model, inner_model=SimpleNamespace(model_sampling=sampling))
        self.sigmas: list[float] = []
        self.inputs: list[torch.Tensor] = []
        self.cfg_pp = False
        self._steps, self._outputs, self._loudness = steps, outputs, 0.0 if silent else 1.0

    def first_input(self) -> torch.Tensor:
        """The first input in column 0, then one column for each output, then nothing, then all at once."""
        x = torch.zeros(self._outputs + 3, 1, 1, 1)
        x[0], x[_CHECK] = 1.0, CHECK_INPUT
        return x * self._loudness

    def noise(self, *_: Any) -> torch.Tensor:
        """Stands in for the sampler's noise."""
        noise = torch.zeros(self._outputs + 3, 1, 1, 1)
        noise[_NOTHING] = 1.0
        return noise

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **extra: Any) -> torch.Tensor:
        call = len(self.sigmas)
        if call >= MOST_EVALUATIONS_PER_STEP * (self._steps + 1):
            raise _LastsTooLong
        self.sigmas.append(float(sigma.max()))
        self.inputs.append(x.reshape(-1).clone())
        output = torch.zeros_like(x)
        if call < self._outputs:
            output[call + 1] = 1.0
        output[_CHECK] = _check_output(call)
        output *= self._loudness
        for function in extra.get("model_options", {}).get("sampler_post_cfg_function", []):
            self.cfg_pp = True
            parts = dict.fromkeys(("denoised", "cond_denoised", "uncond_denoised"), output)
            output = function({**parts, "input": x, "sigma": sigma, "model_options": extra["model_options"]})
        return output


def _check_output(call: int) -> float:
    return float(np.sin(1.0 + call))


def _played(
    sampler: Any, sigmas: torch.Tensor, model: Any, outputs: int, silent: bool = False
) -> tuple[_Script, np.ndarray]:
    """The script after a run, and its inputs and the result as rows, with columns for so many outputs."""
    script = _Script(model, len(sigmas) - 1, outputs, silent)
    options = {**getattr(sampler, "extra_options", {})}
    if _takes_noise(sampler):
        # Noise where there is nothing else; the samplers' own can take longer to make than all the rest.
        options["noise_sampler"] = script.noise
    with _own_random_numbers(), torch.inference_mode():
        result = sampler.sampler_function(
            script, script.first_input(), sigmas.float().cpu(), extra_args={"seed": SEED, "model_options": {}},
            callback=None, disable=True, **options,
        )  # fmt: skip
    return script, torch.stack([*script.inputs, result.reshape(-1)]).double().numpy()


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """The same random numbers in every rehearsal, and everyone else's as if there had been none.

    Of all generators a rehearsal, which is on the CPU, draws from the CPU's alone. `torch.manual_seed` and
    `torch.random.fork_rng` are for those of every device.
    """
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(SEED)
    try:
        yield
    finally:
        generator.set_state(state)


def _linear(rows: np.ndarray) -> bool:
    """Whether the check column is the sum of the others, as far as they have columns."""
    outputs = [_check_output(call) for call in range(rows.shape[1] - 3)]
    expected = rows[:, : _NOTHING] @ np.array([CHECK_INPUT, *outputs])
    return len(rows) - 1 <= len(outputs) and bool(
        np.abs(expected - rows[:, _CHECK]).max() <= LINEAR_TOLERANCE * max(np.abs(expected).max(), 1.0)
    )
