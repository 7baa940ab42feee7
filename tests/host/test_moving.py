"""What the network is shown moves: followed where the place recurs, computed with a reason where it does not."""

import importlib
import uuid

import pytest
import torch
from subjects import custom_schedule, demo_subject, extra_node, relative, video_subject

STEPS = 12


class Steps:
    """Counts a run's steps by their noise levels."""

    def __init__(self):
        self.sigma, self.step = None, -1

    def __call__(self, call):
        sigma = float(call["timestep"].max())
        self.step, self.sigma = self.step + (sigma != self.sigma), sigma
        return self.step


def showing(subject, move):
    """A fresh wrapper that calls the network through `move`, which knows the step."""
    steps, model = Steps(), subject.model.clone()

    def wrapper(apply, call):
        c = {k: v for k, v in call["c"].items() if k != "control"}
        return move(lambda x: apply(x, call["timestep"], **c), call["input"], steps(call))

    model.set_model_unet_function_wrapper(wrapper)
    return subject.having(model=model)


def rolled(network, x, step):
    return network(x.roll(3 * step, -1)).roll(-3 * step, -1)


def flipped(network, x, step):
    return network(x.flip(-1)).flip(-1) if step % 2 else network(x)


def halves(network, x, step):
    order = -1 if step % 2 else 1
    return torch.cat([network(part) for part in x.chunk(2, -1)[::order]][::order], dim=-1)


def still_halves(network, x, step):
    return torch.cat([network(part) for part in x.chunk(2, -1)], dim=-1)


def random_tiles(network, x, step):
    by = torch.randint(0, 16, (2,), generator=torch.Generator().manual_seed(step)).tolist()
    tiles = x.roll(by, (-2, -1)).chunk(2, -1)
    return torch.cat([network(tile) for tile in tiles], dim=-1).roll([-n for n in by], (-2, -1))


def windows(network, x, step):
    """Looped windows of half the frames, which start one later in each step."""
    frames = x.shape[2]
    total, count = torch.zeros_like(x), torch.zeros(frames)
    for start in range(0, frames, 2):
        shown = [(start + step + i) % frames for i in range(frames // 2)]
        total[:, :, shown] += network(x[:, :, shown])
        count[shown] += 1
    return total / count.view(-1, 1, 1)


def scaled(network, x, step):
    return network(0.97 * x)


@pytest.fixture(scope="module")
def subject(host):
    return demo_subject(host, "unet")


def compared(subject, move, sampler="euler"):
    """The errors of the run and of as many plain steps, and the report."""
    plain = showing(subject, move).sample(steps=STEPS, sampler=sampler)
    latent, report = showing(subject, move).frdiff(steps=STEPS, sampler=sampler)
    fewer = min(report.counts["full"], STEPS - 1)
    other = showing(subject, move).sample(steps=fewer, sampler=sampler)
    return relative(latent, plain), relative(other, plain), report


def codes(report):
    """The reasons that do not depend on what else the machine does."""
    return {reason.code for reason in report.reasons} - {"unsteady-times", "reuse-not-cheaper"}


@pytest.mark.parametrize("move", [rolled, random_tiles])
def test_what_never_comes_back_is_computed_and_said(subject, move):
    error, _, report = compared(subject, move)
    assert error == 0 and report.counts["skip"] == 0 and "moved" in codes(report)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m"])
def test_what_comes_back_is_followed_as_far_as_it_is_new_enough(subject, sampler):
    error, fewer, report = compared(subject, flipped, sampler)
    assert error <= fewer and "moved" in codes(report)


def test_moving_windows_are_followed_where_they_come_back(host):
    error, fewer, report = compared(video_subject(host, frames=8), windows)
    assert error < fewer and report.counts["skip"] >= 2 and "moved" in codes(report)


@pytest.mark.parametrize("move", [still_halves, halves, scaled])
def test_parts_that_stay_keep_their_gain_in_any_order(subject, move):
    error, fewer, report = compared(subject, move)
    assert error < fewer and report.counts["skip"] == STEPS // 2 and not codes(report)


def test_halves_in_another_order_are_those_in_one_order(subject):
    runs = [showing(subject, move).frdiff(steps=STEPS)[0] for move in (halves, still_halves)]
    assert torch.equal(*runs)


def guided(subject, model):
    """A guider of another pack's, whose conditions get new ids at each step."""
    import comfy.samplers

    class Anew(comfy.samplers.CFGGuider):
        def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006
            for conditions in self.conds.values():
                for each in conditions:
                    each["uuid"] = uuid.uuid4()
            return super().predict_noise(x, timestep, model_options, seed)

    guider = Anew(model)
    guider.set_conds(subject.positive, subject.negative)
    guider.set_cfg(3.0)
    return guider


@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
def test_conditions_with_new_ids_at_each_step_are_recognised(subject, pack, monkeypatch, apart):
    import comfy.model_base

    if apart:
        # Two calls for each step, as when the memory is short.
        monkeypatch.setattr(comfy.model_base.BaseModel, "memory_required", lambda *_, **__: 1e15)
    attaching, reports = importlib.import_module(f"{pack.__name__}.nodes.host.attach"), []
    model = attaching.attach(subject.model, attaching.chosen(2.0, None), reports.append)
    sigmas = extra_node("custom_sampler", "BasicScheduler", subject.model, "normal", STEPS, 1.0)
    with torch.inference_mode():
        latent = extra_node(
            "custom_sampler", "SamplerCustomAdvanced", extra_node("custom_sampler", "RandomNoise", 1),
            guided(subject, model), extra_node("custom_sampler", "KSamplerSelect", "euler"), sigmas, subject.latent,
        )["samples"]  # fmt: skip
    expected, report = subject.frdiff(steps=STEPS)
    assert torch.equal(latent, expected) and reports[0].counts == report.counts and not codes(reports[0])


@pytest.mark.parametrize("reuses", [False, True])
def test_what_is_computed_in_full_is_not_looked_at(host, pack, monkeypatch, reuses):
    """Looking waits for the device, and a run that reuses nothing has no use for it."""
    places = importlib.import_module(f"{pack.__name__}.frdiff.runtime.places")
    seen, read = [], places.read
    monkeypatch.setattr(places, "read", lambda parts: seen.append(parts) or read(parts))
    schedule = None if reuses else custom_schedule(host)
    _, report = demo_subject(host, "unet").frdiff(schedule=schedule, steps=STEPS)
    assert len(report.records) == STEPS and bool(seen) is reuses
