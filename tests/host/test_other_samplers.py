"""Samplers of other packs are rehearsed without a trace, and what is between sampler and model is seen."""

import importlib
import logging
import math
import random
import sys
import time

import numpy as np
import other_packs
import pytest
import torch
from other_packs import (
    asking_again,
    blending,
    corrected,
    exponential,
    implicit,
    noisy,
    shifted,
    shifted_beside,
    unrehearsed,
)
from subjects import demo_subject, extra_node, relative

SIGMAS = torch.tensor([14.0, 9.0, 6.0, 4.0, 2.5, 1.5, 0.8, 0.3, 0.0])


@pytest.fixture(scope="module", params=["unet", "dit"])
def subject(host, request):
    return demo_subject(host, request.param)


@pytest.fixture(scope="module")
def rehearsed(host, pack):
    """What a sampler function does on SIGMAS."""
    import comfy.samplers

    rehearse = importlib.import_module(f"{pack.__name__}.nodes.host.rehearse").rehearse
    model = demo_subject(host, "unet").model
    return lambda function, **options: rehearse(comfy.samplers.KSAMPLER(function, options), SIGMAS, model)


def run(subject, model, sampler, steps):
    sigmas = extra_node("custom_sampler", "BasicScheduler", subject.model, "normal", steps, 1.0)
    guider = extra_node("custom_sampler", "CFGGuider", model, subject.positive, subject.negative, 3.0)
    noise = extra_node("custom_sampler", "RandomNoise", 1)
    with torch.inference_mode():
        return extra_node(
            "custom_sampler", "SamplerCustomAdvanced", noise, guider, sampler, sigmas, subject.latent
        )["samples"]


def errors(subject, attaching, make, steps):
    """The latent's error at 2.0x, that of as many plain steps at equal counted cost, and the report."""
    reports = []
    with subject.counting() as every:
        plain = run(subject, subject.model, make(), steps)
    model = attaching.attach(subject.model, attaching.chosen(2.0, None), reports.append)
    with subject.counting() as calls:
        latent = run(subject, model, make(), steps)
    assert torch.isfinite(latent).all() and len(calls) == sum(record.calls for record in reports[0].records)
    fewer = math.ceil(steps * len(calls) / len(every))
    error = relative(latent, plain)
    return error, relative(run(subject, subject.model, make(), fewer), plain), reports[0]


def codes(report):
    return {reason.code for reason in report.reasons} - {"unsteady-times", "reuse-not-cheaper"}


def ksampler(function):
    import comfy.samplers

    return comfy.samplers.KSAMPLER(function)


SAMPLERS = {
    "exponential, two stages": lambda: exponential(2),
    "exponential, three stages": lambda: exponential(3),
    "implicit, one iteration": lambda: implicit(1),
    "implicit, three iterations": lambda: implicit(3),
    "up and down": lambda: corrected,
    "two stages with noise": lambda: noisy(exponential(2)),
}


@pytest.mark.parametrize("steps", [12, 20])
@pytest.mark.parametrize("name", SAMPLERS)
def test_several_evaluations_are_planned_by_what_is_rehearsed(subject, attaching, name, steps):
    error, fewer, report = errors(subject, attaching, lambda: ksampler(SAMPLERS[name]()), steps)
    assert error < fewer and codes(report) <= {"speed-not-reached"}
    assert report.stochastic == ("noise" in name)
    assert report.counts["full"] <= 0.55 * len(report.records)


@pytest.mark.parametrize("name", SAMPLERS)
def test_several_evaluations_that_are_only_watched(subject, attaching, name):
    error, fewer, report = errors(subject, attaching, lambda: ksampler(unrehearsed(SAMPLERS[name]())), 12)
    assert error < fewer or report.counts["skip"] == 0 and codes(report)
    assert report.stochastic == ("noise" in name)
    last = max(record.step for record in report.records)
    assert all(record.kind == "full" for record in report.records if record.step == last)


# Further up than a little is above all noise levels of a flow model, where it answers at random.
SHIFTS = {"down": -0.3, "up": 0.1}


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m", "heun"])
@pytest.mark.parametrize("name", SHIFTS)
def test_shifted_noise_levels_are_followed_by_order(subject, attaching, name, solver):
    import comfy.k_diffusion.sampling as solvers

    sampler = shifted(getattr(solvers, f"sample_{solver}"), SHIFTS[name])
    error, fewer, report = errors(subject, attaching, lambda: ksampler(sampler), 20)
    assert error < fewer and codes(report) <= {"speed-not-reached"}
    # Where shifted levels rise for a while, these are computed.
    assert report.counts["skip"] >= 0.4 * len(report.records)


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m"])
def test_levels_that_are_shifted_beside_the_sampler(subject, attaching, solver):
    import comfy.samplers

    sampler = comfy.samplers.sampler_object(solver)
    error, fewer, report = errors(subject, attaching, lambda: shifted_beside(sampler, -0.1), 20)
    assert error < fewer and report.counts["skip"] >= 0.4 * len(report.records) and not codes(report)


def test_shifted_levels_of_an_unknown_sampler_are_refused(subject, attaching):
    import comfy.k_diffusion.sampling as solvers

    sampler = unrehearsed(shifted(solvers.sample_euler, -0.3))
    error, fewer, report = errors(subject, attaching, lambda: ksampler(sampler), 20)
    assert error < fewer or report.counts["skip"] == 0
    assert "own-noise-levels" in codes(report)


@pytest.mark.parametrize("name", ["dpm_fast", "dpm_adaptive"])
def test_what_chooses_its_own_levels_is_refused(subject, attaching, name):
    import comfy.samplers

    reports = []
    model = attaching.attach(subject.model, attaching.chosen(2.0, None), reports.append)
    run(subject, model, comfy.samplers.sampler_object(name), 12)
    assert codes(reports[0]) == {"own-noise-levels"} and reports[0].counts["skip"] == 0


@pytest.mark.parametrize("solver", ["euler", "euler_ancestral", "dpmpp_2m"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_loop_between_sampler_and_model_is_no_surprise(subject, attaching, solver, times):
    import comfy.samplers

    error, fewer, report = errors(
        subject, attaching, lambda: asking_again(comfy.samplers.sampler_object(solver), times), 12
    )
    assert codes(report) & {"not-as-rehearsed", "several-unknown"}
    assert error < fewer or report.counts["skip"] == 0


CHANGES = {
    "scaled": lambda x: x * 0.8, "rolled": lambda x: x.roll(3, -1), "blended": lambda x: 0.7 * x + 0.3 * x.flip(-1),
    "noise": lambda x: x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(4)),
}  # fmt: skip


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_latent_that_something_else_changes(subject, attaching, name, solver):
    import comfy.samplers

    def made():
        return blending(comfy.samplers.sampler_object(solver), range(4, 9), CHANGES[name])

    error, fewer, report = errors(subject, attaching, made, 12)
    assert "latent-changed" in codes(report)
    assert [record.kind for record in report.records[-6:]] == ["full"] * 6


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m", "res_multistep", "ipndm", "deis", "uni_pc", "lms"])
@pytest.mark.parametrize("scheduler", ["normal", "karras", "beta"])
def test_a_run_as_rehearsed_is_not_contradicted(subject, solver, scheduler):
    _, report = subject.frdiff(steps=14, sampler=solver, scheduler=scheduler)
    assert "not-as-rehearsed" not in codes(report) and report.counts["skip"]


COUNT = 0
HELD = {"runs": 0, "inner": [0]}


class Remembering:
    runs = 0

    def __init__(self):
        self.calls = 0


KEPT = Remembering()


def leaving_traces(model, x, sigmas, extra_args=None, callback=None, disable=None, *, options=None, known=[]):  # noqa: B006
    global COUNT
    COUNT += 1
    HELD["runs"] += 1
    HELD["inner"][0] += 1
    HELD["new"] = True
    Remembering.runs += 1
    KEPT.calls += 1
    known.append(len(sigmas))
    leaving_traces.seen = True
    options["runs"] = options.get("runs", 0) + 1
    options["table"].add_(1)
    print("a word", file=sys.stdout)
    print("a word", file=sys.stderr)
    logging.getLogger("other.pack").warning("a word")
    random.random()
    np.random.rand()
    torch.rand(1)
    torch.set_default_dtype(torch.float64)
    importlib.import_module("comfy.utils").ProgressBar(3).update(1)
    x = x.float()
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * x.new_ones([len(x)]), **extra_args)
        x = denoised + (x - denoised) * sigmas[i + 1] / sigmas[i]
    return x


def traces(options):
    return (
        COUNT, str(HELD), Remembering.runs, KEPT.calls, leaving_traces.__kwdefaults__["known"][:],
        hasattr(leaving_traces, "seen"), str(options), random.getstate(), np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(), torch.get_default_dtype(),
    )  # fmt: skip


def test_a_rehearsal_leaves_no_trace(rehearsed, capfd, caplog, monkeypatch):
    import comfy.utils

    shown = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda *args, **named: shown.append(args))
    options = {"table": torch.zeros(4)}
    before = traces(options)
    response = rehearsed(leaving_traces, options=options)
    assert response.inputs is not None and len(response.sigmas) == 8
    assert traces(options) == before and not shown
    assert capfd.readouterr() == ("", "") and not caplog.records


@pytest.mark.parametrize("error", [ValueError, RuntimeError, OSError, StopIteration, MemoryError, NotImplementedError])
def test_what_a_rehearsal_raises_is_not_the_runs(rehearsed, error):
    def failing(model, x, sigmas, extra_args=None, callback=None, disable=None):
        raise error("not with so small a latent")

    state = torch.get_rng_state()
    assert rehearsed(failing) is None and torch.equal(torch.get_rng_state(), state)


def test_the_users_interrupt_goes_through(rehearsed):
    from comfy.model_management import InterruptProcessingException

    for error in (InterruptProcessingException, KeyboardInterrupt):

        def stopped(model, x, sigmas, extra_args=None, callback=None, disable=None, error=error):
            raise error

        streams = sys.stdout, sys.stderr, sys.getprofile()
        with pytest.raises(error):
            rehearsed(stopped)
        assert (sys.stdout, sys.stderr, sys.getprofile()) == streams


@pytest.mark.parametrize("catches", [False, True])
def test_a_rehearsal_that_does_not_end_is_given_up(rehearsed, catches):
    def endless(model, x, sigmas, extra_args=None, callback=None, disable=None):
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                assert catches

    started = time.perf_counter()
    assert rehearsed(endless) is None and time.perf_counter() - started < 60
    assert sys.getprofile() is None


def test_a_sampler_that_measures_its_latent_is_not_mistaken(rehearsed):
    """Noise as large as the latent is: none where all is zero."""

    def measuring(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for i in range(len(sigmas) - 1):
            denoised = model(x, sigmas[i] * x.new_ones([len(x)]), **extra_args)
            x = denoised + (x - denoised) * sigmas[i + 1] / sigmas[i] * x.std(dim=(1, 2, 3), keepdim=True)
        return x

    assert rehearsed(measuring) is None


def test_samplers_inside_of_samplers_are_kept_apart_too(rehearsed, host):
    """As where a pack's wrapper has another pack's sampler among its options."""
    import comfy.samplers

    def wrapping(model, x, sigmas, extra_args=None, callback=None, disable=None, *, inner=None):
        return inner.sampler_function(model, x, sigmas, extra_args=extra_args, **inner.extra_options)

    wrapping.__module__ = other_packs.__name__
    options = {"table": torch.zeros(2)}
    before = traces(options)
    assert rehearsed(wrapping, inner=comfy.samplers.KSAMPLER(leaving_traces, {"options": options})) is not None
    assert traces(options) == before


def pulled(model, x, sigmas, extra_args=None, callback=None, disable=None, *, image=None, etas=None, pull=0.02):
    """Two evaluations in the first step, and a little of a picture in each: knows the latent's size by its options."""
    image.mul_(1.0)
    for i in range(len(sigmas) - 1):
        for _ in range(2 if i == 0 else 1):
            denoised = model(x, sigmas[i] * x.new_ones([len(x)]), **extra_args)
        x = denoised + (x - denoised) * sigmas[i + 1] / sigmas[i] * (1 + etas[i])
        x = x + pull * (image.expand_as(x) - x)
        etas[i] = 0.0
    return x


def test_options_about_the_latent_itself_are_no_obstacle(rehearsed):
    """A latent has another size in a rehearsal, and lists for every step can be long."""
    image, etas = torch.full((1, 4, 8, 8), 3.0), torch.full((20_000,), 1e-3)
    response = rehearsed(pulled, image=image, etas=etas)
    assert response is not None and not response.stochastic and response.inputs is not None
    assert len(response.sigmas) == len(SIGMAS)
    assert (image == 3.0).all() and (etas == 1e-3).all()
    # A latent of another size than the run's is one of which nothing is known.
    assert rehearsed(pulled, image=torch.ones(1, 4, 16, 16), etas=etas) is None


def test_a_sampler_with_a_latent_among_its_options_is_planned(subject, attaching):
    import comfy.samplers

    shape = run(subject, subject.model, comfy.samplers.ksampler("euler"), 1).shape

    def make():
        options = {"image": torch.zeros(shape), "etas": torch.zeros(20_000)}
        return comfy.samplers.KSAMPLER(pulled, options)

    error, fewer, report = errors(subject, attaching, make, 16)
    assert error < fewer and codes(report) <= {"speed-not-reached"}
    assert report.counts["full"] <= 9


def scaled(model, x, sigmas, extra_args=None, callback=None, disable=None, *, keep=1.0):
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * x.new_ones([len(x)]), **extra_args)
        x = denoised + keep * (x - denoised) * sigmas[i + 1] / sigmas[i]
    return x


@pytest.fixture
def asked(pack, monkeypatch):
    """A list with an entry for each rehearsal that is made and not known yet."""
    module = importlib.import_module(f"{pack.__name__}.nodes.host.rehearse")
    calls, made = [], module._response
    monkeypatch.setattr(module, "_response", lambda *given: (calls.append(1), made(*given))[1])
    return calls


def test_what_is_known_is_not_rehearsed_again(host, rehearsed, asked, pack):
    """Some packs' samplers take seconds; other settings, and functions that are made anew, are asked each time."""
    import comfy.samplers

    first = rehearsed(scaled, keep=0.9)
    assert rehearsed(scaled, keep=0.9) is first and len(asked) == 1
    assert not np.array_equal(rehearsed(scaled, keep=0.8).inputs, first.inputs) and len(asked) == 2
    rehearse = importlib.import_module(f"{pack.__name__}.nodes.host.rehearse").rehearse
    sampler = comfy.samplers.KSAMPLER(scaled, {"keep": 0.9})
    assert rehearse(sampler, SIGMAS, demo_subject(host, "dit").model) is not first and len(asked) == 3

    def made_anew(*args, **named):
        return scaled(*args, **named)

    assert rehearsed(made_anew) is not None and rehearsed(made_anew) is not None and len(asked) == 5


def test_what_was_stopped_is_rehearsed_again(rehearsed, asked, monkeypatch):
    from comfy.model_management import InterruptProcessingException

    def stopped(*_):
        raise InterruptProcessingException

    with monkeypatch.context() as patching:
        patching.setattr(torch.Tensor, "new_ones", stopped)
        with pytest.raises(InterruptProcessingException):
            rehearsed(scaled, keep=0.7)
    assert rehearsed(scaled, keep=0.7) is not None and len(asked) == 2
