"""Every sampler and every scheduler of the host, and what the engine promises for each."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from subjects import custom_schedule, demo_subject, relative, video_subject

STEPS = 20
# Of a full step; the engine's own expectation.
PARTIAL_COST = {"unet": 0.31, "dit": 0.10, "video": 0.10}
# They put the guidance's error into the latent at full noise level, and are made for a low cfg.
CFG_OF_CFG_PP = 1.0
# Model, scheduler and solver with which fewer steps serve as well, on the picture of this test.
NO_BETTER_THAN_FEWER_STEPS = {("unet", "exponential", "dpmpp_2m_sde"), ("unet", "beta", "dpmpp_2m_sde")}
OWN_LEVELS = {"dpm_fast", "dpm_adaptive"}
# CFG++ with more than the newest output: nothing can be forecast on flow models.
REMEMBERED_CFG_PP = {
    "dpmpp_2s_ancestral_cfg_pp", "dpmpp_2m_cfg_pp", "res_multistep_cfg_pp", "res_multistep_ancestral_cfg_pp",
    "gradient_estimation_cfg_pp",
}  # fmt: skip


def refused(model):
    """The samplers with which every step of a model is computed."""
    return OWN_LEVELS if model == "unet" else OWN_LEVELS | REMEMBERED_CFG_PP


QUICK = {"euler", "heun", "dpmpp_2m_sde", "dpm_adaptive", "karras"}
KINDS = {"sampler": "SAMPLERS", "scheduler": "SCHEDULERS"}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "samplers.md"


def names(kind):
    """The host's list, known only once ComfyUI can be imported."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    import comfy.samplers

    return list(getattr(comfy.samplers.KSampler, kind))


def pytest_generate_tests(metafunc):
    kinds = {name: kind for name, kind in KINDS.items() if name in metafunc.fixturenames}
    # All pairs of both are too many to be quick.
    quick = QUICK if len(kinds) == 1 else set()
    for name, kind in kinds.items():
        marks = [pytest.param(n, marks=pytest.mark.quick) if n in quick else n for n in names(kind)]
        metafunc.parametrize(name, marks)


@pytest.fixture(scope="module", params=["unet", "dit", "video"])
def subject(host, request):
    made = video_subject(host) if request.param == "video" else demo_subject(host, request.param)
    return request.param, made


@pytest.fixture(scope="module")
def table(request):
    """Results by sampler and model; written as docs/samplers.md with --write-tables."""
    rows = {}
    yield rows
    if request.config.getoption("--write-tables"):
        DOCS.write_text(document(rows), encoding="ascii")


def cost(report, model):
    return report.counts["full"] + PARTIAL_COST[model] * report.counts["partial"]


def adds_noise(subject, **settings):
    """Whether the sampler's own seed matters, from the same starting noise: no word of the engine is used."""
    import comfy.sample

    shape = list(subject.sample(steps=1).shape)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    with torch.inference_mode():
        first, second = (
            comfy.sample.sample(
                subject.model, noise, 6, settings["cfg"], settings["sampler"], "normal", subject.positive,
                subject.negative, torch.zeros(shape), seed=seed, disable_pbar=True,
            )
            for seed in (3, 4)
        )  # fmt: skip
    return not torch.equal(first, second)


def test_sampler(subject, sampler, host, table):
    model, subject = subject
    settings = {"steps": STEPS, "sampler": sampler, "cfg": CFG_OF_CFG_PP if "cfg_pp" in sampler else 3.0}
    with subject.counting() as evaluations:
        plain = subject.sample(**settings)
    full, _ = subject.frdiff(schedule=custom_schedule(host), **settings)
    assert torch.equal(full, plain)
    with subject.counting() as calls:
        latent, report = subject.frdiff(**settings)
    assert torch.isfinite(latent).all()
    assert len(calls) == sum(record.calls for record in report.records)
    assert bool(report.stochastic) == adds_noise(subject, **settings)
    error, fewer = relative(latent, plain), None
    if report.counts["full"] == len(report.records):
        assert report.reasons and error == 0
        assert sampler in refused(model)
    else:
        assert sampler not in refused(model)
        budget = cost(report, model) / len(evaluations) * STEPS
        fewer = relative(subject.sample(**{**settings, "steps": math.ceil(budget)}), plain)
        # Random weights show what is exact, not what is good.
        if model != "video":
            assert error < fewer
    table.setdefault(sampler, {})[model] = Result(
        bool(report.stochastic), len(evaluations) / STEPS, cost(report, model) / len(evaluations), error, fewer
    )


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m_sde"])
@pytest.mark.parametrize("name", ["unet", "dit"])
def test_scheduler(host, name, solver, scheduler):
    subject = demo_subject(host, name)
    settings = {"steps": STEPS, "sampler": solver, "scheduler": scheduler}
    plain = subject.sample(**settings)
    assert torch.equal(subject.frdiff(schedule=custom_schedule(host), **settings)[0], plain)
    latent, report = subject.frdiff(**settings)
    assert torch.isfinite(latent).all()
    assert report.stochastic == (solver == "dpmpp_2m_sde")
    fewer = math.ceil(cost(report, name) / len(report.records) * STEPS)
    error = relative(subject.sample(**{**settings, "steps": fewer}), plain)
    assert relative(latent, plain) < error * (3 if (name, scheduler, solver) in NO_BETTER_THAN_FEWER_STEPS else 1)


def test_every_pair_of_sampler_and_scheduler(subject, host, sampler, scheduler):
    """Few steps, for what is exact: the full run, the counted calls, finite numbers."""
    _, subject = subject
    settings = {"steps": 8, "sampler": sampler, "scheduler": scheduler}
    plain = subject.sample(**settings)
    assert torch.equal(subject.frdiff(schedule=custom_schedule(host), **settings)[0], plain)
    with subject.counting() as calls:
        latent, report = subject.frdiff(**settings)
    assert torch.isfinite(latent).all() == torch.isfinite(plain).all()
    assert len(calls) == sum(record.calls for record in report.records)
    assert report.counts["full"] < len(report.records) or report.reasons


@dataclasses.dataclass(frozen=True)
class Result:
    """What one sampler did on one model: cost and errors are relative to the run with every step computed."""

    noise: bool
    calls_per_step: float
    cost: float
    error: float
    fewer: float | None

    def cells(self):
        if self.fewer is None:
            return ["1.00", "0", "-"]
        return [f"{self.cost:.2f}", f"{self.error:.3f}", f"{self.fewer:.3f}"]


CONTRACT = {
    "levels": "computes everything and says so: its noise levels are its own",
    "noise": "skips steps and forecasts their denoised latents",
    "plain": "skips steps and forecasts them",
    "cfg_pp": "skips steps and forecasts them; for a cfg up to 2 (measured at 1)",
}
ON_FLOW_MODELS = "; computes everything on flow models, and says so"


def contract(sampler, noise):
    if sampler in OWN_LEVELS:
        return CONTRACT["levels"]
    kind = "noise" if noise else "cfg_pp" if "cfg_pp" in sampler else "plain"
    return CONTRACT[kind] + (ON_FLOW_MODELS if sampler in REMEMBERED_CFG_PP else "")


def document(rows):
    """The table of samplers and contracts."""
    models = ("unet", "dit")
    head = ["sampler", "adds noise", "calls per step", "at 2.0 the engine"]
    head += [f"{model} {what}" for model in models for what in ("cost", "error", "fewer steps")]
    lines = [INTRODUCTION, "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for sampler, results in rows.items():
        first = results[models[0]]
        cells = [sampler, "yes" if first.noise else "no", f"{first.calls_per_step:.1f}", contract(sampler, first.noise)]
        cells += [cell for model in models for cell in results[model].cells()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


INTRODUCTION = f"""# Samplers

What the engine does with each sampler of the host at a speed-up of 2.0, and what that was measured to be worth.
Written by `python scripts/test.py tests/host/test_samplers.py --write-tables` from the tests' own results:
{STEPS} steps, scheduler `normal`, cfg 3 (1 for CFG++ samplers), one picture of each demo model.

"Cost" is network time counted in full steps, relative to the run with every step computed. "Error" is the latent's
distance from that run, relative to it; "fewer steps" is the error of the plain sampler with as many steps as the
same cost allows, rounded up. With every step computed the latent is bit-identical for all of them.
"""
