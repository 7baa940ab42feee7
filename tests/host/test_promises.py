"""The promises, one test each, in the order of the design's table."""

import ast
import hashlib
import json
import time
import types
from pathlib import Path

import pytest
import torch
from subjects import Subject, custom_schedule, demo_subject, extra_node, node, relative, video_subject, watching
from tiny_host import Counting

ROOT = Path(__file__).resolve().parents[2]
STEPS = 20
pytestmark = pytest.mark.quick


@pytest.fixture(scope="module", params=["unet", "dit"])
def subject(host, request):
    return demo_subject(host, request.param)


def fewer(subject, report, **settings):
    """The plain run that costs at least as much as a run did."""
    computed, asked = (sum(getattr(record, name) for record in report.records) for name in ("calls", "asked"))
    return subject.sample(**{**settings, "steps": -(-computed * STEPS // asked)})


def test_01_no_forward_of_any_model_is_copied():
    text = "\n".join(
        path.read_text(encoding="ascii") for path in (*ROOT.glob("frdiff/**/*.py"), *ROOT.glob("nodes/**/*.py"))
    )
    imported = {
        name
        for node_ in ast.walk(ast.parse(text.replace("from __future__ import annotations\n", "")))
        for name in ([a.name for a in node_.names] if isinstance(node_, ast.Import) else [getattr(node_, "module", "")])
        if isinstance(node_, (ast.Import, ast.ImportFrom))
    }
    assert not [name for name in imported if name and name.startswith("comfy.ldm")]
    assert "setattr(" not in text and "add_object_patch" not in text


@pytest.mark.parametrize("speedup", [2.0, 3.0])
def test_02_the_second_queue_is_the_first(subject, speedup):
    patched = subject.patched(speedup)
    with subject.counting() as first_calls:
        first = patched.sample(steps=STEPS)
    subject.having(latent={"samples": torch.zeros(1, 4, 8, 8)}).sample(steps=2)
    patched.having(latent={"samples": torch.zeros(2, 4, 8, 24)}).sample(steps=7, sampler="heun")
    with subject.counting() as second_calls:
        assert torch.equal(patched.sample(steps=STEPS), first)
    assert len(first_calls) == len(second_calls) < STEPS


def test_03_every_batch_element_is_treated_as_if_alone(subject, host):
    generator = torch.Generator().manual_seed(6)
    latents = torch.randn(3, 16, 16, 16, generator=generator)

    def run(samples):
        # The noise is given with the latent, so that it does not depend on the batch.
        sampler = extra_node("custom_sampler", "KSamplerSelect", "euler")
        sigmas = extra_node("custom_sampler", "BasicScheduler", subject.model, "normal", STEPS, 1.0)
        return extra_node(
            "custom_sampler", "SamplerCustom", subject.patched().model, False, 0, 3.0, subject.positive,
            subject.negative, sampler, sigmas, {"samples": samples},
        )["samples"]  # fmt: skip

    with torch.inference_mode():
        together, alone = run(latents), torch.cat([run(latent[None]) for latent in latents])
    assert relative(together, alone) < 1e-3


def test_04_split_conditions_keep_their_own_features(subject, monkeypatch):
    import comfy.model_base

    # Two calls for each step, as when the memory is short.
    together, report = subject.frdiff(steps=STEPS)
    monkeypatch.setattr(comfy.model_base.BaseModel, "memory_required", lambda *_, **__: 1e15)
    apart, apart_report = subject.frdiff(steps=STEPS)
    assert sum(r.calls for r in apart_report.records) == 2 * sum(r.calls for r in report.records)
    assert relative(apart, together) < 1e-3
    # Guidance enlarges what sets them apart, so a forecast never meets a truth.
    assert {r.calls for r in apart_report.records} == {0, 2}


def test_05_it_works_or_says_why_not(subject, host):
    for settings in ({"sampler": "dpm_adaptive"}, {"steps": 1}, {"sampler": "euler"}, {"sampler": "dpmpp_sde"}):
        _, report = subject.frdiff(**settings)
        assert report.counts["full"] < len(report.records) or report.reasons


def test_06_fresh_noise_is_kept_out_of_what_is_reused(subject):
    for sampler in ("euler_ancestral", "dpmpp_2m_sde"):
        plain, (latent, report) = (run(steps=STEPS, sampler=sampler) for run in (subject.sample, subject.frdiff))
        assert report.stochastic and report.counts["skip"] == STEPS // 2
        assert relative(latent, plain) < relative(subject.sample(steps=STEPS // 2, sampler=sampler), plain)


def test_07_a_compiled_model_gives_the_same(subject, host):
    from comfy_api.torch_helpers.torch_compile import set_torch_compile_wrapper

    expected = subject.patched().sample(steps=8)
    for first in (True, False):
        model = subject.model.clone() if first else subject.patched().model
        set_torch_compile_wrapper(model, backend="eager")
        made = subject.having(model=model)
        assert relative((made.patched() if first else made).sample(steps=8), expected) < 1e-3


def fingerprint(subject):
    """All that a run could leave in a model: attributes, weights, options, hooks."""
    parts = [
        sorted(subject.model.model_options["transformer_options"]),
        sorted(subject.model.wrappers.get("outer_sample", {})),
    ]
    for name, module in subject.network.named_modules():
        hooks = [len(value) for key, value in module.__dict__.items() if key.endswith("_hooks")]
        parts += [name, sorted(module.__dict__), hooks]
    weights = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in subject.network.state_dict().values()))
    return parts, weights.hexdigest()


def test_08_nothing_is_left_on_the_model(subject, host):
    subject.sample(steps=2)
    before = fingerprint(subject)
    subject.frdiff(steps=STEPS, sampler="dpmpp_2m_sde")
    with pytest.raises(RuntimeError):
        # Of a width that no layer of the network takes.
        subject.having(positive=[[torch.zeros(1, 6, 7), subject.positive[0][1]]]).frdiff(steps=STEPS)
    assert fingerprint(subject) == before


def test_09_the_second_prompt_is_as_fast(subject):
    patched, counts = subject.patched(), []
    other = [[tensor * 0.5, options] for tensor, options in subject.positive]
    for positive in (subject.positive, other):
        with subject.counting() as calls:
            patched.having(positive=positive).sample(steps=STEPS)
        counts.append(len(calls))
    # The patcher's output is the same object for both, as the host's cache hands it on.
    assert counts[0] == counts[1] < STEPS


def test_10_the_budget_is_kept(subject, host, engine):
    stages = engine("blocks.stages").find_stages(subject.network)
    workers = [getattr(stage.strategy, "child", None) or stage.module for stage in stages]
    computed, kept, outputs = [], [], 2 * 4 * 16 * 16 * 16 * 4
    plain = subject.sample(steps=8)
    _, free = subject.frdiff(steps=8, schedule=custom_schedule(host, interval=2, mixing=False))
    for share in (1.0, 0.75, 0.5, 0.25, 0.1, 0.0):
        budget = share * free.bytes_kept / 1e6
        with Counting(workers) as counting:
            latent, report = subject.frdiff(
                steps=8, schedule=custom_schedule(host, interval=2, mixing=False, budget=budget)
            )
        computed.append(sum(counting.counts))
        kept.append(report.bytes_kept)
        assert torch.isfinite(latent).all() and report.bytes_kept <= budget * 1e6 + outputs
        assert sum("The cache budget" in reason.sentence for reason in report.reasons) == (share < 1)
    # Less memory, more work, one step after the other; without any, all of it.
    assert computed == sorted(computed) and kept == sorted(kept, reverse=True) and len(set(computed)) >= 4
    assert computed[0] == 4 * len(stages) and computed[-1] == 8 * len(stages)
    assert torch.equal(latent, plain) and report.counts["full"] == 8


class Loads:
    """Notes the memory that is asked for when models are loaded."""

    def __init__(self, monkeypatch):
        import comfy.model_management

        self.asked, self.error = [], None
        load = comfy.model_management.load_models_gpu

        def noted(models, memory_required=0, **named):
            self.asked.append((memory_required, named["minimum_memory_required"]))
            if self.error:
                raise self.error
            return load(models, memory_required=memory_required, **named)

        monkeypatch.setattr(comfy.model_management, "load_models_gpu", noted)


def test_10_memory_is_reserved_before_the_model_loads(subject, host, monkeypatch):
    subject.sample(steps=1)
    loads, before = Loads(monkeypatch), dict(subject.model.model.__dict__)
    subject.sample(steps=4)
    (plain,) = loads.asked
    reserved = []
    for settings in (
        {"schedule": custom_schedule(host)}, {}, {"sampler": "dpmpp_2m_sde"},
        {"schedule": custom_schedule(host, interval=2)}, {"schedule": custom_schedule(host, interval=2, budget=0.5)},
    ):  # fmt: skip
        _, report = subject.frdiff(steps=8, **settings)
        asked = loads.asked.pop()
        assert [have - had for have, had in zip(asked, plain, strict=True)] == [report.bytes_reserved] * 2
        assert f"{report.bytes_reserved / 1e6:.1f} MB were reserved" in report.text()
        reserved.append((report.bytes_reserved, report.bytes_kept))
        assert dict(subject.model.model.__dict__) == before
    off, skipping, noisy, paper, tight = reserved
    # Of two conditions; three outputs for a forecast, and none where all steps are computed.
    output = 2 * 4 * 16 * 16 * 16
    assert off == (0, 0) and skipping[0] == noisy[0] == 3 * output
    assert paper[0] > paper[1] > tight[0] == 500_000 + output
    loads.error = MemoryError()
    with pytest.raises(MemoryError):
        subject.frdiff(steps=8)
    assert dict(subject.model.model.__dict__) == before


def test_11_a_useless_speedup_is_said(subject, host):
    slept = []

    def sleep(*_):
        slept.append(1)
        time.sleep(0.5 if len(slept) % 2 == 0 else 0)

    handle = subject.network.get_submodule(
        "time_embed" if hasattr(subject.network, "out") else "time_in"
    ).register_forward_pre_hook(sleep)
    try:
        _, slow = subject.frdiff(steps=8, schedule=custom_schedule(host, interval=2, mixing=False))
    finally:
        handle.remove()
    assert "as long as full ones" in slow.text() and len(slept) == 8
    _, report = subject.frdiff(steps=8, schedule=custom_schedule(host, interval=2, mixing=False))
    assert "as long as full ones" not in report.text()


def test_12_the_report_has_every_evaluation(subject, host):
    with subject.counting() as computed:
        _, report = subject.frdiff(steps=STEPS, sampler="heun")
    data = json.loads(node(host, "FRDiffReport", report) and report.json())
    assert len(data["records"]) == 2 * STEPS - 1 and sum(r["calls"] for r in data["records"]) == len(computed)
    assert {"step", "sigma", "kind", "planned", "ms"} <= set(data["records"][0])


def auto_fr(subject, host, tmp_path, monkeypatch):
    """What FRDiff Auto-FR makes for 20 steps, in a folder of its own."""
    import folder_paths

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "frdiff", ([str(tmp_path)], {".safetensors"}))
    sampling = (5, 20, 3.0, "euler", "normal", "quick", "my own", 2.0)
    return node(host, "FRDiffAutoFR", subject.model, subject.positive, subject.negative, subject.latent, *sampling)


def test_13_one_calibration_file_serves_every_number_of_steps(subject, host, tmp_path, monkeypatch):
    made = auto_fr(subject, host, tmp_path, monkeypatch)
    files = host.NODE_CLASS_MAPPINGS["FRDiffScheduleLoader"].define_schema().inputs[0].options
    assert files == ["auto", "my own.safetensors"]
    schedule = node(host, "FRDiffScheduleLoader", "my own.safetensors", 2.0)
    assert schedule.file == made.file
    for steps in (10, 20, 30):
        plain, (latent, report) = subject.sample(steps=steps), subject.frdiff(steps=steps, schedule=schedule)
        assert report.schedule == schedule.name and report.counts["full"] < steps
        assert relative(latent, plain) < relative(subject.sample(steps=report.counts["full"]), plain)
        assert not any("other weights" in reason.sentence for reason in report.reasons)
        assert any(f"this run has {steps}" in reason.sentence for reason in report.reasons) == (steps != 20)


def test_13_a_file_for_other_weights_is_noted(subject, host, tmp_path, monkeypatch):
    """Another training of the same architecture may use it, and is told so."""
    schedule = auto_fr(subject, host, tmp_path, monkeypatch)
    weights = {name: weight.clone() for name, weight in subject.network.state_dict().items()}
    try:
        with torch.inference_mode():
            for weight in subject.network.parameters():
                weight *= 1 + 1e-3
        _, report = subject.frdiff(steps=20, schedule=schedule)
    finally:
        with torch.inference_mode():
            subject.network.load_state_dict(weights)
    assert any("other weights of the same architecture" in reason.sentence for reason in report.reasons)


def test_14_one_dial_with_a_default(host):
    inputs = {i.id: i for i in host.NODE_CLASS_MAPPINGS["FRDiffKSampler"].define_schema().inputs}
    plain = host.KSampler.INPUT_TYPES()["required"]
    assert set(inputs) - set(plain) == {"speedup", "schedule"} and inputs["speedup"].default == 2.0


def test_15_better_than_as_many_fewer_steps(subject):
    plain = subject.sample(steps=STEPS)
    latent, report = subject.frdiff(steps=STEPS)
    assert relative(latent, plain) < relative(fewer(subject, report), plain)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_16_few_steps_are_mostly_computed(subject, steps):
    _, report = subject.frdiff(steps=steps)
    assert report.counts["full"] >= (steps + 1) // 2 and report.records[0].kind == "full"
    assert report.counts["full"] < steps or "steps allow" in report.line()


def test_17_the_first_step_is_always_computed(subject):
    for sampler in ("euler", "dpmpp_2m_sde", "heun"):
        _, report = subject.frdiff(speedup=10.0, steps=STEPS, sampler=sampler)
        assert report.records[0].kind == "full" and report.records[0].calls > 0


def test_17_forced_steps_are_part_of_the_schedule(subject, host):
    schedule = node(host, "FRDiffSchedule", "custom", 5, False, 2, 3, 4096.0)
    for sampler in ("euler", "dpmpp_2m_sde"):
        kinds = [r.kind for r in subject.frdiff(schedule=schedule, steps=STEPS, sampler=sampler)[1].records]
        assert {*kinds[:2], *kinds[-3:]} == {"full"} and "partial" in kinds[2:-3]


def test_18_remembered_tensors_are_never_written(subject, host):
    plain = subject.sample(steps=STEPS)
    assert torch.equal(subject.frdiff(steps=STEPS, schedule=custom_schedule(host))[0], plain)
    latent, report = subject.frdiff(steps=STEPS, schedule=watching(host))
    assert torch.equal(latent, plain) and report.bytes_kept > 500_000


def test_19_a_changed_call_has_its_own_stream(subject, pack):
    key = __import__(f"{pack.__name__}.nodes.host.identity", fromlist=["call_key"]).call_key
    x = torch.zeros(1, 16, 8, 8)
    base = {"uuids": ["a"], "cond_or_uncond": [0]}
    patched = {**base, "patches_replace": {"attn1": {("middle", 0): None}}}
    control = {"input": [None], "middle": [x]}
    model = subject.model.model
    keys = [
        key(x, base, None, model, {}), key(x, patched, None, model, {}), key(x, base, control, model, {}),
        key(x, {**base, "cond_or_uncond": [1]}, None, model, {}), key(x[..., :4], base, None, model, {}),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    # Another pack's window may be anything.
    streams = __import__(f"{pack.__name__}.nodes.host.identity", fromlist=["Streams"]).Streams({})
    streams.begin(1.0, x)
    things = [types.SimpleNamespace(**each) for each in ({}, {"dim": None}, {"index_list": ["a"], "dim": 2})]
    for thing in (1, "window", [2], *things):
        assert streams.of(x, 1.0, {**base, "context_window": thing}, None, model, subject.network, {})
    # Some guiders draw ids anew at each step: conditions are known by what they hold.
    assert key(x, base, None, model, {}) == key(x, {**base, "uuids": ["b"]}, None, model, {})
    assert key(x, base, None, model, {}) == key(x, dict(base), {"input": [None]}, model, {})


def test_20_context_windows_have_streams_of_their_own(host):
    import comfy.context_windows as windows

    subject: Subject = video_subject(host, frames=6)
    model = subject.model.clone()
    handler = windows.IndexListContextHandler(
        context_schedule=windows.get_matching_context_schedule("standard_static"),
        fuse_method=windows.get_matching_fuse_method("flat"), context_length=4, context_overlap=2, dim=2,
    )  # fmt: skip
    model.model_options["context_handler"] = handler
    windowed = subject.having(model=model)
    with windowed.counting() as every:
        plain = windowed.sample(steps=STEPS)
    latent, report = windowed.frdiff(steps=STEPS)
    assert len(every) > STEPS
    assert relative(latent, plain) < relative(fewer(windowed, report), plain)
