"""The trained video model: what people do with such models, each faster and nearer than as many plain steps."""

import inspect
import json
import math
import types
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from subjects import Subject, extra_node, node_class, relative

from setup.in_process import DemoModel, of_text_alone

STEPS, CFG, SHIFT, FRAMES = 20, 5.0, 8.0, 17


@dataclass(frozen=True)
class Video:
    """The model behind the host's shift, and how its clips are made and looked at."""

    demo: DemoModel
    subject: Subject

    def settings(self, steps=STEPS, sampler="euler", seed=1):
        return {"steps": steps, "cfg": CFG, "sampler": sampler, "scheduler": "simple", "seed": seed}

    def frames(self, latent):
        """The frames (F, H, W, 3) of a latent."""
        with torch.inference_mode():
            return self.demo.vae.decode(latent)[0]

    def with_model(self, model):
        return replace(self, subject=self.subject.having(model=model))

    def with_prompt(self, text):
        return replace(self, subject=self.subject.having(positive=self.demo.encode(text)))

    def three(self, sampler="euler"):
        """The plain latent, FRDiff's at 2x, and that of as many plain steps as were computed."""
        return self.four(sampler, STEPS // 2 + 1)[:3]

    def four(self, sampler, most):
        """The same and the report, with at most `most` computed steps."""
        plain = self.subject.sample(**self.settings(sampler=sampler))
        ours, report = self.subject.frdiff(2.0, **self.settings(sampler=sampler))
        assert report.counts["full"] <= most and report.finished
        # Of the windows of a step some may be computed.
        share = sum(each.calls for each in report.records) / sum(each.asked for each in report.records)
        fewer = self.subject.sample(**self.settings(min(math.ceil(STEPS * share), STEPS - 1), sampler))
        return plain, ours, fewer, report


@pytest.fixture(scope="module")
def video(host):
    demo = DemoModel(host, "video")
    model = shifted(demo.model)
    subject = Subject(host, model, demo.encode("rocket slide"), demo.encode(""), empty(5))
    return Video(demo, subject)


def shifted(model):
    return extra_node("model_advanced", "ModelSamplingSD3", model, SHIFT)


def empty(length):
    return {"samples": torch.zeros(1, 16, length, 10, 10)}


def from_pictures(video, name, **pictures):
    """What the host's node makes of pictures: other conditions, and a latent."""
    subject = video.subject
    made = node_class("wan", name).execute(
        subject.positive, subject.negative, video.demo.vae, 80, 80, FRAMES, 1, **pictures
    )
    positive, negative, latent = made.result
    return replace(video, subject=subject.having(positive=positive, negative=negative, latent=latent))


@pytest.fixture(scope="module")
def clip(video):
    """A plain clip, to take pictures from."""
    return video.frames(video.subject.sample(**video.settings(seed=5)))


def middles(frames):
    """Where the picture is in each frame, and how large: (F, 3) of height, width and spread, in shares of the frame."""
    ink = (1 - frames.mean(dim=-1)).clamp(min=0.05) - 0.05
    rows = torch.linspace(0, 1, frames.shape[1]).reshape(1, -1, 1)
    columns = torch.linspace(0, 1, frames.shape[2]).reshape(1, 1, -1)
    total = ink.sum(dim=(1, 2))
    row, column = ((ink * places).sum(dim=(1, 2)) / total for places in (rows, columns))
    apart = (rows - row.reshape(-1, 1, 1)) ** 2 + (columns - column.reshape(-1, 1, 1)) ** 2
    return torch.stack([row, column, ((ink * apart).sum(dim=(1, 2)) / total).sqrt()], dim=1)


def test_words_say_how_it_moves(video):
    """Each motion is the one of its word, with the picture's own word left as it is."""

    def moved(motion):
        latent = video.with_prompt(f"red heart {motion}").subject.sample(**video.settings())
        return middles(video.frames(latent))

    ranges = {motion: (path := moved(motion)).amax(dim=0) - path.amin(dim=0) for motion in ("slide", "bounce", "turn")}
    assert ranges["slide"][1] > 0.25 > ranges["slide"][0] and ranges["bounce"][0] > 0.15 > ranges["bounce"][1]
    assert ranges["turn"][:2].max() < 0.15
    growing, pulsing = moved("grow")[:, 2], moved("pulse")[:, 2]
    assert growing[-1] > 1.8 * growing[0] and 1.2 < pulsing.amax() / pulsing.amin() < 2.5


def test_a_sampler_behind_the_patcher(video):
    settings = video.settings()
    patched, ours = video.subject.patched(2.0).sample(**settings), video.subject.frdiff(2.0, **settings)[0]
    assert torch.equal(patched, ours)
    assert torch.equal(video.subject.patched(1.0).sample(**settings), video.subject.sample(**settings))


@pytest.mark.parametrize("sampler", ["euler", "uni_pc"])
def test_clips_are_nearer_than_with_as_many_plain_steps(video, engine, sampler):
    """Means over clips: of a single one fewer steps may be the better ones by chance."""
    metrics, motion = engine("reporting.metrics"), engine("reporting.motion")
    gains, flickers = [], []
    for prompt in ("dog face turn", "panda bounce", "frog slide"):
        truth, fast, few = (video.frames(latent) for latent in video.with_prompt(prompt).three(sampler))
        gains.append(metrics.psnr(truth, fast) - metrics.psnr(truth, few))
        flickers.append(motion.flicker(truth, fast) / motion.flicker(truth, few))
    assert sum(gains) / 3 > 3 and sum(flickers) / 3 < 0.8


@pytest.mark.parametrize("name", ["WanImageToVideo", "WanFirstLastFrameToVideo"])
def test_video_from_pictures(video, clip, name):
    pictures = {"start_image": clip[:1], **({"end_image": clip[-1:]} if "Last" in name else {})}
    given = from_pictures(video, name, **pictures)
    plain, ours, fewer = given.three()
    assert relative(ours, plain) < relative(fewer, plain)
    # The first frame is the one that was given, as far as the model holds to it, and no further away than plain.
    frames = [video.frames(latent)[0] for latent in (plain, ours)]
    errors = [(frame - clip[0]).square().mean().item() for frame in frames]
    assert errors[0] < 0.02 and errors[1] < 1.5 * errors[0] + 1e-4


@pytest.mark.parametrize("freenoise", [True, False], ids=["noise in common", "noise of their own"])
@pytest.mark.parametrize(
    ("schedule", "closed"),
    [("standard_static", False), ("standard_uniform", False), ("looped_uniform", True)],
    ids=["static", "moving", "looped"],
)
def test_context_windows(video, schedule, closed, freenoise):
    inputs = {
        "context_length": 17, "context_overlap": 8, "context_schedule": schedule, "context_stride": 1,
        "closed_loop": closed, "fuse_method": "pyramid",
    }  # fmt: skip
    model, node = of_text_alone(video.subject.model), "WanContextWindowsManualNode"
    taken = inspect.signature(node_class("context_windows", node).execute).parameters
    if freenoise and "freenoise" not in taken:
        pytest.skip("this ComfyUI has no FreeNoise")
    noise = {"freenoise": freenoise} if "freenoise" in taken else {}
    windowed = extra_node("context_windows", node, model, **inputs, **noise)
    longer = replace(video, subject=video.subject.having(model=windowed, latent=empty(9)))
    moves = schedule != "standard_static"
    plain, ours, fewer, report = longer.four("euler", STEPS if moves else STEPS // 2 + 1)
    assert relative(ours, plain) < relative(fewer, plain)
    # Windows that move show the network other frames in every step: most of it is computed, and the report says why.
    said = "moved" in [reason.code for reason in report.reasons] and "Some calls were computed in full" in report.text()
    assert said == moves
    assert report.counts["full"] >= STEPS - 2 if moves else report.counts["full"] <= STEPS // 2 + 1


def test_the_vae_takes_clips_and_pictures_as_the_hosts(video, clip):
    vae = video.demo.vae
    with torch.inference_mode():
        latent, picture = vae.encode(clip), vae.encode(clip[:1])
        assert latent.shape == (1, 16, 5, 10, 10) and picture.shape == (1, 16, 1, 10, 10)
        assert torch.allclose(latent[:, :, :1], picture, atol=1e-5)
        again = vae.decode(latent)[0]
    assert again.shape == clip.shape and (again - clip).square().mean() < 0.01


def test_reports_and_sweep_of_a_clip(video, host):
    subject = video.subject
    with torch.inference_mode():
        output = host.NODE_CLASS_MAPPINGS["FRDiffSweep"].execute(
            subject.model, 1, 12, CFG, "euler", "simple", subject.positive, subject.negative, subject.latent, 1.0,
            video.demo.vae, "2", "", 1,
        )  # fmt: skip
    plain, fast, fewer = json.loads(output.result[3])
    assert (plain["flicker"], plain["path_error"], plain["worst_frame"]) == (0, 0, 100)
    assert fast["flicker"] < fewer["flicker"] and fast["worst_frame"] > fewer["worst_frame"]


def test_the_bench_measures_clips(host, pack):
    bench = __import__(f"{pack.__name__}.scripts.bench.video", fromlist=["measure"])
    chosen = {"samplers": ["euler"], "steps": [8], "rows": ["*shift 5*"], "draw": "test", "pairs": 1, "dials": [2.0]}
    arguments = types.SimpleNamespace(**chosen)
    said: list[Any] = []
    rows = bench.measure(host, {}, arguments, said.append)
    assert [row["method"] for row in rows] == ["fewer", "dial"] and rows[1]["cost"] < 1
    assert "video euler simple 8 shift 5 cfg 5" in said[-1] and len(rows[1]["each"]) == 1
    assert rows[1]["psnr"] == rows[1]["each"][0]["psnr"]
