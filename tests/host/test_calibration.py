"""Auto-FR in a real ComfyUI: calibrate, save, load, use, refuse, cancel."""

import copy
import gc
import sys
import weakref

import pytest
import torch

STEPS = 8


@pytest.fixture
def folder(host, tmp_path, monkeypatch):
    """An empty models/frdiff, and nothing calibrated before."""
    import folder_paths

    monkeypatch.setattr(node_module(host), "_LAST", {})
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "frdiff", ([str(tmp_path)], {".safetensors"}))
    return tmp_path


def node_module(host):
    return sys.modules[host.NODE_CLASS_MAPPINGS["FRDiffAutoFR"].__module__]


def calibrate(host, demo, effort="quick", sampler="euler", name="mine", speedup=2.0, **more):
    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    return host.NODE_CLASS_MAPPINGS["FRDiffAutoFR"].execute(
        demo.model, demo.positive, demo.negative, latent, 5, STEPS, 3.0, sampler, "normal", effort, name, speedup,
        **more,
    )  # fmt: skip


def load(host, file, speedup=2.0):
    return host.NODE_CLASS_MAPPINGS["FRDiffScheduleLoader"].execute(file, speedup).result[0]


def test_calibrate_save_load_and_use(host, demo, folder):
    before = demo.sample(steps=STEPS)
    attributes = [set(module.__dict__) for module in demo.model.model.diffusion_model.modules()]
    output = calibrate(host, demo)
    assert output.ui["text"][0].startswith("mine: ")
    assert [path.name for path in folder.iterdir()] == ["mine.safetensors"]
    schedule = load(host, "mine.safetensors")
    assert schedule == output.result[0]
    latent, report = demo.frdiff(steps=STEPS, schedule=schedule)
    assert report.counts["full"] < STEPS and torch.isfinite(latent["samples"]).all()
    assert torch.equal(before, demo.sample(steps=STEPS))
    assert attributes == [set(module.__dict__) for module in demo.model.model.diffusion_model.modules()]


def test_a_file_is_never_written_over(host, demo, folder):
    calibrate(host, demo)
    calibrate(host, demo, sampler="dpmpp_2m")
    assert sorted(path.name for path in folder.iterdir()) == ["mine 2.safetensors", "mine.safetensors"]


def test_a_node_that_has_calibrated_does_not_keep_its_prompts(host, demo, folder, monkeypatch):
    module = node_module(host)
    prompts = [demo.encode("red apple, 3d"), demo.encode("rocket, 3d")]
    latent = torch.zeros(1, 4, 16, 16)
    gone = [weakref.ref(tensor) for tensor in (latent, *(prompt[0][0] for prompt in prompts))]
    made = host.NODE_CLASS_MAPPINGS["FRDiffAutoFR"].execute(
        demo.model, *prompts, {"samples": latent}, 5, STEPS, 3.0, "euler", "normal", "quick", "mine", 2.0
    )
    assert module._LAST
    del prompts, latent, made
    gc.collect()
    assert [reference() for reference in gone] == [None] * 3


def test_the_dial_does_not_calibrate_again_and_other_inputs_do(host, demo, folder, monkeypatch):
    calibrate(host, demo)
    calibrate(host, demo, speedup=3.0)
    # The same prompt, encoded anew.
    again = copy.copy(demo)
    again.positive = demo.encode("grinning face, 3d")
    calibrate(host, again)
    assert len(list(folder.iterdir())) == 1
    again.positive = demo.encode("red apple, 3d")
    calibrate(host, again)
    again.model = demo.model.clone()
    calibrate(host, again)
    assert len(list(folder.iterdir())) == 3


def test_more_prompts_and_a_sampler_that_adds_noise(host, demo, folder):
    calibrate(host, demo, sampler="euler_ancestral", positive_2=demo.encode("red apple, 3d"), positive_3=None)
    schedule = load(host, "mine.safetensors")
    assert schedule.file.stochastic and schedule.file.provenance.stages > 0
    _, report = demo.frdiff(steps=STEPS, sampler="euler_ancestral", schedule=schedule)
    assert report.stochastic and report.counts["full"] < STEPS


def test_other_steps_are_noted_in_the_report(host, demo, folder):
    calibrate(host, demo)
    _, report = demo.frdiff(steps=12, schedule=load(host, "mine.safetensors"))
    assert any("carried over" in reason.sentence or "uncalibrated" in reason.sentence for reason in report.reasons)


def test_a_file_for_another_network_is_refused(host, demo, folder):
    calibrate(host, demo)
    mine = type(demo.model.model.diffusion_model).__name__
    other = type(demo)(host, "dit" if mine == "UNetModel" else "unet")
    with pytest.raises(ValueError, match=f"calibrated for a network of class {mine}"):
        other.frdiff(steps=STEPS, schedule=load(host, "mine.safetensors"))


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "shipped: ../../x"])
def test_names_that_lead_elsewhere_are_refused(host, folder, name):
    with pytest.raises(ValueError, match="cannot be used"):
        load(host, name)


@pytest.mark.parametrize(("percent", "files"), [(10, 0), (40, 0), (65, 1), (95, 1)])
def test_cancelled_it_leaves_what_is_known(host, demo, folder, percent, files, monkeypatch):
    import comfy.model_management as management
    import comfy.utils

    def update(bar, value, *args):
        if value >= percent:
            raise management.InterruptProcessingException()

    monkeypatch.setattr(comfy.utils.ProgressBar, "update_absolute", update)
    with pytest.raises(management.InterruptProcessingException):
        calibrate(host, demo, effort="normal")
    assert len(list(folder.iterdir())) == files
    for path in folder.iterdir():
        assert any("stopped early" in note for note in load(host, path.name).file.notes)
    assert "frdiff" not in demo.model.model_options.get("transformer_options", {}).get("wrappers", {})


def test_the_shipped_files_are_for_the_demo_models(host, demo):
    names = host.NODE_CLASS_MAPPINGS["FRDiffScheduleLoader"].define_schema().inputs[0].options
    shipped = [name for name in names if name.startswith("shipped: ")]
    assert len(shipped) == 4
    fitting = 0
    for name in shipped:
        schedule = load(host, name)
        made = schedule.file.steps
        try:
            _, report = demo.frdiff(steps=made, schedule=schedule)
        except ValueError as error:
            assert "calibrated for a network" in str(error)
        else:
            assert not any("other weights" in reason.sentence for reason in report.reasons)
            assert report.counts["full"] == pytest.approx(made / 2, abs=1)
            fitting += 1
    assert fitting == 2
