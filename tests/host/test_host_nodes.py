"""Every node of the host that makes a sampler, and every option of its context windows, as this version has them."""

import ast
import importlib
import inspect
import math
from pathlib import Path

import pytest
import torch
from subjects import custom_schedule, demo_subject, extra_node, node_class, relative, video_subject

STEPS = 16
FRAMES = 8
# Each name of its list has a test in test_samplers; and one is for a network with a state (test_stateful).
ELSEWHERE = {"KSamplerSelect", "SamplerARVideo"}
CFG_OF_CFG_PP = 1.0
# They say something of the speed, and nothing of the picture.
OF_THE_SPEED = {"speed-not-reached", "unsteady-times"}


def extras():
    """The host's folder of nodes that come in files of their own."""
    import comfy.samplers

    return Path(comfy.samplers.__file__).parents[1] / "comfy_extras"


def sampler_nodes():
    """Module and class of each node with a SAMPLER as its output, by the host's own source."""
    found = []
    for path in sorted(extras().glob("nodes_*.py")):
        source = path.read_text(encoding="utf-8")
        for cls in [each for each in ast.parse(source).body if isinstance(each, ast.ClassDef)]:
            text = ast.get_source_segment(source, cls)
            if "Sampler.Output(" in text and cls.name not in ELSEWHERE:
                found.append((path.stem.removeprefix("nodes_"), cls.name))
    return found


def defaults(cls):
    """What the widgets of a node show when it is new."""
    given = {}
    for each in cls.define_schema().inputs:
        value = getattr(each, "default", None)
        options = getattr(each, "options", None)
        if value is None and options:
            value = options[0]
        if value is None and each.get_io_type() == "BOOLEAN":
            value = False
        if value is not None:
            given[each.id] = value
    return {name: value for name, value in given.items() if name in inspect.signature(cls.execute).parameters}


@pytest.fixture(scope="module", params=["unet", "dit"])
def subject(host, request):
    return demo_subject(host, request.param)


def run(subject, made, steps=STEPS, cfg=3.0):
    """The latent, the report if there is one, and how often the network computed."""
    sigmas = extra_node("custom_sampler", "BasicScheduler", subject.model, "normal", steps, 1.0)
    with torch.inference_mode(), subject.counting() as computed:
        latent = extra_node(
            "custom_sampler", "SamplerCustom", subject.model, True, 1, cfg, subject.positive, subject.negative, made,
            sigmas, dict(subject.latent),
        )["samples"]  # fmt: skip
    return latent, len(computed)


def patched(pack, subject, speedup=2.0, schedule=None):
    """The subject with the model patcher's engine, and the reports of its runs."""
    attaching, reports = importlib.import_module(f"{pack.__name__}.nodes.host.attach"), []
    model = attaching.attach(subject.model, attaching.chosen(speedup, schedule), reports.append)
    return subject.having(model=model), reports


def held(pack, host, subject, sample):
    """What is promised of any run: `sample` takes a subject and steps, and returns a latent and its computed calls."""
    plain, every = sample(subject, STEPS)
    off, _ = patched(pack, subject, 2.0, custom_schedule(host))
    assert torch.equal(sample(off, STEPS)[0], plain)
    faster, reports = patched(pack, subject)
    latent, computed = sample(faster, STEPS)
    (report,) = reports
    assert torch.isfinite(latent).all() and computed == sum(record.calls for record in report.records)
    if computed == every:
        assert torch.equal(latent, plain) and report.reasons
        return
    fewer, _ = sample(subject, math.ceil(STEPS * computed / every))
    said = {reason.code for reason in report.reasons} - OF_THE_SPEED
    if fewer.shape == plain.shape and not said:
        assert relative(latent, plain) < relative(fewer, plain), (computed, every, report.line())


def pytest_generate_tests(metafunc):
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    if "sampler_node" in metafunc.fixturenames:
        metafunc.parametrize("sampler_node", sampler_nodes(), ids=lambda value: value[1])
    if "window_option" in metafunc.fixturenames:
        options = [(s, f) for s in choices("context_schedule") for f in choices("fuse_method")]
        metafunc.parametrize("window_option", options, ids=lambda value: "-".join(value))
    if "switch" in metafunc.fixturenames:
        metafunc.parametrize("switch", SWITCHES)


def windows_node():
    return node_class("context_windows", "ContextWindowsManualNode")


def choices(name):
    (found,) = [each.options for each in windows_node().define_schema().inputs if each.id == name]
    return list(found)


# A widget of newer hosts, and what it is set to.
SWITCHES = {
    "freenoise": True, "cond_retain_index_list": "0", "split_conds_to_windows": True, "latent_retain_index_list": "0",
    "causal_window_fix": False, "closed_loop": True, "context_stride": 2,
}  # fmt: skip


def windowed(subject, **chosen):
    """Windows of four frames, two of them shared with the next."""
    cls = windows_node()
    given = defaults(cls) | {"context_length": 4, "context_overlap": 2, "dim": 2} | chosen
    known = inspect.signature(cls.execute).parameters
    if not set(chosen) <= set(known):
        pytest.skip(f"This ComfyUI's context windows have no {', '.join(set(chosen) - set(known))}.")
    return subject.having(model=cls.execute(subject.model, **given).result[0])


def batch(subject, steps):
    """The latent and the computed calls of the host's own sampler node."""
    with subject.counting() as computed:
        latent = subject.sample(steps=steps)
    return latent, len(computed)


def test_sampler_node(pack, host, subject, sampler_node):
    cls = node_class(*sampler_node)
    given = defaults(cls)
    if "model" in inspect.signature(cls.execute).parameters:
        # Its levels are this model's.
        given["model"] = subject.model
    made = cls.execute(**given).result[0]
    cfg = CFG_OF_CFG_PP if "CFG" in cls.__name__ else 3.0
    held(pack, host, subject, lambda each, steps: run(each, made, steps, cfg))


@pytest.fixture(scope="module")
def frames(host):
    return video_subject(host, frames=FRAMES)


def test_context_windows(pack, host, frames, window_option):
    schedule, fuse = window_option
    held(pack, host, windowed(frames, context_schedule=schedule, fuse_method=fuse), batch)


def test_a_switch_of_context_windows(pack, host, frames, switch):
    held(pack, host, windowed(frames, context_schedule="standard_static", **{switch: SWITCHES[switch]}), batch)
