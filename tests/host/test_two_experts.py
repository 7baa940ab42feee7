"""One run through two networks, one for much noise and one for the rest, as people sample the large video models."""

import types
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from subjects import Subject, demo_subject, extra_node, node, relative

from setup.in_process import DemoModel, copied

STEPS, CUT, CFG = 20, 10, 3.0


@dataclass(frozen=True)
class Experts:
    """Two MODELs, the conditions and the latent."""

    subject: Any
    low: Any
    cfg: float = CFG

    def advanced(self, dial=None, steps=STEPS, cut=CUT, sampler="euler"):
        """The two nodes of KSampler (Advanced): the latent and the reports."""
        host, subject = self.subject.host, self.subject
        latent, reports = subject.latent, []
        name = "KSamplerAdvanced" if dial is None else "FRDiffKSamplerAdvanced"
        parts = (subject.model, "enable", 0, cut, "enable"), (self.low, "disable", cut, 10000, "disable")
        for model, noise, start, end, leftover in parts:
            inputs = (model, noise, 1, steps, self.cfg, sampler, "simple", subject.positive, subject.negative, latent,
                      start, end, leftover)  # fmt: skip
            with torch.inference_mode():
                if dial is None:
                    latent = node(host, name, *inputs)
                else:
                    latent, report = host.NODE_CLASS_MAPPINGS[name].execute(*inputs, dial).result
                    reports.append(report)
        return latent["samples"], reports

    def custom(
        self, dial=1.0, steps=STEPS, cut=CUT, sampler="euler", denoise=1.0, between=lambda latent: latent
    ):  # fmt: skip
        """SamplerCustomAdvanced with SplitSigmas behind the patcher; `between` changes the latent between the parts."""
        subject, host = self.subject, self.subject.host
        sigmas = extra_node("custom_sampler", "BasicScheduler", subject.model, "simple", steps, denoise)
        high, low = node_outputs("custom_sampler", "SplitSigmas", sigmas, cut)
        latent = subject.latent
        noises = extra_node("custom_sampler", "RandomNoise", 1), extra_node("custom_sampler", "DisableNoise")
        for model, part, noise in zip((subject.model, self.low), (high, low), noises, strict=True):
            patched = node(host, "FRDiffModelPatcher", model, dial)
            guider = extra_node("custom_sampler", "CFGGuider", patched, subject.positive, subject.negative, self.cfg)
            chosen = extra_node("custom_sampler", "KSamplerSelect", sampler)
            with torch.inference_mode():
                latent = extra_node("custom_sampler", "SamplerCustomAdvanced", noise, guider, chosen, part, latent)
            if part is high:
                latent = {"samples": between(latent["samples"])}
        return latent["samples"]


def node_outputs(module, name, *inputs):
    """All outputs of a node that comes with the host in a file of its own."""
    cls = getattr(__import__(f"comfy_extras.nodes_{module}", fromlist=[name]), name)
    return cls.execute(*inputs).result


@pytest.fixture(scope="module", params=["one network", "two networks"])
def experts(host, request):
    subject = demo_subject(host, "dit")
    if request.param == "one network":
        return Experts(subject, subject.model)
    return Experts(subject, fine_tuned(subject.model))


def fine_tuned(model):
    """Another network that was trained for the same: as near to the first as a fine-tune is."""
    low = model.clone()
    low.model = copied(model.model)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in low.model.diffusion_model.parameters():
            weight.add_(0.05 * weight.std().nan_to_num() * torch.randn(weight.shape, generator=generator))
    return low


@pytest.fixture
def alone(attaching, monkeypatch):
    """Calling it makes each part plan as if there were no other."""
    whole = types.SimpleNamespace(
        cut_of=lambda sigmas, noise, latent: attaching.Cut(tuple(sigmas.tolist()), 0, 0, len(sigmas) - 1),
        left=lambda cut, latent: None,
    )
    return lambda: monkeypatch.setattr(attaching, "PARTS", whole)


def computed(reports):
    return [report.counts["full"] for report in reports]


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m"])
def test_both_parts_have_one_budget(experts, alone, sampler):
    plain, _ = experts.advanced(sampler=sampler)
    joint, reports = experts.advanced(2.0, sampler=sampler)
    assert sum(computed(reports)) == STEPS // 2 and [len(report.records) for report in reports] == [CUT, STEPS - CUT]
    assert f"Steps 1 to {CUT} of {STEPS}" in reports[0].text()
    assert f"Steps {CUT + 1} to {STEPS} of {STEPS}" in reports[1].text()
    assert all("10 are computed in all, which is 2.00x" in report.text() for report in reports)
    # Less is computed where there is much noise, and the picture is nearer than with as many plain steps.
    assert computed(reports)[0] < computed(reports)[1]
    fewer, _ = experts.advanced(steps=STEPS // 2, cut=CUT // 2, sampler=sampler)
    assert relative(joint, plain) < relative(fewer, plain)
    alone()
    by_themselves, separate = experts.advanced(2.0, sampler=sampler)
    assert computed(separate) == [5, 5] and relative(joint, plain) < relative(by_themselves, plain)


def test_split_sigmas_behind_the_patcher_are_planned_as_the_two_nodes(experts, alone):
    nodes, _ = experts.advanced(2.0)
    split = experts.custom(2.0)
    # The host's own two ways differ in their rounding.
    assert relative(split, nodes) < 1e-3
    alone()
    assert relative(experts.custom(2.0), nodes) > 1e-3


@pytest.fixture
def cuts(attaching, monkeypatch):
    """What the runs that follow are cut out of: the noise levels before each and after it."""
    seen, parts = [], attaching.Parts()

    def cut_of(*args):
        cut = parts.cut_of(*args)
        seen.append((cut.before, cut.after))
        return cut

    monkeypatch.setattr(attaching, "PARTS", types.SimpleNamespace(cut_of=cut_of, left=parts.left))
    return seen


def test_a_run_by_itself_is_planned_by_itself(experts, cuts):
    """Neither a part of the noise levels for a picture that is given nor a run to its end is a part of another."""
    picture = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(2))
    subject = experts.subject.having(latent={"samples": picture})
    for denoise in (1.0, 0.5):
        subject.frdiff(denoise=denoise, scheduler="simple")
    assert cuts == [((), ()), ((), ())]
    cuts.clear()
    experts.advanced(2.0, steps=20, cut=8)
    (nothing, after), (before, rest) = cuts
    assert nothing == rest == () and len(after) == 13 and len(before) == 9 and after[0] == before[-1]


def test_levels_that_a_low_denoise_leaves_out_are_no_part(experts, cuts):
    """The host cuts the levels of a low denoise out of a longer list, which nobody samples."""
    experts.custom(2.0, denoise=0.6)
    (nothing, after), (before, rest) = cuts
    assert nothing == rest == () and len(before) == CUT + 1 and len(after) == STEPS - CUT + 1


def test_a_latent_that_no_run_has_left_is_gone_on_with_alone(experts, cuts):
    """As where noise was added by a node, or the part before was sampled by another model's plain sampler."""
    experts.custom(2.0, denoise=0.6, between=lambda latent: latent + 0.5 * torch.randn_like(latent))
    assert cuts[0][1] and cuts[1] == ((), ())
    # Rounding, as where latents are handed on in half precision, is no other latent.
    cuts.clear()
    experts.custom(2.0, between=lambda latent: latent.half().float())
    assert len(cuts[1][0]) == CUT + 1


def test_short_parts_are_left_as_they_were(experts):
    _, reports = experts.advanced(2.0, steps=8, cut=4)
    assert computed(reports)[0] == 4 and "planned together" not in reports[0].text()


@pytest.fixture(scope="module")
def video(host):
    """The trained video model behind the host's shift, and a changed copy of it for the rest of the noise."""
    demo = DemoModel(host, "video")
    model = extra_node("model_advanced", "ModelSamplingSD3", demo.model, 8.0)
    latent = {"samples": torch.zeros(1, 16, 5, 10, 10)}
    return demo, Experts(Subject(host, model, None, demo.encode(""), latent), fine_tuned(model), 5.0)


@pytest.mark.parametrize(
    ("way", "sampler"), [("KSamplerAdvanced", "euler"), ("SplitSigmas", "euler"), ("KSamplerAdvanced", "dpmpp_2m")]
)
def test_two_networks_of_the_trained_video_model(video, engine, way, sampler):
    """Means over clips, as in docs/video.md: at 2x nearer than as many plain steps, and it flickers less."""
    demo, experts = video
    metrics, motion = engine("reporting.metrics"), engine("reporting.motion")

    def frames(prompt, dial, steps):
        clip = replace(experts, subject=experts.subject.having(positive=demo.encode(prompt)))
        if way == "KSamplerAdvanced":
            latent, reports = clip.advanced(dial, steps, steps // 2, sampler)
            assert not reports or sum(computed(reports)) == STEPS // 2
        else:
            latent = clip.custom(dial or 1.0, steps, steps // 2, sampler)
        with torch.inference_mode():
            return demo.vae.decode(latent)[0]

    found = []
    for prompt in ("dog face turn", "panda bounce", "frog slide"):
        truth, fast, few = (frames(prompt, *each) for each in ((None, STEPS), (2.0, STEPS), (None, STEPS // 2)))
        found.append([of(truth, clip) for of in (metrics.psnr, motion.flicker) for clip in (few, fast)])
    fewer, dial, fewer_flicker, dial_flicker = torch.tensor(found).mean(dim=0).tolist()
    assert dial > fewer + 6 and dial_flicker < 0.7 * fewer_flicker
