"""Latents of several parts, as those of picture and sound: sampled as one, or refused in a sentence."""

import itertools
import json
import statistics

import pytest
import torch
from subjects import node, relative, watching
from tiny_host import Counting, full_and_partial, load, schedule

STEPS = 16


class PictureAndSound(torch.nn.Module):
    """A network of the host's for the picture, and a few layers of torch's for the sound."""

    def __init__(self, picture):
        super().__init__()
        self.picture, self.dtype = picture, picture.dtype

    def forward(self, x, timestep, context, **kwargs):
        picture, sound = x
        heard = torch.tanh(sound.flip(2) * 0.5 + context.mean() + picture.mean() + timestep.mean() / 1000)
        return [self.picture(picture, timestep, context, **kwargs), sound * 0.3 + heard]


def with_sound(tiny):
    """A tiny model of pictures that is given sound as well, by the same ways as the host's own."""
    import comfy.conds
    from comfy.nested_tensor import NestedTensor

    model = tiny.model.model
    of_picture = model.extra_conds

    def extra_conds(**kwargs):
        return {**of_picture(**kwargs), "latent_shapes": comfy.conds.CONDConstant(kwargs["latent_shapes"])}

    model.extra_conds = extra_conds
    tiny.network = model.diffusion_model = PictureAndSound(model.diffusion_model)
    tiny.latent = NestedTensor([tiny.latent, torch.zeros(1, 8, 5, 16)])
    return tiny


@pytest.fixture(scope="module", params=["ltxv and sound", "ltxav"])
def tiny(host, request):
    return load(host, "ltxav") if request.param == "ltxav" else with_sound(load(host, "ltxv"))


def parts(latent):
    picture, sound = latent.unbind()
    assert torch.isfinite(picture).all() and torch.isfinite(sound).all() and sound.std() > 0
    return picture, sound


def equal(latent, other):
    return all(map(torch.equal, parts(latent), parts(other)))


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m_sde"])
def test_all_full_is_the_plain_run(tiny, host, sampler):
    plain = tiny.sample(steps=6, sampler=sampler)
    for every in (schedule(host, interval=1), watching(host)):
        latent, report = tiny.frdiff(every, steps=6, sampler=sampler)
        assert equal(latent, plain) and report.counts["full"] == 6


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m_sde"])
def test_the_report_tells_the_error_of_each_part(tiny, host, sampler):
    """In text and as data; a sound that is harder to forecast has the larger one, and one error is no sound's."""
    _, report = tiny.frdiff(steps=STEPS, sampler=sampler)
    told, records = json.loads(report.json())["forecast_errors"], json.loads(report.json())["records"]
    assert list(told) == ["picture", "sound"] and told["picture"] != told["sound"]
    tested = [record for record in records if record["forecast_error"] is not None]
    assert len(tested) > 2 and all(record["forecast_error"] == max(record["forecast_errors"].values())
                                   for record in tested)  # fmt: skip
    for name in told:
        assert told[name] == statistics.median(record["forecast_errors"][name] for record in tested)
    line = next(line for line in report.text().splitlines() if line.startswith("forecasts"))
    assert f"picture {told['picture'] * 100:.1f} %, sound {told['sound'] * 100:.1f} % off" in line


def test_only_what_is_wrong_of_the_sound_is_told_of_it(host):
    """A sound that jumps from step to step cannot be forecast; the picture's error stays what it was."""
    def errors(jumps):
        tiny = with_sound(load(host, "ltxv"))
        made, calls = tiny.network.forward, itertools.count()

        def forward(*args, **kwargs):
            picture, sound = made(*args, **kwargs)
            return [picture, sound + jumps * (-1) ** (next(calls) // 2)]

        tiny.network.forward = forward
        report = tiny.frdiff(steps=STEPS, sampler="euler")[1]
        return report.data()["forecast_errors"]

    steady, jumping = errors(0.0), errors(3.0)
    assert jumping["sound"] > 5 * steady["sound"] and jumping["picture"] < 2 * steady["picture"] + 0.05


def test_one_part_has_one_error(host):
    report = load(host, "ltxv").frdiff(steps=STEPS)[1]
    assert report.data()["forecast_errors"] == {} and "forecasts " not in report.text()
    assert not any(record.forecast_errors for record in report.records)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral", "dpmpp_2m_sde"])
def test_both_parts_are_forecast(tiny, sampler):
    plain = tiny.sample(steps=STEPS, sampler=sampler)
    with Counting([tiny.network]) as counting:
        latent, report = tiny.frdiff(steps=STEPS, sampler=sampler)
    assert counting.counts == [sum(record.calls for record in report.records)]
    assert report.counts["skip"] >= STEPS // 2 - 1 and "no latent like its input" not in report.text()
    fewer = tiny.sample(steps=STEPS // 2, sampler=sampler)
    for part, truth, other in zip(parts(latent), parts(plain), parts(fewer), strict=True):
        assert relative(part, truth) < relative(other, truth)


def test_the_papers_schedule_runs(tiny, host):
    latent, report = tiny.frdiff(schedule(host, "paper M=2"), steps=6)
    assert report.counts == {"full": 3, "partial": 2, "skip": 1} and parts(latent)


@pytest.mark.parametrize("finer", [False, True], ids=["blocks", "finer"])
def test_partial_steps_compute_no_stage(tiny, host, engine, finer):
    stages = engine("blocks.stages").find_stages(tiny.network, branches=finer)
    with Counting(stage.module for stage in stages) as counting:
        _, report = tiny.frdiff(schedule(host, branches=finer), steps=4)
    assert report.stages == len(stages) >= 3 and report.counts["partial"] == 2
    assert set(counting.counts) == {2}


@pytest.mark.parametrize("finer", [False, True], ids=["blocks", "finer"])
def test_a_repeated_call_gives_the_same_from_memory(tiny, host, engine, finer):
    for first, second in zip(*full_and_partial(engine, tiny, schedule(host, branches=finer)), strict=True):
        torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-4 * float(first.std()))


def test_memory_is_reserved_for_the_pixels_of_each_part(tiny, host):
    """As one row of numbers each of these would count as a pixel."""
    _, report = tiny.frdiff(schedule(host, interval=2), steps=4)
    factor = tiny.model.model.memory_usage_factor
    pixels, numbers = (2 * 4 * 4 + 5 * 16, sum(part.numel() for part in tiny.latent.unbind()))
    assert report.bytes_reserved == 2 * 4 * numbers + int(2 * pixels * 4 * 0.01 * 1024**2 * factor)


def test_a_mask_on_one_part(host):
    tiny = load(host, "ltxav")
    generator = torch.Generator().manual_seed(2)
    given = [torch.randn(part.shape, generator=generator) for part in tiny.latent.unbind()]
    mask = torch.ones(1, 1, 2, 4, 4)
    mask[..., :2] = 0

    def run(speedup):
        latent = {"samples": type(tiny.latent)(given), "noise_mask": mask}
        sampled, report = host.NODE_CLASS_MAPPINGS["FRDiffKSampler"].execute(
            tiny.model, 1, STEPS, 3.0, "euler", "normal", tiny.positive, tiny.negative, latent, 1.0, speedup
        ).result
        return parts(sampled["samples"]), report

    with torch.inference_mode():
        (picture, sound), _ = run(1.0)
        (faster, faster_sound), report = run(2.0)
    assert report.counts["skip"] >= STEPS // 2 - 1
    assert torch.allclose(faster[..., :2], given[0][..., :2], atol=1e-5) and not torch.equal(faster, given[0])
    assert relative(faster, picture) < 0.5 and relative(faster_sound, sound) < 0.5


def test_nodes_that_take_one_tensor_say_so(tiny, host):
    latent = {"samples": tiny.latent}
    sampler = ("euler", "normal")
    with pytest.raises(ValueError, match="Sweep takes no latent of several parts"):
        node(host, "FRDiffSweep", tiny.model, 1, 4, 3.0, *sampler, tiny.positive, tiny.negative, latent, 1.0, None,
             "2", "", 1)  # fmt: skip
    with pytest.raises(ValueError, match="Auto-FR takes no latent of several parts.*dial of FRDiff KSampler"):
        node(host, "FRDiffAutoFR", tiny.model, tiny.positive, tiny.negative, latent, 1, 8, 3.0, *sampler, "quick",
             "two parts", 2.0)  # fmt: skip


def test_each_part_is_compared_by_itself(tiny, host):
    picture, sound = (torch.randn(part.shape) for part in tiny.latent.unbind())
    nested = type(tiny.latent)
    a, b = ({"samples": nested(parts)} for parts in ([picture, sound], [picture * 1.01, sound * 1.2]))
    result = host.NODE_CLASS_MAPPINGS["FRDiffCompare"].execute(latent_a=a, latent_b=b).result
    assert "latent errors 1.00 %, 20.00 % of the parts" in result[4] and result[2] == pytest.approx(0.2, rel=1e-3)
    with pytest.raises(ValueError, match="latent_a has 2 parts and latent_b has 1"):
        node(host, "FRDiffCompare", latent_a=a, latent_b={"samples": picture})
