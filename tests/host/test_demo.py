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
    """Pairs with these seconds, plain and with FRDiff."""
    report = {"steps": 20, "counts": {"full": 9, "skip": 11}, "reason": None}
    return [demo.Pair(plain, ours, report) for plain, ours in seconds]


def save_pictures(folder, model, prompts, offset):
    """Plain pictures, and FRDiff's that are brighter by `offset` of 255 everywhere."""
    generator = numpy.random.default_rng(1)
    for number in range(1, prompts + 1):
        for picture in range(1, PICTURES + 1):
            plain = generator.integers(0, 255 - OFFSET, (SIDE, SIDE, 3), dtype=numpy.uint8)
            for kind, pixels in (("plain", plain), ("frdiff", plain + numpy.uint8(offset))):
                Image.fromarray(pixels).save(folder / f"{model}_{number}_{kind}_{picture}.png")


def test_the_reports_numbers_are_those_of_its_pairs_and_pictures(demo, tmp_path):
    seconds = [(4.0, 2.0), (5.0, 2.0), (6.0, 2.0), (4.0, 2.5), (4.0, 1.0), (9.0, 3.0), (4.4, 2.0), (3.0, 3.0)]
    assert len(seconds) == len(demo.RUNS)
    pairs = {"unet": ran(demo, seconds), "dit": ran(demo, [(2.0, 1.0)] * len(seconds))}
    save_pictures(tmp_path, "unet", len(seconds), OFFSET)
    save_pictures(tmp_path, "dit", len(seconds), 0)
    host = Host(Path(), Path(sys.executable), Path(), Path("tools"))
    report = demo.write_report(host, pairs)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert list(report) == ["unet", "dit"]
    unet, dit = report["unet"], report["dit"]
    assert set(unet) == set(dit) == {*demo.COLUMNS, "prompts", "pairs", "reason"} - {"model"}
    assert (unet["steps"], unet["full"], unet["partial"], unet["skip"]) == (20, 9, 0, 11)
    # Medians: of the ratios 2, 2.5, 3, 1.6, 4, 3, 2.2 and 1, not the ratio of the medians.
    assert (unet["seconds_plain"], unet["seconds_frdiff"], unet["speedup"]) == (4.2, 2.0, 2.35)
    assert [(pair["seconds_plain"], pair["seconds_frdiff"]) for pair in unet["pairs"]] == seconds
    assert [pair["speedup"] for pair in unet["pairs"]] == [plain / ours for plain, ours in seconds]
    assert unet["psnr"] == pytest.approx(20 * numpy.log10(255 / OFFSET), abs=0.01) and unet["ssim"] < 1
    assert (dit["psnr"], dit["ssim"], dit["speedup"]) == (100.0, 1.0, 2.0)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height > 2 * len(demo.PROMPTS) * SIDE


def test_the_table_shows_each_model_and_what_went_wrong(demo):
    entry = {**dict.fromkeys(demo.COLUMNS, 1.234), "steps": 20, "reason": "Nothing was skipped."}
    lines = demo.table({"unet": entry, "dit": {**entry, "reason": None}}).splitlines()
    assert [line.split()[0] for line in lines if line] == ["model", "unet", "dit", "unet:"]
    assert "1.23" in lines[2] and "unet: Nothing was skipped." in lines
