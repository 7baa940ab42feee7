"""What the nodes promise, in a real ComfyUI with the demo models."""

import json

import pytest
import torch
from subjects import node, watching


def module_state(model):
    """Every attribute that any module of a network has of its own."""
    return {name: set(module.__dict__) for name, module in model.model.named_modules()}


def schedule(host, preset="custom", interval=1, mixing=True, first=1, last=0, budget=4096.0):
    return host.NODE_CLASS_MAPPINGS["FRDiffSchedule"].execute(preset, interval, mixing, first, last, budget).result[0]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("cfg", [3.0, 1.0])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun", "dpmpp_sde"])
def test_every_step_full_is_bit_identical(demo, host, sampler, cfg, batch):
    patcher = host.NODE_CLASS_MAPPINGS["FRDiffModelPatcher"]
    plain = demo.sample(sampler=sampler, cfg=cfg, batch=batch)
    off = patcher.execute(demo.model, 1.0).result[0]
    full = patcher.execute(demo.model, 2.0, schedule(host)).result[0]
    remembering = patcher.execute(demo.model, 2.0, watching(host)).result[0]
    for model in (off, full, remembering):
        assert torch.equal(demo.sample(model, sampler=sampler, cfg=cfg, batch=batch), plain)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m_sde", "dpm_adaptive"])
def test_sampler_node_and_patcher_give_the_same_latent(demo, host, sampler):
    patched = host.NODE_CLASS_MAPPINGS["FRDiffModelPatcher"].execute(demo.model, 2.0).result[0]
    latent, report = demo.frdiff(steps=20, sampler=sampler)
    assert torch.equal(latent["samples"], demo.sample(patched, steps=20, sampler=sampler))
    assert torch.isfinite(latent["samples"]).all()
    assert report.counts["full"] < len(report.records) or sampler == "dpm_adaptive"


def test_a_custom_schedule_is_what_its_widgets_say(demo, host):
    def made(**parts):
        return demo.frdiff(schedule=node(host, "FRDiffSchedule", "custom", 2, False, 1, 0, 4096.0, **parts), steps=12)

    partial, reuse, linear, finer = (
        made(), made(stages="none"), made(stages="none", forecaster="linear"), made(stages="branches of blocks")
    )  # fmt: skip
    assert partial[1].counts == finer[1].counts == {"full": 6, "partial": 6, "skip": 0}
    assert finer[1].stages > partial[1].stages
    assert reuse[1].counts == linear[1].counts == {"full": 6, "partial": 0, "skip": 6}
    assert linear[1].forecaster == "linear" and reuse[1].bytes_kept < partial[1].bytes_kept
    assert len({tuple(latent["samples"].flatten().tolist()) for latent, _ in (partial, reuse, linear)}) == 3
    guarded = node(host, "FRDiffSchedule", "custom", 2, False, 1, 0, 4096.0, guard=True)
    assert guarded.options.guarded and not schedule(host).options.guarded


def test_second_queue_gives_the_same(demo):
    first, second = demo.frdiff(steps=20), demo.frdiff(steps=20)
    assert torch.equal(first[0]["samples"], second[0]["samples"])
    assert first[1].counts == second[1].counts


def test_counted_calls_are_the_calls_the_network_received(demo):
    network = demo.model.model.diffusion_model
    received = []
    handle = network.register_forward_pre_hook(lambda *_: received.append(1))
    inner = network.get_submodule("out.2" if hasattr(network, "out") else "final_layer.linear")
    computed = []
    handle_inner = inner.register_forward_pre_hook(lambda *_: computed.append(1))
    try:
        _, report = demo.frdiff(steps=20)
    finally:
        handle.remove()
        handle_inner.remove()
    assert len(received) == 20
    assert len(computed) == sum(record.calls for record in report.records) == 20 - report.counts["skip"]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("stop", [0, 1, 7, 11])
def test_nothing_stays_behind(demo, host, stop):
    from comfy.model_management import InterruptProcessingException

    demo.sample(steps=2)
    before = module_state(demo.model)
    patched = host.NODE_CLASS_MAPPINGS["FRDiffModelPatcher"].execute(demo.model, 2.0).result[0]
    for error in (Stopped, InterruptProcessingException):
        calls = []

        def hook(*_, error=error, calls=calls):
            calls.append(1)
            if len(calls) > stop:
                raise error()

        inner = demo.model.model.diffusion_model.get_submodule(
            "out.2" if hasattr(demo.model.model.diffusion_model, "out") else "final_layer.linear"
        )
        handle = inner.register_forward_pre_hook(hook)
        try:
            with pytest.raises(error):
                demo.sample(patched, steps=24)
        finally:
            handle.remove()
        assert module_state(demo.model) == before
    demo.sample(patched, steps=24)
    assert module_state(demo.model) == before
    assert "frdiff" not in demo.model.model_options["transformer_options"].get("wrappers", {}).get("apply_model", {})


def test_two_patchers_the_last_wins(demo, host):
    patcher = host.NODE_CLASS_MAPPINGS["FRDiffModelPatcher"]
    paper = schedule(host, "paper M=3")
    twice = patcher.execute(patcher.execute(demo.model, 2.0).result[0], 2.0, paper).result[0]
    once = patcher.execute(demo.model, 2.0, paper).result[0]
    assert torch.equal(demo.sample(twice, steps=20), demo.sample(once, steps=20))


def test_advanced_in_two_halves_is_one_run(demo, host):
    node = host.NODE_CLASS_MAPPINGS["FRDiffKSamplerAdvanced"]
    latent = {"samples": torch.zeros(1, 4, 16, 16)}

    def run(latent, noise, start, end, leftover):
        with torch.inference_mode():
            return node.execute(
                demo.model, noise, 1, 8, 3.0, "euler", "normal", demo.positive, demo.negative, latent,
                start, end, leftover, 2.0, schedule(host),
            ).result[0]  # fmt: skip

    half = run(run(latent, "enable", 0, 4, "enable"), "disable", 4, 8, "disable")
    assert torch.allclose(half["samples"], demo.sample(steps=8), atol=1e-5)


def test_no_budget_computes_instead_of_failing(demo, host):
    latent, report = demo.frdiff(steps=8, schedule=schedule(host, interval=2, mixing=False, budget=0.0))
    # Nothing is reused, so the picture is the plain one although the steps were planned as partial.
    assert torch.equal(latent["samples"], demo.sample(steps=8))
    assert "budget" in report.line() + report.text()


def test_unknown_network_is_said_and_still_skips(demo, host, pack):
    from unittest import mock

    families = __import__(f"{pack.__name__}.frdiff.blocks.families", fromlist=["FAMILIES"])
    with mock.patch.dict(families.FAMILIES, clear=True):
        _, report = demo.frdiff(steps=20, schedule=schedule(host, "paper M=2"))
    network = demo.model.model.diffusion_model
    # A UNet's blocks are in no list of one class; the blocks of the other are recognised by watching one call.
    recognised = hasattr(network, "double_blocks")
    assert (report.counts["partial"] > 0) == recognised and report.counts["skip"] > 0
    assert ("watched" if recognised else type(network).__name__) in report.data()["reason"]


def test_report_says_what_happened(demo, host):
    _, run = demo.frdiff(steps=20)
    text, data, _ = host.NODE_CLASS_MAPPINGS["FRDiffReport"].execute(run).result
    report = json.loads(data)
    assert sum(report["counts"].values()) == len(report["records"]) == 20
    assert f"{report['counts']['full']} of 20 steps computed" in text
    # The dial remembers outputs alone.
    assert report["bytes_kept"] > 0 and report["stages"] == 0 and report["speedup"] > 0
    _, off = demo.frdiff(steps=2, speedup=1.0)
    assert "off" in off.line()


def test_bad_input_is_a_sentence(demo, host):
    patcher = host.NODE_CLASS_MAPPINGS["FRDiffModelPatcher"]
    for model, speedup in ((demo.model, 0.5), (demo.model, float("nan")), ("a string", 2.0)):
        with pytest.raises(ValueError, match=r"^[A-Z].*\.$|must be"):
            patcher.execute(model, speedup)
    with pytest.raises(ValueError, match="interval"):
        schedule(host, interval=0)
