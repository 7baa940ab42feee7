"""Auto-FR in a real ComfyUI: calibrate, save, find, use, refuse, cancel, go on."""

import copy
import json
import os

import pytest
import torch
from tiny_host import Counting

from setup import ROOT
from setup.in_process import pack_module

STEPS = 8
PROMPTS = "red apple, 3d\nrocket, google"


@pytest.fixture
def folder(host, tmp_path, monkeypatch):
    """An empty models/frdiff."""
    import folder_paths

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "frdiff", ([str(tmp_path)], {".safetensors"}))
    return tmp_path


@pytest.fixture
def small(host, monkeypatch):
    """An effort of two pictures."""
    efforts = pack_module(host, "frdiff.auto_fr.calibrate")
    monkeypatch.setitem(efforts.EFFORTS, "normal", efforts.Effort(2, (1.5, 2.0, 3.0), (2.0,)))


def calibrate(host, demo, effort="quick", sampler="euler", name="mine", speedup=2.0, steps=STEPS, **more):
    latent = more.pop("latent", {"samples": torch.zeros(1, 4, 16, 16)})
    return host.NODE_CLASS_MAPPINGS["FRDiffAutoFR"].execute(
        demo.model, demo.positive, demo.negative, latent, 5, steps, 3.0, sampler, "normal", effort, name, speedup,
        **more,
    )  # fmt: skip


def load(host, file, speedup=2.0, **more):
    return host.NODE_CLASS_MAPPINGS["FRDiffScheduleLoader"].execute(file, speedup, **more).result[0]


def test_calibrate_save_load_and_use(host, demo, folder):
    before = demo.sample(steps=STEPS)
    attributes = [set(module.__dict__) for module in demo.model.model.diffusion_model.modules()]
    output = calibrate(host, demo, steps=20)
    assert output.ui["text"][0].startswith("mine: ") and "dB of the latent" in output.ui["text"][0]
    assert [path.name for path in folder.iterdir()] == ["mine.safetensors"]
    schedule = load(host, "mine.safetensors")
    assert schedule == output.result[0]
    latent, report = demo.frdiff(steps=20, schedule=schedule)
    assert report.counts["full"] == 10 and torch.equal(latent["samples"], demo.frdiff(steps=20)[0]["samples"])
    assert torch.equal(before, demo.sample(steps=STEPS))
    assert attributes == [set(module.__dict__) for module in demo.model.model.diffusion_model.modules()]


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun", "dpmpp_sde", "euler_ancestral", "uni_pc", "lcm"])
def test_what_is_said_of_any_sampler_is_what_its_runs_have(host, demo, folder, sampler):
    """Also of those that evaluate several times for a step, and of those that add noise."""
    output = calibrate(host, demo, sampler=sampler, steps=12, vae=demo.vae, by="error: decibels", decibels=0.0)
    schedule = output.result[0]
    point = next(p for p in schedule.file.points if p.speedup == schedule.speedup)
    plain = demo.sample(steps=12, sampler=sampler, seed=5)
    latent, report = demo.frdiff(steps=12, sampler=sampler, seed=5, schedule=schedule)
    metrics = pack_module(host, "frdiff.reporting.metrics")
    found = metrics.psnr(demo.vae.decode(plain), demo.vae.decode(latent["samples"]))
    assert point.levels == (pytest.approx(found, abs=0.01),)
    assert point.cost == report.counts["full"] / sum(report.counts.values())
    assert f"{point.reached:.1f}x, {found:.0f} dB on one of your pictures" in output.ui["text"][0]


def test_a_file_is_named_by_the_model_and_the_setting_and_never_written_over(host, demo, folder):
    calibrate(host, demo, name="auto")
    calibrate(host, demo, sampler="dpmpp_2m", name="auto")
    calibrate(host, demo, sampler="dpmpp_2m", name="auto", latent={"samples": torch.zeros(1, 4, 16, 24)})
    mine = type(demo.model.model.diffusion_model).__name__
    assert sorted(path.stem for path in folder.iterdir()) == [
        f"{mine} dpmpp_2m normal 8 cfg 3", f"{mine} dpmpp_2m normal 8 cfg 3 2", f"{mine} euler normal 8 cfg 3"
    ]  # fmt: skip


def test_only_what_changes_the_measurement_calibrates_again(host, demo, folder):
    calibrate(host, demo)
    again = copy.copy(demo)
    # The same prompt encoded anew, the same model behind another node, another dial.
    again.positive, again.model = demo.encode("grinning face, 3d"), demo.model.clone()
    with Counting([demo.model.model.diffusion_model]) as counting:
        calibrate(host, again, speedup=3.0, by="error: close")
        assert len(list(folder.iterdir())) == 1
        # What is known is found under a new name, too.
        calibrate(host, again, name="other")
    assert counting.counts == [0] and (folder / "other.safetensors").is_file()
    again.positive = demo.encode("red apple, 3d")
    calibrate(host, again)
    scale = 2.0
    again.model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * (scale / 2.0))
    calibrate(host, again)
    assert len(list(folder.iterdir())) == 4
    scale = 2.1
    calibrate(host, again)
    assert len(list(folder.iterdir())) == 5


def test_prompts_take_turns_and_text_needs_a_clip(host, demo, folder, small):
    file = calibrate(host, demo, "normal", positive_2=demo.encode("dog face, 3d"), clip=demo.clip, prompts=PROMPTS)
    request = pack_module(host, "nodes.calibration_request").Request
    asked = request(*[None] * 5, 8, 3.0, "", "", "normal", "", 2.0, clip=demo.clip, prompts=PROMPTS + "\n \n")
    assert len(asked.all_prompts) == 2 and file.result[0].file.pictures == 2
    with pytest.raises(ValueError, match="connect `clip`"):
        calibrate(host, demo, prompts=PROMPTS)


def test_every_picture_of_a_batch_counts(host, demo, folder):
    file = calibrate(host, demo, latent={"samples": torch.zeros(3, 4, 16, 16)}).result[0].file
    assert file.pictures == 3 and file.done == 1 and len(set(file.points[-1].levels)) == 3


def test_other_steps_and_samplers_are_noted_in_the_report(host, demo, folder):
    calibrate(host, demo)
    schedule = load(host, "mine.safetensors")
    noisy = {"steps": 8, "sampler": "euler_ancestral"}
    for settings, says in (({"steps": 12}, "this run has 12"), (noisy, "this one adds noise")):
        _, report = demo.frdiff(**settings, schedule=schedule)
        assert any(says in reason.sentence for reason in report.reasons)


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


def used_by(host, monkeypatch, **inputs):
    """The loader as node 7 of a prompt in which a sampler with these inputs takes its schedule."""
    loader = host.NODE_CLASS_MAPPINGS["FRDiffScheduleLoader"]
    prompt = {"7": {"inputs": {}}, "8": {"inputs": {"schedule": ["7", 0], **inputs}}}
    hidden = type("Hidden", (), {"unique_id": "7", "prompt": prompt, "extra_pnginfo": None})
    monkeypatch.setattr(loader, "hidden", hidden, raising=False)


def test_auto_finds_the_newest_file_of_the_model_and_the_sampler(host, demo, folder, monkeypatch):
    other = type(demo)(host, "dit" if type(demo.model.model.diffusion_model).__name__ == "UNetModel" else "unet")
    for age, (model, sampler) in enumerate([(other, "euler"), (demo, "dpmpp_2m"), (demo, "euler"), (demo, "euler")]):
        calibrate(host, model, sampler=sampler, name=f"file {age}", steps=8 + age % 2)
        os.utime(folder / f"file {age}.safetensors", (1e9 + age, 1e9 + age))
    (folder / "broken.safetensors").write_bytes(b"broken")
    for sampler, found in (("euler", "file 3"), ("dpmpp_2m", "file 1")):
        used_by(host, monkeypatch, sampler_name=sampler)
        assert load(host, "auto", model=demo.model).file.name == found
    used_by(host, monkeypatch, sampler_name=["12", 0])
    assert load(host, "auto", model=demo.model).file.name == "file 3"
    used_by(host, monkeypatch, sampler_name="euler")
    assert load(host, "auto", model=other.model).file.name == "file 0"
    used_by(host, monkeypatch, sampler_name="lms")
    output = host.NODE_CLASS_MAPPINGS["FRDiffScheduleLoader"].execute("auto", 2.0, by="error: close", model=demo.model)
    assert "the uncalibrated dial is used at 2x" in output.ui["text"][0]
    latent, report = demo.frdiff(steps=12, schedule=output.result[0])
    assert torch.equal(latent["samples"], demo.frdiff(steps=12)[0]["samples"])
    assert any("No schedule file fits" in reason.sentence for reason in report.reasons)
    with pytest.raises(ValueError, match="connect the model"):
        load(host, "auto")


@pytest.mark.parametrize(("share", "files"), [(0.1, 0), (0.6, 1), (0.95, 1)])
def test_cancelled_it_leaves_what_is_known_and_goes_on(host, demo, folder, small, share, files, monkeypatch):
    import comfy.model_management as management
    import comfy.utils

    with monkeypatch.context() as patch:
        def update(bar, value, *args):
            if value >= 1000 * share:
                raise management.InterruptProcessingException()

        patch.setattr(comfy.utils.ProgressBar, "update_absolute", update)
        with pytest.raises(management.InterruptProcessingException):
            calibrate(host, demo, effort="normal")
    assert len(list(folder.iterdir())) == files
    for path in folder.iterdir():
        assert any("stopped early" in note for note in load(host, path.name).file.notes)
    assert "frdiff" not in demo.model.model_options.get("transformer_options", {}).get("wrappers", {})
    seen = []
    hook = demo.model.model.diffusion_model.register_forward_pre_hook(lambda *_: seen.append(1))
    try:
        gone_on = calibrate(host, demo, effort="normal").result[0].file
        left = len(seen)
        assert not gone_on.notes and gone_on.done == 2 and [p.name for p in folder.iterdir()] == ["mine.safetensors"]
        (folder / "mine.safetensors").unlink()
        seen.clear()
        assert calibrate(host, demo, effort="normal").result[0].file.points == gone_on.points
        assert left < 0.6 * len(seen) if files else left == len(seen)
    finally:
        hook.remove()


def test_while_it_runs_it_says_how_long_it_will_and_shows_a_picture(host, demo, monkeypatch):
    import comfy.utils
    import latent_preview

    run = pack_module(host, "nodes.calibration_run")
    now, said, bars = [0.0], [], []
    monkeypatch.setattr(comfy.utils.ProgressBar, "update_absolute", lambda bar, *values: bars.append(values))
    previewer = type("Previewer", (), {"decode_latent_to_preview_image": lambda self, kind, x0: (kind, x0)})()
    monkeypatch.setattr(latent_preview, "get_previewer", lambda *_: previewer)
    pace = run.Pace(demo.model, 50, said.append, lambda: now[0])
    pace.begin(0.0, 0.02, "picture 1 of 12, plain")
    assert said == ["picture 1 of 12, plain: 50 ordinary runs in all"]
    for step in (1, 2):
        now[0] += 6.0
        pace.tick(step, 20, torch.zeros(1))
    # Two steps of 20 x 50 took so long that the others take 100 minutes.
    assert said[-1] == "picture 1 of 12, plain: about 100 min left, 50 ordinary runs in all"
    assert bars[-1][:2] == (2, 1000) and bars[-1][2][0] == "JPEG"
    pace.begin(0.5, 0.02, "half")
    now[0] += 1.0
    pace.tick(20, 20, torch.zeros(1))
    assert "half: about 6 s left" in said[-1]


def test_another_cache_is_refused(host, demo, folder):
    easy = host.NODE_CLASS_MAPPINGS["EasyCache"].execute(demo.model, 0.2, 0.15, 0.95, False).result[0]
    other = copy.copy(demo)
    other.model = easy
    with pytest.raises(ValueError, match="remove EasyCache or LazyCache"):
        calibrate(host, other)


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.json")), ids=lambda path: path.stem)
def test_a_shared_workflow_needs_no_file_that_its_model_refuses(path, host):
    """The pack ships no schedule files: what a loader names has to be found for the model that samples."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    links = {link[0]: link for link in workflow["links"]}
    inputs = {node["id"]: {i["name"]: i.get("link") for i in node.get("inputs", [])} for node in workflow["nodes"]}
    assert not (ROOT / "schedules").exists()
    for node in workflow["nodes"]:
        if node["type"] != "FRDiffScheduleLoader":
            continue
        assert node["widgets_values"][0] == "auto"
        model = links[inputs[node["id"]]["model"]]
        (taker,) = [link[3] for link in workflow["links"] if link[1] == node["id"]]
        assert links[inputs[taker]["model"]][1:3] == model[1:3]


def test_a_loader_that_finds_nothing_runs(host, demo, folder, monkeypatch):
    """As in the shared workflow, before anything was calibrated."""
    used_by(host, monkeypatch, sampler_name="dpmpp_2m")
    schedule = load(host, "auto", model=demo.model)
    assert demo.frdiff(steps=20, sampler="dpmpp_2m", schedule=schedule)[1].counts["full"] == 10


