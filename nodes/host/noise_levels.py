"""A MODEL's noise levels in the engine's terms, asked of the host's own arithmetic."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from comfy.model_sampling import CONST

from ...frdiff.sampler.noise_levels import LevelOf, NoiseLevel, noise_prediction_level

# Batches of two numbers as latents: a unit in the first alone, and in the second.
_FIRST, _SECOND = torch.eye(2, dtype=torch.float64)


def noise_levels_of(model: Any) -> LevelOf:
    """What a MODEL's sigma means: its flow time, and how much input and raw output count in the denoised latent."""
    sampling = model.get_model_object("model_sampling")

    @cache
    def level_of(sigma: float) -> NoiseLevel:
        c_skip, c_out = sampling.calculate_denoised(_batch_of(sigma), _SECOND, _FIRST).tolist()
        return NoiseLevel(sigma, _flow_time(sampling, sigma), c_skip, c_out)

    return level_of


def _flow_time(sampling: Any, sigma: float) -> float:
    """`noise / (noise + data)`, from the way in which the model's noise is added."""
    noise, data = sampling.noise_scaling(_batch_of(sigma), _FIRST, _SECOND).tolist()
    if noise or not sigma:
        return noise / (noise + data)
    # From picture to picture: such a model starts from data, and its sigma is the time itself if it is a flow.
    return sigma if isinstance(sampling, CONST) else noise_prediction_level(sigma).time


def _batch_of(sigma: float) -> torch.Tensor:
    return torch.full((2,), sigma, dtype=torch.float64)
