"""Sampling runs of the host that let gradients through, from the final latent back to every network call."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from comfy import model_management
from comfy.patcher_extension import WrappersMP

from ...nodes.calibration_request import Request

KEY = "frdiff_gradients"


@contextmanager
def with_gradients(request: Request) -> Iterator[Request]:
    """Inside the block, what the request samples can be differentiated.

    The host computes under `torch.no_grad` in each of its samplers, and everything under `torch.inference_mode`, whose
    tensors no gradient can pass.
    """
    with torch.inference_mode(False), _training():
        inputs = {name: _ordinary(value) for name, value in vars(request).items()}
        yield replace(request, **{**inputs, "model": _differentiable(request.model)})


@contextmanager
def _training() -> Iterator[None]:
    """Newer hosts have kernels that no gradient passes, and leave them alone where they are told that they train."""
    management: Any = model_management
    if not hasattr(management, "in_training"):
        yield
        return
    before = management.in_training
    management.in_training = True
    try:
        yield
    finally:
        management.in_training = before


def _differentiable(model: Any) -> Any:
    patched = model.clone()
    patched.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, KEY)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _outer_sample)
    return patched


def _outer_sample(executor: Any, noise: Any, latent_image: Any, sampler: Any, *args: Any, **kwargs: Any) -> Any:
    """Sample with the function that the host has put under `torch.no_grad`."""
    bare = copy.copy(sampler)
    function = getattr(sampler, "sampler_function", None)
    if function is not None:
        bare.sampler_function = getattr(function, "__wrapped__", function)
    return executor(noise, latent_image, bare, *args, **kwargs)


def _ordinary(value: Any) -> Any:
    """A value with the tensors in its lists and dictionaries copied, where they were made in inference mode."""
    if isinstance(value, torch.Tensor):
        return value.clone() if value.is_inference() else value
    if isinstance(value, dict):
        return {key: _ordinary(part) for key, part in value.items()}
    return type(value)(map(_ordinary, value)) if type(value) in (list, tuple) else value
