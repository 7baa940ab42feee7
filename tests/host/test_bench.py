"""The benchmark: its measures on inputs whose answer is known, and a small run of each of its modes."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from bench import gains, methods, networks, overhead, quality, timing, usual_settings
from setup import SCRIPTS, in_process
from setup.inside import INSIDE


@pytest.fixture
def pictures():
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25


@pytest.fixture(scope="module")
def reports(pack):
    return __import__(f"{pack.__name__}.frdiff.reporting.report", fromlist=["RunReport"])


def row(method, family, time, psnr, identical=0):
    cell = {"model": "unet", "steps": 50, "sampler": "euler"}
    figures = {"relative_time": time, "speedup": 1 / time, "psnr": psnr, "identical": identical}
    return {**cell, "method": method, "family": family, **figures}


def test_identical_pictures_have_no_psnr_and_full_likeness(pictures):
    found = quality.measures(pictures, pictures, pictures, pictures)
    assert torch.isinf(quality.psnr(pictures, pictures)).all()
    assert found["psnr"] is None and found["identical"] == 3
    assert found["ssim"] == pytest.approx(1.0, abs=1e-6)
    assert found["latent_l2"] == found["edge_error"] == 0


def test_one_identical_picture_does_not_make_the_mean_infinite(pictures):
    noisy = pictures.clone()
    noisy[1:] += 0.01
    assert quality.mean_psnr(quality.psnr(noisy, pictures)) == pytest.approx((100 + 40 + 40) / 3, abs=1e-2)


@pytest.mark.parametrize("deviation", [0.1, 0.01])
def test_psnr_of_known_noise(pictures, deviation):
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1)) * deviation
    assert quality.psnr(pictures + noise, pictures).mean().item() == pytest.approx(
        -20 * math.log10(deviation), abs=0.1
    )


def test_each_picture_is_measured_alone(pictures):
    changed = pictures.clone()
    changed[2] = changed[2].flip(-1)
    for measure in (quality.relative_l2, quality.edge_error):
        assert (measure(changed, pictures) > 0).tolist() == [False, False, True]
    assert quality.ssim(changed, pictures)[2] < 0.5
    assert quality.relative_l2(pictures * 1.5, pictures).tolist() == pytest.approx([0.5] * 3, abs=1e-5)


def test_blur_is_an_edge_error_before_it_is_a_colour_error(pictures):
    blurred = torch.nn.functional.avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)
    shifted = pictures + (blurred - pictures).square().mean().sqrt()
    assert quality.edge_error(blurred, pictures).min() > 0.5
    assert quality.edge_error(shifted, pictures).max() < 1e-4


def test_sliced_wasserstein_of_a_shift():
    values = torch.randn(50, 1, generator=torch.Generator().manual_seed(2))
    assert quality.sliced_wasserstein(values, values.flip(0)) == 0
    # In one dimension every direction is +1 or -1.
    assert quality.sliced_wasserstein(values + 0.3, values) == pytest.approx(0.3, abs=1e-5)


def test_set_distance_and_its_floor(pictures):
    other = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 0.5 + 0.25
    sets = {"same": pictures.flip(0), "other": other, "dark": pictures * 0.2}
    distances, floor = quality.set_distances(sets, pictures, other)
    assert distances["same"] == pytest.approx(0, abs=1e-6)
    assert distances["other"] == pytest.approx(floor)
    assert distances["dark"] > 2 * floor > 0


def test_alternatives_are_interpolated_in_log_time_and_never_beyond_their_points():
    points = [(0.25, 20.0), (1.0, 40.0)]
    assert gains.psnr_at(points, 0.5) == pytest.approx(30.0)
    assert gains.psnr_at(points, 0.2) is None
    assert gains.psnr_at(points, 1.2) is None
    assert gains.psnr_at(points, 1.01) == 40.0
    # A faster point that is better is the better alternative.
    assert gains.psnr_at([(0.25, 35.0), (1.0, 20.0)], 0.5) == 35.0
    assert gains.psnr_at([], 0.5) is None


def test_gain_is_over_the_best_alternative_at_the_measured_time():
    rows = [
        row("plain", "plain", 1.0, None, identical=8),
        row("EasyCache 0.02", "EasyCache", 0.5, 90.0, identical=7),
        row("fewer 0.25", "fewer", 0.25, 20.0),
        row("fewer 0.75", "fewer", 0.75, 40.0),
        row("EasyCache 0.1", "EasyCache", 0.25, 25.0),
        row("EasyCache 0.05", "EasyCache", 0.75, 26.0),
        row("LazyCache 0.1", "LazyCache", 0.9, 50.0),
        row("every step computed", "preset", 1.0, None, identical=8),
        row("dial@2", "dial", 0.25 * math.sqrt(3), 33.0),
    ]
    found = gains.gains(rows)["unet 50 euler"]
    assert found["2x"]["gain_db"] == pytest.approx(3.0)
    assert found["2x"]["best"] == "fewer"
    assert found["2x"]["alternatives"]["LazyCache"] is None
    assert "LazyCache, paper" in found["2x"]["note"]
    assert found["3x"] is None
    assert found["methods"]["every step computed"]["gain_db"] is None
    assert "identical" in found["methods"]["every step computed"]["note"]


def test_allowed_speedup_counts_only_network_time(reports):
    def report(*records):
        made = [
            reports.StepRecord(i, 1.0, kind, kind, 1.0, ms, calls=int(kind != "skip"))
            for i, (kind, ms) in enumerate(records)
        ]
        return reports.RunReport("test", len(made), records=made)

    # The first full evaluation pays for the set-up and does not count.
    reused = report(("full", 500.0), ("full", 99.0), ("partial", 40.0), ("skip", 0.0))
    # 2 s plain, of which 1.6 s are four calls of 400 ms: 400 and 360 ms are avoided.
    assert overhead.avoided_ms(reused, full_ms=400.0) == pytest.approx(760.0)
    assert overhead.counted(reused, full_ms=400.0) == pytest.approx(4 / 2.1)
    assert overhead.typical_ms(reused, "full") == 99.0
    full = report(("full", 100.0), ("full", 100.0))
    assert overhead.avoided_ms(full, full_ms=100.0) == 0
    assert overhead.counted(full, full_ms=100.0) == 1
    times = {"plain": 2.0, "plain again": 2.1, "every step computed": 2.02, "paper M=2": 1.5}
    runs = {"every step computed": report(("full", 400.0)), "paper M=2": reused}
    one = {name: timing.Timed(None, runs.get(name), seconds, 0, None) for name, seconds in times.items()}
    found = overhead.figures(overhead.round_ratios(one, "paper M=2"))
    expected = {"overhead": 0.01, "noise": 0.05, "counted": 4 / 2.1, "allowed": 2 / 1.24, "realised": 2 / 1.5}
    assert found == pytest.approx({**expected, "share": 1.24 / 1.5})


def test_bootstrap_interval_holds_the_figure_and_one_bad_round_does_not_move_it():
    names = ("every_step", "again", "reused", "avoided", "counted")
    draws = 1 + 0.01 * torch.randn(101, generator=torch.Generator().manual_seed(4))
    ratios = [dict.fromkeys(names, 0.5 * draw) for draw in draws.tolist()]
    found = overhead.intervals(ratios)
    assert found["overhead"]["low"] < found["overhead"]["median"] < found["overhead"]["high"]
    assert found["overhead"]["high"] - found["overhead"]["low"] < 0.005
    assert found["realised"]["median"] == pytest.approx(2, abs=0.02)
    spoiled = overhead.intervals([*ratios[:-1], dict.fromkeys(names, 50.0)])
    assert spoiled["share"]["median"] == pytest.approx(found["share"]["median"], abs=0.01)


def test_methods_are_chosen_by_name_family_or_pattern(pack):
    presets = __import__(f"{pack.__name__}.frdiff.planning.presets", fromlist=["PRESETS"]).PRESETS
    offered = methods.table(list(presets))
    assert set(presets) <= set(offered)
    assert list(methods.chosen(offered, ["dial"])) == ["plain", "dial@2", "dial@3"]
    assert list(methods.chosen(offered, ["paper M=*"])) == ["plain", "paper M=2", "paper M=3"]
    with pytest.raises(Exception, match="No method matches 'nonsense'"):
        methods.chosen(offered, ["nonsense"])


def test_computed_calls_and_their_work_are_counted(demo, host, pack):
    presets = __import__(f"{pack.__name__}.frdiff.planning.presets", fromlist=["PRESETS"]).PRESETS
    names = ("plain", "fewer 0.5", "paper M=2", "EasyCache 0.1")
    offered = methods.table(list(presets))
    case = methods.Case(host, presets, demo.model, demo.negative, torch.zeros(1, 4, 16, 16), 20, "euler", 3.0)
    runs = {name: offered[name].make(case) for name in names}
    network = demo.model.model.diffusion_model
    with timing.counted_calls(network, lambda: runs["plain"](0, demo.positive)) as counter:
        (found,) = timing.interleaved(runs, [demo.positive], 1, counter)
        run_once = {name: lambda run=run: run(0, demo.positive) for name, run in runs.items()}
        work = {name: timing.work_per_call(once, counter) for name, once in run_once.items()}
    counts = found["paper M=2"].report.counts
    assert found["plain"].calls == 20 and found["fewer 0.5"].calls == 10
    assert found["paper M=2"].calls == counts["full"] + counts["partial"] < 20
    assert found["EasyCache 0.1"].calls < 20
    assert work["EasyCache 0.1"] == work["fewer 0.5"] == work["plain"]
    # Partial calls do less work, and what they do is not nothing.
    assert counts["full"] < found["paper M=2"].calls * work["paper M=2"] / work["plain"] < found["paper M=2"].calls
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def bench(tmp_path, *arguments):
    """Run the script in this Python, as it runs itself inside the host's, and return its JSON and output."""
    path = tmp_path / "bench.json"
    command = [sys.executable, str(SCRIPTS / "bench.py"), "--device", "cpu", "--json", str(path), *arguments]
    done = subprocess.run(command, env={**os.environ, INSIDE: "here"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    document = json.loads(path.read_text())
    assert set(document) == {"rows", "gains", "environment", "arguments"}
    assert document["environment"]["torch"] == torch.__version__
    assert document["environment"]["threads"] >= 1 and document["environment"]["device_type"] == "cpu"
    assert str(tmp_path) not in path.read_text()
    return document, done.stdout


def test_smallest_comparison(tmp_path):
    methods = ["fewer 0.5", "EasyCache 0.1", "LazyCache 0.1", "paper M=2", "every step computed", "dial@2"]
    settings = ["--models", "unet", "--steps", "8", "--samplers", "euler", "--prompts", "2"]
    document, printed = bench(tmp_path, *settings, "--plot", str(tmp_path / "plots"), "--methods", *methods)
    rows = {row["method"]: row for row in document["rows"]}
    assert set(rows) == {"plain", *methods}
    numbers = {
        "seconds", "relative_time", "speedup", "evaluations", "network_calls", "latent_l2", "identical", "ssim",
        "edge_error", "set_distance", "set_distance_floor",
    }  # fmt: skip
    for row in rows.values():
        assert set(row) == numbers | {"model", "steps", "sampler", "method", "family", "psnr", "seconds_each"}
        assert all(isinstance(row[name], (int, float)) for name in numbers)
        assert (row["model"], row["steps"], row["sampler"]) == ("unet", 8, "euler")
        assert len(row["seconds_each"]) == 2
        assert row["method"] in printed
    for name in ("plain", "every step computed"):
        assert rows[name]["psnr"] is None and rows[name]["identical"] == 2
        assert rows[name]["evaluations"] == pytest.approx(8) and rows[name]["set_distance"] == 0
    assert rows["fewer 0.5"]["evaluations"] == pytest.approx(4)
    assert 4 < rows["paper M=2"]["evaluations"] < 8
    assert 10 < rows["paper M=2"]["psnr"] < 60 and 0 < rows["paper M=2"]["ssim"] < 1
    assert rows["dial@2"]["latent_l2"] > 0
    gains = document["gains"]["unet 8 euler"]
    assert set(gains) == {"2x", "3x", "methods"}
    assert set(gains["2x"]) == {"method", "speedup", "psnr", "alternatives", "best", "gain_db", "note"}
    assert set(gains["2x"]["alternatives"]) == {"fewer", "EasyCache", "LazyCache", "paper"}
    assert gains["3x"] is None and set(gains["methods"]) == {"every step computed"}
    assert (tmp_path / "plots" / "speed_error_unet.png").stat().st_size > 1000


def test_smallest_overhead(tmp_path):
    settings = ["--models", "dit", "--steps", "6", "--rounds", "2", "--overhead"]
    document, printed = bench(tmp_path, *settings)
    (row,) = document["rows"]
    assert row["method"] == "paper M=2" and row["rounds"] == 2
    assert sum(row["counts"].values()) == 6
    for figure in ("overhead", "noise", "counted", "allowed", "realised", "share"):
        assert set(row[figure]) == {"median", "low", "high"} and row[figure]["low"] <= row[figure]["high"]
    assert row["counted"]["median"] > 1 and 0 < row["partial_ms"] < row["full_ms"]
    assert row["share"]["median"] * row["allowed"]["median"] == pytest.approx(row["realised"]["median"])
    assert "share" in printed and document["gains"] == {}


def test_smallest_shape(tmp_path):
    document, _ = bench(tmp_path, "--shape", "tiny", "--steps", "6", "--rounds", "2")
    rows = {row["method"]: row for row in document["rows"]}
    assert {"plain", "every step computed", "paper M=2", "paper M=3", "dial@2", "dial@3", "EasyCache 0.1"} == set(rows)
    assert rows["plain"]["allowed"] is None and rows["plain"]["peak_mb_above_plain"] is None
    assert 0 < rows["paper M=2"]["partial_ms"] < rows["paper M=2"]["full_ms"]
    assert rows["paper M=2"]["network_calls"] < rows["plain"]["network_calls"] == 6


@pytest.mark.parametrize(
    ("name", "weights"), [("sdxl", 2.57e9), ("sd15", 0.86e9), ("flux", 11.9e9), ("wan", 1.42e9)]
)
def test_shapes_have_the_published_number_of_weights(host, name, weights):
    model = networks.empty_model(networks.SHAPES[name], "meta")
    found = sum(parameter.numel() for parameter in model.diffusion_model.parameters())
    assert found == pytest.approx(weights, rel=0.01)


# The same kinds of network and input, small enough for a CPU.
REDUCED = {
    "sd15": ({"model_channels": 64}, (1, 4, 16, 16)),
    "flux": ({"hidden_size": 256, "num_heads": 2, "depth": 1, "depth_single_blocks": 1}, (1, 16, 16, 16)),
    "wan": ({"dim": 256, "ffn_dim": 256, "num_heads": 2, "num_layers": 2}, (1, 16, 3, 8, 8)),
}


@pytest.mark.parametrize("name", REDUCED)
def test_shapes_sample_something_finite_with_their_own_input(host, pack, name):
    network, latent = REDUCED[name]
    shape = networks.SHAPES[name]
    shape = replace(shape, network={**shape.network, **network}, latent=latent, dtype=torch.float32)
    case = methods.Case(
        host, {}, networks.build(shape), networks.conditioning(shape, 2), torch.zeros(latent), 3, "euler", shape.cfg,
        shape.scheduler,
    )  # fmt: skip
    sampled, _ = methods.table([])["plain"].make(case)(0, networks.conditioning(shape, 1))
    assert sampled.shape == latent and torch.isfinite(sampled).all() and sampled.std() > 0


def test_what_is_wrong_is_said(tmp_path):
    command = [sys.executable, str(SCRIPTS / "bench.py"), "--device", "cpu", "--samplers", "no_such_sampler"]
    done = subprocess.run(command, env={**os.environ, INSIDE: "here"}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ComfyUI has no sampler no_such_sampler." in done.stderr and "Traceback" not in done.stderr


def test_each_draw_has_prompts_and_seeds_of_its_own():
    one, again, other = (usual_settings.groups(draw, 20) for draw in ("choose", "choose", "report"))
    assert one == again and [len(group.prompts) for group in one] == [8, 8, 4]
    assert not {group.seed for group in one} & {group.seed for group in other}
    prompts = [{text for group in drawn for text in group.prompts} for drawn in (one, other)]
    assert len(prompts[0] & prompts[1]) < 3
    assert [kind for group in one for kind in group.kinds][:4] == ["known", "paired", "noise", "known"]


def test_the_settings_that_people_use_are_compared_at_equal_counted_cost(host, pack):
    from types import SimpleNamespace

    usual = in_process.pack_module(host, "scripts.bench.usual")
    asked = {"models": ["rough"], "rows": ["rough euler simple 20 cfg 1"], "draw": "test", "pairs": 2, "dials": [2.0]}
    arguments = SimpleNamespace(**asked)
    rows = {row["method"]: row for row in usual.measure(host, {}, arguments, lambda text: None)}
    assert set(rows) == {"fewer", "repeat", "EasyCache", "dial"}
    assert rows["dial"]["cost"] == rows["fewer"]["cost"] == rows["repeat"]["cost"] == pytest.approx(0.5)
    assert all(len(row["psnr_each"]) == 2 and 5 < row["worst_decile"] <= row["psnr"] < 100 for row in rows.values())
    assert rows["dial"]["psnr"] > rows["fewer"]["psnr"]


def test_the_rough_model_is_as_rough_as_it_says(host):
    """Half of 50 plain steps leave it where they leave models that people run."""
    demo = in_process.DemoModel(host, "rough")
    usual = in_process.pack_module(host, "scripts.bench.usual")
    setting = usual_settings.Setting("rough", "euler", "normal", 50, 5.0)
    (group,) = usual_settings.groups("rough", 2)
    case = usual.case_of(host, {}, demo, setting)
    case = case.of(2)
    with torch.inference_mode():
        positive = usual.together(demo, group.prompts)
        latents = [methods.fewer_steps(part)(case)(group.seed, positive)[0] for part in (1, 0.5)]
        plain, fewer = (demo.vae.decode(latent).movedim(-1, 1) for latent in latents)
    assert 15 < quality.psnr(fewer, plain).mean() < 28
