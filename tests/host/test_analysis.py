"""The analysis nodes on real runs, and their figures against other implementations."""

import importlib
import json
import math
import random
import re
import types

import kornia
import pytest
import torch


def node(host, name):
    return host.NODE_CLASS_MAPPINGS[name]


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(3)
    a = torch.rand(2, 24, 40, 3, generator=generator)
    return a, (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(0, 1)


def test_figures_are_those_of_kornia(host, pictures):
    a, b = pictures
    psnr, ssim, error, shown, text = node(host, "FRDiffCompare").execute(image_a=a, image_b=b).result
    first, second = (image.movedim(-1, 1) for image in pictures)
    assert ssim == pytest.approx(kornia.metrics.ssim(first, second, window_size=11).mean().item(), abs=2e-3)
    each = [kornia.metrics.psnr(one[None], other[None], 1.0).item() for one, other in zip(first, second, strict=True)]
    assert psnr == pytest.approx(sum(each) / 2, rel=1e-4)
    assert math.isnan(error) and "latent" not in text and f"{psnr:.2f}" in text
    assert shown.shape == (2, 24, 40, 3)
    assert torch.allclose(shown[..., 0], ((a - b).abs().mean(-1) * 4).clamp(max=1))


@pytest.mark.parametrize("shape", [(1, 4, 16, 16), (1, 16, 3, 8, 8), (2, 4, 1, 1), (1, 64, 100)])
def test_latents_of_any_kind_compare(host, shape):
    a = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    result = node(host, "FRDiffCompare").execute(latent_a={"samples": a}, latent_b={"samples": a * 1.25}).result
    assert result[2] == pytest.approx(0.25, rel=1e-4)
    assert math.isnan(result[0]) and result[3].ndim == 4 and result[3].shape[-1] == 3


def test_equal_is_equal(host, pictures):
    a, _ = pictures
    psnr, ssim, error, shown, _ = node(host, "FRDiffCompare").execute(
        image_a=a, image_b=a, latent_a={"samples": a}, latent_b={"samples": a}
    ).result
    assert (psnr, error) == (100.0, 0.0) and ssim == pytest.approx(1, abs=1e-5) and not shown.any()
    tiny = a[:, :2, :1]
    assert node(host, "FRDiffCompare").execute(image_a=tiny, image_b=tiny).result[1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"image_a": torch.zeros(1, 8, 8, 3)},
        {"image_a": torch.zeros(1, 8, 8, 3), "image_b": torch.zeros(1, 8, 9, 3)},
    ],
)
def test_what_cannot_be_compared_is_said(host, inputs):
    with pytest.raises(ValueError, match=r"\.$"):
        node(host, "FRDiffCompare").execute(**inputs)


IMAGE, LATENT = (2, 8, 8, 3), (2, 4, 8, 8)


@pytest.mark.parametrize("kind", ["image", "latent"])
@pytest.mark.parametrize("sizes", [(0, 0), (0, 2), (2, 0)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_is_empty_is_said(host, kind, sizes, axis):
    shape = IMAGE if kind == "image" else LATENT
    a, b = (torch.zeros(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes)
    given = (a, b) if kind == "image" else ({"samples": a}, {"samples": b})
    with pytest.raises(ValueError, match=r"(image_[ab] is empty|an empty latent), of shape .*\. Connect .*\.$"):
        node(host, "FRDiffCompare").execute(**{f"{kind}_a": given[0], f"{kind}_b": given[1]})


@pytest.mark.parametrize("kind", ["image", "latent"])
def test_batches_of_different_sizes_are_said(host, kind):
    a, b = (torch.zeros(size, *(IMAGE if kind == "image" else LATENT)[1:]) for size in (1, 3))
    given = (a, b) if kind == "image" else ({"samples": a}, {"samples": b})
    with pytest.raises(ValueError, match=rf"{kind}_a is a batch of 1 and {kind}_b one of 3.*same size\.$"):
        node(host, "FRDiffCompare").execute(**{f"{kind}_a": given[0], f"{kind}_b": given[1]})


def test_a_sweep_of_nothing_is_a_sentence_before_anything_runs(host):
    nothing = types.SimpleNamespace(model=None, positive=None, negative=None, vae=None)
    with pytest.raises(ValueError, match=r"FRDiff Sweep got an empty latent"):
        sweep(host, nothing, presets="", latent=torch.zeros(0, 4, 16, 16))


def test_the_report_draws_its_steps(demo, host):
    _, report = demo.frdiff(steps=20)
    text, data, plot = node(host, "FRDiffReport").execute(report).result
    assert json.loads(data)["counts"] == report.counts
    assert plot.shape[0] == 1 and plot.shape[-1] == 3 and 0 <= plot.min() < plot.max() <= 1
    _, off = demo.frdiff(steps=2, speedup=1.0)
    assert node(host, "FRDiffReport").execute(off).result[2].shape == plot.shape
    # Right above the axis the columns of full steps are dark, those of skipped ones are not, however long they took.
    row = plot[0, 254, 52:704].mean(-1)
    width = len(row) / 20
    centres = [row[int((i + 0.5) * width)] < 0.5 for i in range(20)]
    assert centres == [record.kind == "full" for record in report.records]


@pytest.fixture
def written(pack, monkeypatch):
    """The drawing module, and all that it writes into pictures."""
    drawing = importlib.import_module(f"{pack.__name__}.nodes.panel.drawing")
    texts = []
    text = drawing.ImageDraw.ImageDraw.text

    def noted(draw, at, words, *rest, **options):
        texts.append(words)
        return text(draw, at, words, *rest, **options)

    monkeypatch.setattr(drawing.ImageDraw.ImageDraw, "text", noted)
    return drawing, texts


@pytest.mark.parametrize("ms", [0.0, 1e-7, 0.004, 37.2, 999.0, 1600.0, 83456.0, 7.2e6])
@pytest.mark.parametrize("error", [0.0, 1e-12, 0.0123, 4.0, 1e4])
def test_plots_are_written_in_numbers_that_people_read(written, engine, ms, error):
    drawing, texts = written
    cell = engine("reporting.step_map").Cell
    cells = [cell(step, 1.0, "full", "full", 1, ms, error) for step in range(3)]
    drawing.step_plot(cells, "title")
    unit = "s" if ms > 1000 else "ms"
    assert unit in texts and {"s", "ms"} & set(texts) == {unit}
    # The axis: five numbers from zero to what is not much above the steps.
    axis = [float(words) for words in texts[1:6]]
    assert axis[0] == 0 and ms <= axis[-1] * (1000 if unit == "s" else 1) * 1.001
    drawing.speed_error_plot([drawing.Point("plain", 1.0, 0.0, "dial"), drawing.Point("2x", 2.0, error, "dial")])
    assert not [words for words in texts if re.search(r"\d[eE][+-]?\d", words) or len(words) > 7 and words[0].isdigit()]


def test_long_steps_are_told_in_seconds(engine):
    duration = engine("reporting.report").duration
    assert [duration(ms) for ms in (0.04, 45.25, 999.9, 1600.0)] == ["0.0 ms", "45.2 ms", "999.9 ms", "1.60 s"]


def sweep(host, demo, **inputs):
    rest = {"dials": "2, 3", "presets": "paper M=2", "repeats": 1, "steps": 12, **inputs}
    latent = {"samples": rest.get("latent", torch.zeros(1, 4, 16, 16))}
    with torch.inference_mode():
        return node(host, "FRDiffSweep").execute(
            demo.model, 1, rest["steps"], 3.0, rest.get("sampler", "euler"), "normal", demo.positive, demo.negative,
            latent, 1.0, demo.vae, rest["dials"], rest["presets"], rest["repeats"], rest.get("schedule"),
        )  # fmt: skip


COLUMNS = ["run", "steps", "full", "partial", "skip", "seconds", "speedup", "latent_error", "psnr", "ssim"]


def test_a_sweep_has_the_plain_run_and_those_of_equal_cost(host, demo):
    output = sweep(host, demo)
    grid, plot, table, data = output.result
    rows = json.loads(data)
    names = [row["run"] for row in rows]
    assert names[0] == "plain" and {"dial 2", "dial 3", "paper M=2"} <= set(names)
    plain = rows[0]
    assert (plain["latent_error"], plain["psnr"], plain["speedup"], plain["full"]) == (0, 100, 1, 12)
    fewer = {row["steps"]: row for row in rows if row["run"].startswith("plain, ")}
    needed = set()
    for row in rows[1:]:
        assert row["latent_error"] > 0 and row["seconds"] > 0
        assert row["full"] + row["partial"] + row["skip"] == row["steps"]
        assert row["computed"] == pytest.approx(row["full"] + 0.31 * row["partial"])
        assert row["speedup"] <= 12 / row["full"]
        if row["steps"] == 12:
            needed.add(math.ceil(row["computed"]))
    assert set(fewer) == needed and 6 in needed
    assert all(name in table for name in names)
    # What reads them by name or by place finds them where they were.
    assert list(rows[0])[: len(COLUMNS)] == COLUMNS == table.splitlines()[0].split()[: len(COLUMNS)]
    assert grid.shape[-1] == plot.shape[-1] == 3
    assert len(output.ui["images"]) == 2 and output.ui["text"] == [table]


def test_a_rival_is_no_matter_of_the_clock(host, demo, pack, monkeypatch):
    """With times at random: the same runs, and no speed-up above what the counts allow."""
    runs = importlib.import_module(f"{pack.__name__}.nodes.sweep_runs")
    rng = random.Random(5)
    now = [0.0]

    def clock():
        now[0] += rng.choice([0.01, 0.1, 1.0, 30.0])
        return now[0]

    named = set()
    for _ in range(3):
        monkeypatch.setattr(runs, "time", types.SimpleNamespace(perf_counter=clock))
        output = sweep(host, demo, dials="1.5, 2", presets="", repeats=3)
        rows = json.loads(output.result[3])
        named.add(tuple((row["run"], row["steps"]) for row in rows))
        assert all(row["speedup"] <= 12 / row["full"] for row in rows)
        assert all(row["seconds_least"] <= row["seconds"] <= row["seconds_most"] for row in rows)
    assert named == {(("plain", 12), ("dial 1.5", 12), ("plain, 8 steps", 8), ("dial 2", 12), ("plain, 6 steps", 6))}


def test_evaluations_are_counted_where_a_step_has_two(host, demo):
    rows = json.loads(sweep(host, demo, dials="2", presets="", sampler="heun").result[3])
    plain, fast, fewer = rows
    assert plain["full"] == plain["computed"] == 23 and fast["full"] + fast["skip"] == 23
    # As much as the dial's or the part of a step more.
    assert fewer["full"] == 2 * fewer["steps"] - 1 and fast["full"] <= fewer["full"] <= fast["full"] + 2
    assert fewer["speedup"] <= 23 / fewer["full"]


def test_without_repeats_there_is_no_spread(host, demo, written):
    _, texts = written
    rows = json.loads(sweep(host, demo, dials="2", presets="").result[3])
    assert all(row["seconds_least"] is None is row["seconds_most"] for row in rows)
    assert not any(" to " in words for words in texts)


def test_a_run_that_skips_nothing_has_no_rival(host, demo):
    rows = json.loads(sweep(host, demo, dials="", presets="every step computed", steps=6).result[3])
    assert [row["run"] for row in rows] == ["plain", "every step computed"]


def test_where_another_cache_decides_nothing_is_counted_or_cut(host, demo):
    from comfy_extras.nodes_easycache import EasyCacheNode

    cached = EasyCacheNode.execute(demo.model, 0.5, 0.15, 0.95, False).result[0]
    subject = types.SimpleNamespace(**{**vars(demo), "model": cached})
    rows = json.loads(sweep(host, subject, dials="2", presets="", steps=12).result[3])
    # The run is left to the other cache, and the plain one is another cache's, too.
    assert [row["run"] for row in rows] == ["plain", "dial 2"]
    assert rows[1]["latent_error"] == 0 and [row["computed"] for row in rows] == [None, None]
    assert rows[1]["speedup"] == pytest.approx(rows[0]["seconds"] / rows[1]["seconds"])


def test_the_rows_are_those_of_the_sampler(host, demo):
    rows = {row["run"]: row for row in json.loads(sweep(host, demo, dials="2", presets="").result[3])}
    plain, fast = demo.sample(steps=12), demo.frdiff(steps=12)[0]["samples"]
    assert rows["dial 2"]["latent_error"] == pytest.approx(((fast - plain).norm() / plain.norm()).item(), rel=1e-4)


@pytest.mark.parametrize("inputs", [{"dials": "", "presets": ""}, {"dials": "two"}, {"dials": "0.5"}, {"presets": "x"}])
def test_a_wrong_sweep_is_a_sentence_before_anything_runs(host, inputs):
    nothing = types.SimpleNamespace(model=None, positive=None, negative=None, vae=None)
    with pytest.raises(ValueError, match=r"\.$"):
        sweep(host, nothing, **{"presets": "", **inputs})


def test_a_cancelled_sweep_has_shown_what_it_had(host, demo, pack, monkeypatch):
    module = __import__(f"{pack.__name__}.nodes.sweep", fromlist=["Sweep"])
    told = []

    class Stopped(Exception):
        pass

    def sample(model, steps):
        if len(told) == 2:
            raise Stopped
        return {"samples": demo.sample(model, steps)}

    runs = module.Sweep(demo.model, demo.vae, sample, 1, lambda outcomes: told.append(module.table_of(outcomes)))
    with pytest.raises(Stopped):
        runs.run(module.variants_of("2, 3", "", None, 6), 6)
    assert len(told) == 2 and "dial 2" in told[1]
