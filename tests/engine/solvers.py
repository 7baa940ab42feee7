"""Small samplers for the engine's tests, and their impulse response."""

import math

import numpy as np
import torch

from frdiff.sampler.response import ImpulseResponse

ADAMS = ((1.0,), (1.5, -0.5), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def euler(sigmas, step, x, inputs, outputs):
    """One step along the slope."""
    return x + (1 - sigmas[step + 1] / sigmas[step]) * (outputs[-1] - x)


def dpmpp_2m(sigmas, step, x, inputs, outputs):
    """DPM-Solver++(2M): extrapolates the denoised latent over log sigma."""
    keep, newest = sigmas[step + 1] / sigmas[step], outputs[-1]
    if step > 0 and sigmas[step + 1] > 0:
        share = math.log(keep) / math.log(sigmas[step] / sigmas[step - 1]) / 2
        newest = (1 + share) * outputs[-1] - share * outputs[-2]
    return keep * x + (1 - keep) * newest


def adams_4(sigmas, step, x, inputs, outputs):
    """Adams and Bashforth's method of four slopes."""
    slopes = [(a - b) / sigma for a, b, sigma in zip(inputs, outputs, sigmas, strict=False)]
    weights = ADAMS[min(step, 3)]
    return x + (sigmas[step + 1] - sigmas[step]) * sum(w * s for w, s in zip(weights, reversed(slopes), strict=False))


def lcm(sigmas, step, x, inputs, outputs):
    """The newest output, with noise that a rehearsal leaves out."""
    return outputs[-1]


SOLVERS = {"euler": euler, "lcm": lcm, "dpmpp_2m": dpmpp_2m, "adams_4": adams_4}


def walk(name, sigmas, x, denoised):
    """The input of each step and the result; `denoised(x, step)` answers for the model."""
    inputs, outputs = [x], []
    for step in range(len(sigmas) - 1):
        outputs.append(denoised(inputs[-1], step))
        inputs.append(SOLVERS[name](sigmas, step, inputs[-1], inputs, outputs))
    return inputs


def response_of(name, sigmas):
    """What a solver does with the first input and with each output, as unit columns."""
    columns = torch.eye(len(sigmas), dtype=torch.float64)
    inputs = walk(name, sigmas, columns[0], lambda x, step: columns[step + 1])
    return ImpulseResponse(tuple(sigmas[:-1]), False, np.stack([x.numpy() for x in inputs]))
