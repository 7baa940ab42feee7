"""Let a sampler run on numbers of our own, to know before a run what it will do."""

from __future__ import annotations

import inspect
import math
from collections.abc import Hashable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from comfy.model_management import InterruptProcessingException

from ...frdiff.sampler.response import ImpulseResponse
from ...frdiff.tensors import map_tensors
from .isolation import isolated, own_random_numbers
from .same_state import NotIsolated

HOST = "comfy."
SEED = 1
# What a sampler calls that seeds the generators of every device; one of its own has a method of that name.
RESEEDS, OWN_GENERATOR = "manual_seed", "Generator"
# Samplers with inner iterations make many; adaptive ones as many as they like.
MOST_EVALUATIONS_PER_STEP = 16
USUAL_EVALUATIONS_PER_STEP = 4
# What is noted grows with the square of the steps.
MOST_STEPS, MOST_EVALUATIONS = 500, 1000
# A rehearsal takes some milliseconds. One that takes longer is given up, and the run is watched.
SECONDS = 3.0
# Of numbers about 1: what rounding leaves, and noise exceeds.
NOISE_TOLERANCE, LINEAR_TOLERANCE = 1e-4, 1e-3
CHECK_INPUT = 0.5
# In steps: samplers that add noise do so from the first step on.
LATE_NOISE = 2
# In each direction of a latent.
LARGEST_UNIT = 4
# Of options and of a guider's attributes.
PLAIN = (bool, int, float, str, type(None))
# What other packages' samplers were found to do, for the last settings.
MOST_KEPT = 16
_KEPT: dict[Hashable, ImpulseResponse | None] = {}


def rehearse(
    sampler: Any, sigmas: torch.Tensor, model: Any, guider: Any = None, shape: Sequence[int] = (1, 4, 8, 8)
) -> ImpulseResponse | None:
    """What a sampler object will do on `sigmas` with a MODEL and a guider; None where only the run can show it.

    `shape` is that of the latent (B, C, ...). See docs/math.md, equation 3.2.
    """
    function = getattr(sampler, "sampler_function", None)
    if not callable(function) or not 1 < len(sigmas) <= MOST_STEPS + 1:
        return None
    try:
        if _reseeds(function):
            # What is drawn from a device's generator would begin again, in the run and after it.
            return None
        if _is_of_the_host(sampler):
            # They leave nothing behind, and look at numbers one by one.
            return _response(sampler, sigmas, _Stage(model, guider, sigmas, (1, 1, 1)), len(sigmas) - 1)
        return _of_another_package(sampler, sigmas, _Stage(model, guider, sigmas, shape[1:]))
    except InterruptProcessingException:
        raise
    except (NotIsolated, Exception):
        # A sampler that asks for more than there is here; if it is broken, the run will say so.
        return None


def _of_another_package(sampler: Any, sigmas: torch.Tensor, stage: _Stage) -> ImpulseResponse | None:
    """The response, in isolation. What is known is not asked for again: it may take as long as a short run."""
    key = _key(sampler, sigmas, stage)
    if key in _KEPT:
        return _KEPT[key]
    try:
        with isolated(SECONDS, sampler):
            response = _response(sampler, sigmas, stage, USUAL_EVALUATIONS_PER_STEP * len(sigmas))
    except NotIsolated:
        response = None
    # What is not linear may as well have drawn no noise because of these numbers.
    found = response if response and response.inputs is not None else None
    if key is not None:
        _KEPT[key] = found
        if len(_KEPT) > MOST_KEPT:
            del _KEPT[next(iter(_KEPT))]
    return found


def _key(sampler: Any, sigmas: torch.Tensor, stage: _Stage) -> Hashable:
    """All that a response depends on, None where that is more than plain values or would be kept alive by this."""
    function, options = sampler.sampler_function, getattr(sampler, "extra_options", {})
    of_module = getattr(inspect.getmodule(function), getattr(function, "__name__", ""), None) is function
    if not of_module or not all(isinstance(value, PLAIN) for value in options.values()):
        return None
    return function, tuple(options.items()), tuple(sigmas.tolist()), stage.key


def _response(sampler: Any, sigmas: torch.Tensor, stage: _Stage, guess: int) -> ImpulseResponse | None:
    script, rows = _played(sampler, sigmas, stage, guess)
    if len(script.sigmas) > guess:
        # Now it is known how many outputs there are.
        guess = len(script.sigmas)
        script, rows = _played(sampler, sigmas, stage, guess)
    noisy = np.abs(rows[:, _NOTHING]) > NOISE_TOLERANCE
    stochastic = bool(noisy.any())
    if stochastic and noisy.argmax() > LATE_NOISE * len(rows) / stage.steps + 1:
        # Until it sets in the run is one without noise, which the watch tells apart.
        return None
    if stochastic and not _takes_noise(sampler):
        # The same seed makes the same noise, which is all there is where every number is zero.
        rows = rows - _played(sampler, sigmas, stage, guess, silent=True)[1]
    known = rows[:, :_NOTHING] if _linear(rows) else None
    return ImpulseResponse(tuple(script.sigmas), stochastic, known, script.cfg_pp)


def _is_of_the_host(sampler: Any) -> bool:
    module = inspect.getmodule(sampler.sampler_function)
    return module is not None and module.__name__.startswith(HOST)


def _reseeds(function: Any) -> bool:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and RESEEDS in code.co_names and OWN_GENERATOR not in code.co_names


def _takes_noise(sampler: Any) -> bool:
    return "noise_sampler" in inspect.signature(sampler.sampler_function).parameters


# The last two columns: all numbers zero, and all at once.
_NOTHING, _CHECK = -2, -1


class _Stage:
    """What a sampler finds around its model, as far as it is no network: noise levels, formats, the guider's numbers.

    `shape` (C, ...) is that of a latent, `unit` (C, ...), smaller, what stands for the number 1 in it: of zero mean and
    of deviation 1, for samplers that measure what they are given.
    """

    def __init__(self, model: Any, guider: Any, sigmas: torch.Tensor, shape: Sequence[int]) -> None:
        self.steps, self.sigmas, self.shape = len(sigmas) - 1, sigmas, torch.Size(shape)
        sizes = [min(size, LARGEST_UNIT) for size in shape]
        waves = torch.sin(1.0 + torch.arange(math.prod(sizes))).reshape(sizes)
        self.unit = (waves - waves.mean()) / waves.std() if waves.numel() > 1 else torch.ones(sizes)
        sampling, base = model.get_model_object("model_sampling"), getattr(model, "model", None)
        known = {name: getattr(base, name) for name in ("latent_format", "model_config", "model_type")
                 if hasattr(base, name)}  # fmt: skip
        inner = SimpleNamespace(
            model_sampling=sampling, diffusion_model=SimpleNamespace(), device=torch.device("cpu"), **known
        )
        numbers = {name: value for name, value in vars(guider or SimpleNamespace()).items()
                   if isinstance(value, PLAIN)}  # fmt: skip
        patcher = SimpleNamespace(get_model_object=model.get_model_object, model_options={})
        self.guider = SimpleNamespace(**{**numbers, "model_patcher": patcher, "inner_model": inner, "conds": {}})
        levels = [float(getattr(sampling, name, 0.0)) for name in ("sigma_min", "sigma_max")]
        self.key = (type(base), type(sampling), *levels, type(guider), *numbers.items(), self.shape)

    def in_its_size(self, option: torch.Tensor) -> torch.Tensor:
        """A sampler's option as it is, or nothing in place of a latent: what is constant is no part of a response."""
        if option.shape[1:] == self.shape:
            return option.new_zeros(1, *self.unit.shape)
        return option.clone()


class _Script:
    """Stands in for the model: the n-th output is 1 in the n-th column, and what comes in is noted."""

    def __init__(self, stage: _Stage, outputs: int, silent: bool) -> None:
        self.sigmas: list[float] = []
        self.inputs: list[np.ndarray] = []
        self.cfg_pp = False
        self._unit, self._most = stage.unit, min(MOST_EVALUATIONS_PER_STEP * (stage.steps + 1), MOST_EVALUATIONS)
        self._outputs, self._loudness = outputs, 0.0 if silent else 1.0

    def first_input(self) -> torch.Tensor:
        """The first input in column 0, then one column for each output, then nothing, then all at once."""
        numbers = torch.zeros(self._outputs + 3)
        numbers[0], numbers[_CHECK] = 1.0, CHECK_INPUT
        return self._latents(numbers) * self._loudness

    def noise(self, *_: Any) -> torch.Tensor:
        """Stands in for the sampler's noise."""
        numbers = torch.zeros(self._outputs + 3)
        numbers[_NOTHING] = 1.0
        return self._latents(numbers)

    def answer(self, x: torch.Tensor, sigma: torch.Tensor, **extra: Any) -> torch.Tensor:
        """What the model says, to an input and a noise level for each column."""
        call = len(self.sigmas)
        if call >= self._most:
            raise NotIsolated
        self.sigmas.append(float(sigma.max()))
        self.inputs.append(self.numbers(x))
        numbers = torch.zeros(self._outputs + 3)
        if call < self._outputs:
            numbers[call + 1] = 1.0
        numbers[_CHECK] = _check_output(call)
        output = (self._latents(numbers) * self._loudness).to(x)
        for function in extra.get("model_options", {}).get("sampler_post_cfg_function", []):
            self.cfg_pp = True
            parts = dict.fromkeys(("denoised", "cond_denoised", "uncond_denoised"), output)
            output = function({**parts, "input": x, "sigma": sigma, "model_options": extra["model_options"]})
        return output

    def numbers(self, x: torch.Tensor) -> np.ndarray:
        """How much of the unit is in each column of latents (N, C, ...)."""
        unit = self._unit.to(x)
        return ((x * unit).flatten(1).sum(dim=1) / unit.square().sum()).double().cpu().numpy()

    def _latents(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers.reshape(-1, *[1] * self._unit.ndim) * self._unit


class _Model:
    """The script as a sampler sees it, which may leave things on it."""

    def __init__(self, script: _Script, stage: _Stage) -> None:
        self.inner_model, self.sigmas = stage.guider, stage.sigmas
        self._script = script

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **extra: Any) -> torch.Tensor:
        return self._script.answer(x, sigma, **extra)


def _check_output(call: int) -> float:
    return float(np.sin(1.0 + call))


def _played(
    sampler: Any, sigmas: torch.Tensor, stage: _Stage, outputs: int, silent: bool = False
) -> tuple[_Script, np.ndarray]:
    """The script after a run, and its inputs and the result as rows, with columns for so many outputs."""
    script = _Script(stage, outputs, silent)
    options = map_tensors(stage.in_its_size, getattr(sampler, "extra_options", {}))
    if _takes_noise(sampler):
        # Noise where there is nothing else; the samplers' own can take longer to make than all the rest.
        options["noise_sampler"] = script.noise
    own = {"seed": SEED, "model_options": {"transformer_options": {}}}
    with own_random_numbers(SEED), torch.inference_mode():
        result = sampler.sampler_function(
            _Model(script, stage), script.first_input(), sigmas.float().cpu().clone(), extra_args=own, callback=None,
            disable=True, **options,
        )  # fmt: skip
    rows = np.stack([*script.inputs, script.numbers(result)])
    made = min(len(script.sigmas), outputs)
    return script, np.concatenate([rows[:, : made + 1], rows[:, _NOTHING:]], axis=1)


def _linear(rows: np.ndarray) -> bool:
    """Whether the check column is the sum of the others, as far as they have columns."""
    outputs = [_check_output(call) for call in range(rows.shape[1] - 3)]
    expected = rows[:, : _NOTHING] @ np.array([CHECK_INPUT, *outputs])
    return len(rows) - 1 <= len(outputs) and bool(
        np.abs(expected - rows[:, _CHECK]).max() <= LINEAR_TOLERANCE * max(np.abs(expected).max(), 1.0)
    )
