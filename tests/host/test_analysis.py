"""The analysis nodes on real runs, and their figures against other implementations."""

import importlib
import json
import math
import random
import re
import types
from xml.etree import ElementTree

import kornia
import pytest
import torch
from PIL import ImageColor


def node(host, name):
    return host.NODE_CLASS_MAPPINGS[name]


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(3)
    a = torch.rand(2, 24, 40, 3, generator=generator)
    return a, (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(0, 1)


def test_figures_are_those_of_kornia(host, pictures):
    a, b = pictures
    psnr, ssim, error, shown, text, _ = node(host, "FRDiffCompare").execute(image_a=a, image_b=b).result
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


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (1, 16, 3, 8, 8), (1, 1, 8, 8), (1, 2, 8, 8), (1, 64, 100)])
def test_latents_are_shown_in_the_same_false_colours(host, pack, shape):
    shown = importlib.import_module(f"{pack.__name__}.nodes.panel.comparison").colours_of_latents
    a = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    one, other = shown(a, a.clone())
    assert torch.equal(one, other) and one.shape[-1] == 3 and 0 <= one.min() < one.max() <= 1
    assert len(one) == shape[0] * (shape[2] if len(shape) == 5 else 1)
    one, moved = shown(a, a + 0.5)
    assert not torch.equal(one, moved)
    broken = torch.full(shape, math.nan)
    assert all(one.isfinite().all() for one in shown(broken, a))
    # Scaled and shifted latents have the colours of the first: nothing is judged by itself.
    again, _ = shown(a, a * 3)
    assert torch.equal(one, again)


def test_frames_of_a_video_have_the_figures_of_video(host, engine):
    generator = torch.Generator().manual_seed(4)
    a = torch.rand(6, 16, 16, 3, generator=generator)
    b = (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(0, 1)
    motion = engine("reporting.motion")
    text = node(host, "FRDiffCompare").execute(image_a=a, image_b=b).result[4]
    worst, flicker, path = motion.worst_frame(a, b), motion.flicker(a, b), motion.path_error(a, b)
    assert f"worst frame {worst:.2f} dB, flicker {flicker:.4f}, paths {path * 100:.1f} %" in text
    # A few pictures are no video, and latents say how many there are of either.
    assert "flicker" not in node(host, "FRDiffCompare").execute(image_a=a[:4], image_b=b[:4]).result[4]
    batch = [{"samples": torch.randn(6, 4, 8, 8, generator=generator)} for _ in "ab"]
    text = node(host, "FRDiffCompare").execute(image_a=a, image_b=b, latent_a=batch[0], latent_b=batch[1]).result[4]
    assert "flicker" not in text


def test_videos_in_one_latent_are_compared_one_by_one(host):
    a, noise = torch.randn(2, 2, 16, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    def words(first, second):
        return node(host, "FRDiffCompare").execute(latent_a={"samples": first}, latent_b={"samples": second}).result[4]

    assert "flicker 0.0000" in words(a, a) and "worst" not in words(a, a)
    # What is the same in every frame does not flicker, though it is not the same in both videos.
    assert "flicker 0.0000" in words(a, a + noise[:, :, :1]) and "flicker 0.0000" not in words(a, a + noise)


@pytest.mark.parametrize("frames", [1, 7, 64, 65, 300])
def test_the_slider_gets_the_frames_it_can_show(host, frames):
    a = torch.rand(frames, 8, 10, 3, generator=torch.Generator().manual_seed(frames))
    output = node(host, "FRDiffCompare").execute(image_a=a, image_b=(a + 0.1).clamp(max=1))
    (shown,) = output.ui["frdiff_compare"]
    assert len(shown["a"]) == len(shown["b"]) == len(shown["frames"]) == min(frames, 64)
    assert shown["frames"][0] == 0 and shown["frames"][-1] == frames - 1 and shown["total"] == frames
    assert shown["frames"] == sorted(set(shown["frames"])) and shown["size"] == [10, 8]
    assert shown["words"] == output.result[4]


@pytest.fixture
def badge(pack):
    return importlib.import_module(f"{pack.__name__}.nodes.panel.comparison")


def test_a_badge_says_what_the_run_was(host, demo, badge, pictures, engine, monkeypatch):
    """Seconds, how many steps, how like, and which model; the plain run's time is estimated without its report."""
    said = []
    line = badge._line

    def noted(draw, at, words, *rest):
        said.append(words)
        line(draw, at, words, *rest)

    monkeypatch.setattr(badge, "_line", noted)
    a, b = pictures
    report = engine("reporting.report").RunReport
    _, run = demo.frdiff(steps=10)
    whole, half = (report("", 20, seconds=seconds, finished=True, model="SDXL") for seconds in (24.0, 12.0))
    half.records = run.records
    made = node(host, "FRDiffCompare").execute(image_a=a, image_b=b, report_a=whole, report_b=half).result[5]
    told = " ".join(said)
    assert made.shape[0] == 1 and made.shape[-1] == 3 and made.shape[2] > made.shape[1] > 320
    assert "SDXL, 2.00x faster" in told and "before: 24.00 s" in told and "after, with FRDiff: 12.00 s" in told
    assert f"{run.counts['full']} of 10 steps computed" in told and "SSIM" in told
    said.clear()
    node(host, "FRDiffCompare").execute(image_a=a, image_b=b, report_b=run, title="my checkpoint")
    assert said[0].startswith("my checkpoint, ") and said[1].startswith("before: about ")
    said.clear()
    node(host, "FRDiffCompare").execute(image_a=a, image_b=b)
    assert said[:3] == ["FRDiff Compare", "before", "after"]


def test_a_report_knows_the_kind_of_model(demo):
    network = type(demo.model.model.diffusion_model).__name__
    runs = [demo.frdiff(steps=2, speedup=dial)[1] for dial in (2.0, 1.0)]
    assert [run.model for run in runs] == [network, network] and runs[0].summary()["model"] == network


def test_equal_is_equal(host, pictures):
    a, _ = pictures
    psnr, ssim, error, shown, *_ = node(host, "FRDiffCompare").execute(
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
    with pytest.raises(ValueError, match=rf"{kind}_[ab] is empty, of shape .*\. Connect .*\.$"):
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
    assert plot.shape[1:3] == (660, 1200)
    row = plot[0, 386, 108:1172].mean(-1)
    width = len(row) / 20
    centres = [row[int((i + 0.5) * width)] < 0.5 for i in range(20)]
    assert centres == [record.kind == "full" for record in report.records]
    dark = node(host, "FRDiffReport").execute(report, "dark").result[2]
    assert dark.mean() < 0.4 < 0.6 < plot.mean()


@pytest.fixture
def plots(pack):
    """The plots' modules, and a canvas that keeps what is written and marked on it."""
    canvas, trade_off, step_plot = (
        importlib.import_module(f"{pack.__name__}.nodes.panel.{name}") for name in ("canvas", "trade_off", "step_plot")
    )

    class Noted(canvas.Svg):
        def __init__(self, size):
            super().__init__(*size, "title")
            self.texts, self.marks = [], []

        def text(self, text):
            self.texts.append(text)
            super().text(text)

        def mark(self, at, kind, colour, filled):
            self.marks.append((at, kind))
            super().mark(at, kind, colour, filled)

        @property
        def words(self):
            return [text.words for text in self.texts]

    return types.SimpleNamespace(canvas=canvas, trade_off=trade_off, step_plot=step_plot, Noted=Noted)


@pytest.mark.parametrize("size", ["WIDE", "ON_NODE"])
@pytest.mark.parametrize("ms", [0.0, 1e-7, 0.004, 37.2, 999.0, 1600.0, 83456.0, 7.2e6])
@pytest.mark.parametrize("error", [0.0, 1e-12, 0.0123, 4.0, 1e4])
def test_plots_are_written_in_numbers_that_people_read(plots, engine, ms, error, size):
    cell = engine("reporting.step_map").Cell
    steps = plots.Noted(getattr(plots.step_plot, size))
    plots.step_plot.step_plot(steps, [cell(step, 1.0, "full", "full", 1, ms, error) for step in range(3)], "title")
    axis = [words.split() for words in steps.words if re.fullmatch(r"[\d.]+ m?s", words)]
    (unit,) = {unit for _, unit in axis}
    assert unit == ("s" if ms >= 1000 else "ms") and "0" in [number for number, _ in axis]
    # Its numbers belong to the height of the bars.
    assert max(float(number) for number, _ in axis) * (1000 if unit == "s" else 1) <= max(ms, 0.01) * 1.001
    runs = plots.Noted(getattr(plots.trade_off, size))
    point = plots.trade_off.Point
    seconds = max(ms, 1) / 1000
    points = [point("plain", 2 * seconds, 0.0, "plain"), point("dial 2", seconds, error, "dial")]
    plots.trade_off.trade_off_plot(runs, points, 1)
    assert {"equal", "better", "plain", "dial 2"} <= set(runs.words) and "0 %" not in runs.words
    for words in steps.words + runs.words:
        assert not re.search(r"\d[eE][+-]?\d", words) and not re.fullmatch(r"\d{8,}.*", words)


@pytest.mark.parametrize("size", ["WIDE", "ON_NODE"])
def test_points_use_the_room_and_labels_keep_clear(plots, size):
    """Whatever the runs are, they spread over the plot, and no label covers another or leaves the picture."""
    rng, point = random.Random(4), plots.trade_off.Point
    covered = 0
    for _ in range(60):
        full = rng.uniform(0.1, 400)
        points = [point("plain, 30 steps", full, 0.0, "plain")]
        for dial in (1.5, 2, 3):
            names = (f"dial {dial}  {dial:.2f}x", "dial", 1), (f"{30 / dial:.0f} steps", "fewer steps", 6)
            for name, series, worse in names:
                seconds = full / dial * rng.uniform(0.9, 1.1)
                spread = (seconds * 0.97, seconds * 1.05)
                points.append(point(name, seconds, worse * 10 ** rng.uniform(-3, -1.5), series, spread))
        canvas = plots.Noted(getattr(plots.trade_off, size))
        plots.trade_off.trade_off_plot(canvas, points, 3)
        xs, ys = zip(*(at for at, _ in canvas.marks), strict=True)
        assert max(xs) - min(xs) > 0.6 * canvas.width and max(ys) - min(ys) > 0.4 * canvas.height
        boxes = [text.box for text in canvas.texts if text.words in [one.label for one in points]]
        assert len(boxes) == len(points)
        for i, a in enumerate(boxes):
            assert a[0] >= 0 and a[1] >= 0 and a[2] <= canvas.width and a[3] <= canvas.height
            covered += sum(min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1]) for b in boxes[:i])
    assert covered <= 2


def test_the_arrow_points_to_where_runs_are_fast_and_alike(plots):
    point, drawn = plots.trade_off.Point, []
    canvas = plots.Noted(plots.trade_off.WIDE)
    canvas.arrow = lambda start, end, colour: drawn.append((start, end))
    runs = [point("plain", 4.0, 0.0, "plain"), point("good", 1.0, 0.001, "dial"), point("bad", 3.0, 0.1, "fewer steps")]
    plots.trade_off.trade_off_plot(canvas, runs, 1)
    ((start, end),) = drawn
    _, (good, _), (bad, _) = canvas.marks
    assert end[0] < start[0] and good[0] < bad[0] and end[1] > start[1] and good[1] > bad[1]


def test_both_canvases_draw_the_same_and_an_svg_holds_no_names_of_its_own(plots):
    """A label that looks like markup stays a label."""
    svg = plots.canvas.Svg(100, 50, 'a "title" <script>')
    svg.text(plots.canvas.Text((10, 10), "</text><script>alert(1)</script>"))
    root = ElementTree.fromstring(svg.source)
    assert [one.tag.split("}")[1] for one in root] == ["text"] and root[0].text.startswith("</text>")
    assert root.get("aria-label") == 'a "title" <script>'
    picture = plots.canvas.Picture(100, 50, "dark")
    picture.box((10, 10, 20, 20), "ours")
    assert picture.image.size == (200, 100)
    assert picture.image.getpixel((30, 30)) == ImageColor.getrgb(plots.canvas.THEMES["dark"]["ours"])
    assert picture.image.getpixel((60, 60)) == ImageColor.getrgb(plots.canvas.THEMES["dark"]["paper"])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_colours_of_plots_can_be_read(plots, theme):
    """Contrast by WCAG: 4.5 for words, 3 for marks; and ours and theirs differ without colour, too."""
    colours = plots.canvas.THEMES[theme]

    def luminance(name):
        parts = [value / 255 for value in ImageColor.getrgb(colours[name])]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for name in ("ink", "muted", "ours", "theirs"):
        low, high = sorted((luminance(name), luminance("paper")))
        assert (high + 0.05) / (low + 0.05) >= 4.5
    marks = plots.trade_off.SERIES
    assert len({(one.mark, one.filled) for one in marks.values()}) == len(marks)


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
    assert all(row["flicker"] is row["worst_frame"] is row["path_error"] is None for row in rows)
    assert list(rows[0])[: len(COLUMNS)] == COLUMNS == table.splitlines()[0].split()[: len(COLUMNS)]
    assert grid.shape[-1] == plot.shape[-1] == 3
    assert plot.shape[1:3] == (760, 1200)
    assert len(output.ui["images"]) == 1 and output.ui["text"] == [table] and output.ui["frdiff_rows"] == rows
    (drawn,) = output.ui["frdiff_plot"]
    told = [text.text for text in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert "plain, 12 steps" in told and f"dial 2  {rows[1]['speedup']:.2f}x" in told and "6 steps" in told


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


def test_without_repeats_there_is_no_spread(host, demo):
    output = sweep(host, demo, dials="2", presets="")
    assert all(row["seconds_least"] is None is row["seconds_most"] for row in json.loads(output.result[3]))
    assert " to " not in output.ui["frdiff_plot"][0] and "times are rough" in output.ui["frdiff_plot"][0]


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


def test_repeats_go_round_by_round(demo, pack):
    """What else the machine does is for all runs then, and not for one of them."""
    module = __import__(f"{pack.__name__}.nodes.sweep", fromlist=["Sweep"])
    steps, told = [], []

    def sample(model, of_steps):
        steps.append(of_steps)
        return {"samples": demo.sample(model, of_steps)}

    runs = module.Sweep(demo.model, demo.vae, sample, 3, lambda outcomes: told.append([o.repeats for o in outcomes]))
    outcomes = runs.run(module.variants_of("2", "", None, 8), 8)
    assert steps == [outcome.variant.steps for outcome in outcomes] * 3 and len(outcomes) == 3
    assert told == [[1], [1, 1], [1, 1, 1], [2, 1, 1], [2, 2, 1], [2, 2, 2], [3, 2, 2], [3, 3, 2], [3, 3, 3]]
