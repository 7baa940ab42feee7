"""What a user does with a tiny model in the host, and what a test sees of it."""

import dataclasses

import pytest
import tiny_models
import torch

STEPS = 6


def load(host, name):
    """A tiny model; one that this version of the host has not skips the test by name."""
    try:
        return Model(host, name)
    except tiny_models.Absent as absent:
        pytest.skip(str(absent))


class Model:
    """A tiny model and what a user does with it."""

    def __init__(self, host, name):
        self.host, self.name = host, name
        self.model, self.latent, self.positive, self.negative = tiny_models.build(name)
        self.network = self.model.model.diffusion_model

    def sample(self, schedule=None, steps=STEPS, sampler="euler"):
        """The latent, with the patcher node between model and sampler when there is a schedule."""
        model = self.model
        if schedule is not None:
            model = self.host.NODE_CLASS_MAPPINGS["FRDiffModelPatcher"].execute(model, 2.0, schedule).result[0]
        with torch.inference_mode():
            return self.host.common_ksampler(
                model, 1, steps, 3.0, sampler, "normal", self.positive, self.negative, {"samples": self.latent}
            )[0]["samples"]

    def frdiff(self, schedule=None, steps=STEPS, sampler="euler"):
        """The latent and the report of the sampler node."""
        with torch.inference_mode():
            latent, report = self.host.NODE_CLASS_MAPPINGS["FRDiffKSampler"].execute(
                self.model, 1, steps, 3.0, sampler, "normal", self.positive, self.negative,
                {"samples": self.latent}, 1.0, 2.0, schedule,
            ).result  # fmt: skip
        return latent["samples"], report


def flat(latent):
    """The elements of a latent or an output, of all its parts where it has several, as one tensor (M,)."""
    parts = latent if isinstance(latent, (list, tuple)) else latent.unbind() if latent.is_nested else [latent]
    return torch.cat([part.flatten() for part in parts])


def schedule(host, preset="custom", interval=2, mixing=False, budget=4096.0, branches=False):
    node = host.NODE_CLASS_MAPPINGS["FRDiffSchedule"]
    made = node.execute(preset, interval, mixing, 1, 0, budget).result[0]
    return dataclasses.replace(made, options=dataclasses.replace(made.options, branches=branches))


class Counting:
    """Counts, inside the block, how often modules really compute, or methods of modules (module, name)."""

    def __init__(self, modules):
        self.places = [module if isinstance(module, tuple) else (module, "forward") for module in modules]
        self.counts = [0] * len(self.places)

    def __enter__(self):
        for i, (module, method) in enumerate(self.places):
            setattr(module, method, self._counted(i, getattr(module, method)))
        return self

    def __exit__(self, *_):
        for module, method in self.places:
            delattr(module, method)

    def _counted(self, i, forward):
        def counted(*args, **kwargs):
            self.counts[i] += 1
            return forward(*args, **kwargs)

        return counted


def calls_of(tiny, module, steps):
    """The arguments of every call of a module in a plain run."""
    seen = []
    forward = module.forward

    def keep(*args, **kwargs):
        seen.append((cloned(args), cloned(kwargs)))
        return forward(*args, **kwargs)

    module.forward = keep
    try:
        tiny.sample(steps=steps)
    finally:
        del module.forward
    return seen


def cloned(value):
    """Arguments with tensors of their own."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, (list, tuple)):
        return type(value)(cloned(part) for part in value)
    return {key: cloned(part) for key, part in value.items()} if isinstance(value, dict) else value


def full_and_partial(engine, tiny, schedule):
    """What a network answers to the same call twice: computed in full, and then in part."""
    contract = engine("engine")
    session = engine("runtime.session").Session(schedule, contract.RunFacts([2.0, 1.0, 0.0]))
    args, kwargs = calls_of(tiny, tiny.network, steps=1)[0]
    outputs = []
    for sigma in (2.0, 1.0):
        session.begin_evaluation(sigma)
        with torch.inference_mode():
            call = contract.NetworkCall("key", tiny.network, lambda: tiny.network(*cloned(args), **cloned(kwargs)))
            outputs.append(session.call(call))
    assert [record.kind for record in session.close().records] == ["full", "partial"]
    return outputs
