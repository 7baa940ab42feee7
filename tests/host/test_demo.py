"""The demo's report: what it says of runs and pictures whose figures are known."""

import json
import sys
from pathlib import Path

import numpy
import pytest
from PIL import Image

from demo import side_by_side
from setup.host import Host

SIDE, PICTURES, OFFSET = 32, 2, 10


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """The work of scripts/demo.py, writing elsewhere."""
    monkeypatch.setattr(side_by_side, "OUTPUT", tmp_path)
    return side_by_side


def ran(demo, seconds):
    """Rounds with these seconds, plain and with FRDiff."""
    report = {"steps": 20, "counts": {"full": 9, "partial": 0, "skip": 11}, "reason": None}
    thrice = {**report, "counts": {"full": 7, "partial": 0, "skip": 13}}
    return [
        {
            "plain": demo.Run(20, plain), "frdiff": demo.Run(20, ours, report), "fewer": demo.Run(9, plain * 0.45),
            "frdiff-3x": demo.Run(20, ours * 0.8, thrice), "fewer-3x": demo.Run(7, plain * 0.35),
        }
        for plain, ours in seconds
    ]  # fmt: skip


def save_pictures(folder, setting, prompts, offsets):
    """Plain pictures, and those of each run that are brighter by its offset of 255 everywhere."""
    generator = numpy.random.default_rng(1)
    for number in range(1, prompts + 1):
        for picture in range(1, PICTURES + 1):
            plain = generator.integers(0, 255 - OFFSET, (SIDE, SIDE, 3), dtype=numpy.uint8)
            for run, offset in {"plain": 0, **offsets}.items():
                path = folder / f"{setting}_{number}_{run}_{picture}.png"
                Image.fromarray(plain + numpy.uint8(offset)).save(path)


def test_the_reports_numbers_are_those_of_its_rounds_and_pictures(demo, tmp_path):
    seconds = [(4.0, 2.0), (5.0, 2.0), (6.0, 2.0), (4.0, 2.5), (4.0, 1.0), (9.0, 3.0), (4.4, 2.0), (3.0, 3.0)]
    assert len(seconds) == len(demo.prompts_of(demo.SETTINGS["unet"]))
    rounds = {"unet": ran(demo, seconds), "dit": ran(demo, [(2.0, 1.0)] * len(seconds))}
    offsets = {"frdiff": OFFSET, "fewer": 2 * OFFSET, "frdiff-3x": 3, "fewer-3x": 4}
    save_pictures(tmp_path, "unet", len(seconds), {**offsets, "fewer": 5})
    save_pictures(tmp_path, "dit", len(seconds), dict.fromkeys(offsets, 0))
    host = Host(Path(), Path(sys.executable), Path(), Path("tools"))
    report = demo.write_report(host, rounds)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert list(report) == ["unet", "dit"]
    unet, dit = report["unet"], report["dit"]
    setting = demo.SETTINGS["unet"]
    assert (unet["model"], unet["sampler"], unet["steps"], unet["cfg"]) == ("unet", "dpmpp_2m", setting.steps, 7.0)
    assert (unet["full"], unet["partial"], unet["skip"]) == (9, 0, 11)
    # Medians: of the ratios 2, 2.5, 3, 1.6, 4, 3, 2.2 and 1, not the ratio of the medians.
    assert (unet["seconds_plain"], unet["seconds_frdiff"], unet["speedup"]) == (4.2, 2.0, 2.35)
    assert [(pair["seconds_plain"], pair["seconds_frdiff"]) for pair in unet["pairs"]] == seconds
    assert [pair["speedup"] for pair in unet["pairs"]] == [plain / ours for plain, ours in seconds]
    runs = unet["runs"]
    assert list(runs) == ["plain", "frdiff", "fewer", "frdiff-3x", "fewer-3x"]
    for run, offset in (("frdiff", OFFSET), ("fewer", 5), ("frdiff-3x", 3), ("fewer-3x", 4)):
        assert runs[run]["psnr"] == pytest.approx(20 * numpy.log10(255 / offset), abs=0.01) and runs[run]["ssim"] < 1
    assert (unet["psnr"], unet["ssim"]) == (runs["frdiff"]["psnr"], runs["frdiff"]["ssim"])
    assert (runs["fewer-3x"]["steps"], runs["frdiff-3x"]["full"], runs["plain"]["psnr"]) == (7, 7, None)
    assert runs["frdiff-3x"]["speedup"] == pytest.approx(2.35 / 0.8, abs=0.01)
    assert (dit["psnr"], dit["ssim"], dit["speedup"]) == (100.0, 1.0, 2.0)
    with Image.open(tmp_path / "sheet.png") as sheet, Image.open(tmp_path / "readme.jpg") as part:
        # A row for each prompt and setting, a column for each run; the README's has fewer rows.
        assert sheet.height > 2 * len(demo.PROMPTS) * 200 and sheet.width == part.width > 5 * 200
        assert 2 * 200 < part.height < sheet.height / 2


def test_clips_are_compared_as_clips_and_laid_side_by_side(demo, tmp_path):
    prompts = demo.prompts_of(demo.SETTINGS["video"])
    assert len(prompts) == 2 * len(demo.CLIP_PROMPTS) and all(len(prompt.split()) >= 2 for prompt in prompts)
    # As bright in every frame: it is another picture, but nothing flickers.
    save_pictures(tmp_path, "video", len(prompts), {"frdiff": OFFSET, "fewer": 5, "frdiff-3x": 3, "fewer-3x": 4})
    host = Host(Path(), Path(sys.executable), Path(), Path("tools"))
    report = demo.write_report(host, {"video": ran(demo, [(2.0, 1.0)] * len(prompts))})
    runs = report["video"]["runs"]
    assert runs["frdiff"]["flicker"] == 0 and runs["frdiff"]["psnr"] == pytest.approx(28.13, abs=0.01)
    assert "flicker" in demo.table(report).splitlines()[1]
    for number in range(1, len(prompts) + 1):
        with Image.open(tmp_path / f"video_{number}.webp") as clip:
            assert clip.n_frames == PICTURES and clip.width > 5 * 200


def test_a_rival_computes_as_much_and_runs_are_at_usual_settings(demo, monkeypatch):
    """The rounds, with ComfyUI's answers made up: what is asked of it is what counts."""
    asked = []

    class Client:
        def run(self, graph):
            asked.append(graph["sampler"])
            inputs = graph["sampler"]["inputs"]
            report = {"counts": {"full": 8 if inputs.get("speedup") == 3 else 11, "partial": 1, "skip": 8}}
            return {"outputs": {"report": {"text": ["", json.dumps(report)]}}}

    monkeypatch.setattr(demo, "prompt_seconds", lambda entry: 1.0)
    demo._round(Client(), demo.SETTINGS["unet-20"], "a prompt", 3)
    settings = {(one["inputs"]["sampler_name"], one["inputs"]["scheduler"], one["inputs"]["cfg"]) for one in asked}
    assert settings == {("dpmpp_2m", "karras", 8.0)} and {one["inputs"]["seed"] for one in asked} == {3}
    runs = [(one["class_type"], one["inputs"]["steps"], one["inputs"].get("speedup")) for one in asked[1:]]
    plain, fast = "KSampler", "FRDiffKSampler"
    assert runs == [(plain, 20, None), (fast, 20, 2.0), (plain, 12, None), (fast, 20, 3.0), (plain, 9, None)]
    usual = {(one.sampler, one.scheduler, one.steps) for one in demo.SETTINGS.values()}
    assert usual == {("dpmpp_2m", "karras", 20), ("dpmpp_2m", "karras", 28), ("euler", "simple", 20)}
    graph = demo.filled("frdiff", demo.SETTINGS["video"], "rocket slide", 5, speedup=3.0)
    shift, sampler = graph["shift"], graph["sampler"]["inputs"]
    assert shift["class_type"] == "ModelSamplingSD3" and sampler["model"] == ["shift", 0]
    assert (sampler["speedup"], graph["model"]["inputs"]["model"]) == (3.0, "video")


def test_the_table_shows_each_run_and_what_went_wrong(demo):
    row = {**dict.fromkeys(demo.COLUMNS[2:], 1.234), "steps": 20, "psnr": None}
    entry = {"runs": {"plain": row, "frdiff": row}, "reason": "Nothing was skipped."}
    lines = demo.table({"unet": entry, "dit": {**entry, "reason": None}}).splitlines()
    first = [line.split()[0] for line in lines if line]
    assert first == ["setting", "unet", "unet", "dit", "dit", "unet:"]
    assert "1.23" in lines[2] and "unet: Nothing was skipped." in lines
