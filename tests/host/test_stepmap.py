"""The step map's server side: plans without a model, and what browsers are told of runs."""

import asyncio
import dataclasses
import importlib
import json
import random
import types

import pytest
import torch

from setup import ROOT


@pytest.fixture
def planning(pack):
    return importlib.import_module(f"{pack.__name__}.nodes.panel.plan_preview")


@pytest.fixture
def live(pack):
    return importlib.import_module(f"{pack.__name__}.nodes.panel.live")


@pytest.fixture
def sent(live, monkeypatch):
    """What a server would send to browsers."""
    messages = []

    def send_sync(name, data, sid):
        messages.append((name, data, sid))

    server = types.SimpleNamespace(client_id="tab", send_sync=send_sync)
    monkeypatch.setattr(live, "prompt_server", lambda: server)
    return messages


def sampler_node(unique_id="7:3", workflow="w"):
    hidden = types.SimpleNamespace(unique_id=unique_id, extra_pnginfo={"workflow": {"id": workflow}})
    return types.SimpleNamespace(hidden=hidden)


def ask(planning, **data):
    return planning.plan(planning.settings_from(data))


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 20, "speedup": 2.0},
        {"steps": 14, "speedup": 3.0, "sampler_name": "dpm_2", "scheduler": "karras"},
        {"steps": 12, "speedup": 1.5, "denoise": 0.5},
        {"steps": 12, "speedup": 2.0, "sampler_name": "euler_ancestral"},
    ],
)
def test_the_plan_is_what_a_run_of_a_standard_model_does(planning, host, pack, settings):
    from unittest import mock

    from conftest import Demo

    demo = Demo(host, "unet")
    recorded = []
    session = importlib.import_module(f"{pack.__name__}.frdiff.runtime.session")
    real = session.Session
    hosts = importlib.import_module(f"{pack.__name__}.nodes.host.attach")
    cells = importlib.import_module(f"{pack.__name__}.frdiff.reporting.step_map")

    def watched(*args, **kwargs):
        recorded.append(real(*args, **kwargs))
        return recorded[-1]

    rest = {"sampler_name": "euler", "scheduler": "normal", "denoise": 1.0, **settings}
    patched = host.NODE_CLASS_MAPPINGS["FRDiffModelPatcher"].execute(demo.model, rest["speedup"]).result[0]
    with mock.patch.object(hosts, "Session", watched):
        demo.sample(patched, rest["steps"], 3.0, rest["sampler_name"], rest["scheduler"], denoise=rest["denoise"])
    answer = ask(planning, **settings)
    assert [cell["sigma"] for cell in answer["cells"]] == pytest.approx(recorded[0].sigmas[:-1])
    assert answer["counts"] == {kind.value: count for kind, count in recorded[0].plan.counts.items()}
    shown = cells.planned_cells(recorded[0].sigmas, recorded[0].plan)
    assert answer["cells"] == [vars(cell) for cell in shown]


def test_advanced_plans_only_the_steps_that_it_runs(planning):
    whole = ask(planning, steps=20)["cells"]
    part = ask(planning, steps=20, start_at_step=5, end_at_step=12)["cells"]
    assert [cell["sigma"] for cell in part] == [cell["sigma"] for cell in whole[5:12]]
    assert ask(planning, steps=20, start_at_step=30)["cells"] == []


FIRST = {"add_noise": "enable", "end_at_step": 10, "return_with_leftover_noise": "enable"}
SECOND = {"add_noise": "disable", "start_at_step": 10, "return_with_leftover_noise": "disable"}


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun"])
def test_two_parts_of_a_run_are_planned_together(planning, sampler):
    """As the runs are: tests/host/test_two_experts.py. Each part's plan has the other's cells as that has them."""
    whole = {"steps": 30, "scheduler": "karras", "sampler_name": sampler}
    first, second = (ask(planning, **whole, **part) for part in (FIRST, SECOND))
    assert (first["before"], first["after"]) == ([], second["cells"])
    assert (second["before"], second["after"]) == (first["cells"], [])
    if sampler != "heun":
        assert first["counts"]["full"] + second["counts"]["full"] == ask(planning, **whole)["counts"]["full"]
        alone = [ask(planning, steps=steps)["counts"]["full"] for steps in (10, 20)]
        assert alone != [first["counts"]["full"], second["counts"]["full"]]


@pytest.mark.parametrize("change", [{}, {"start_at_step": 10, "add_noise": "enable"}, {"end_at_step": 10}])
def test_a_run_in_one_part_has_no_other(planning, change):
    """From pure noise, from a picture with noise of its own, and to a picture without noise that is left."""
    answer = ask(planning, steps=30, **{"add_noise": "enable", "return_with_leftover_noise": "disable", **change})
    assert not {"before", "after"} & set(answer)


def test_a_schedule_node_plans_as_it_executes(planning):
    inputs = {"preset": "paper M=3", "interval": 2, "score_mixing": True, "first_full": 1, "last_full": 0}
    answer = ask(planning, steps=12, schedule={"node": "FRDiffSchedule", "inputs": {**inputs, "budget_mb": 64.0}})
    assert [i for i, cell in enumerate(answer["cells"]) if cell["kind"] == "full"] == [0, 3, 6, 9]
    assert ask(planning, steps=12, speedup=1.0)["off"] is True


CUSTOM = {
    "preset": "custom", "interval": 2, "score_mixing": True, "first_full": 1, "last_full": 0, "budget_mb": 64.0,
}  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        {"steps": 0},
        {"steps": "many"},
        {"speedup": 0.5},
        {"speedup": float("nan")},
        {"schedule": {"node": "KSampler", "inputs": {}}},
        {"schedule": {"node": "FRDiffSchedule", "inputs": {"preset": "paper M=2"}}},
        {"schedule": "FRDiffSchedule"},
        {"schedule": {"node": "FRDiffSchedule", "inputs": {"preset": ["a list"]}}},
        {"sampler_name": "no such sampler"},
        {"sampler_name": 3},
        {"scheduler": "no such scheduler"},
        {"denoise": 2.0},
        {"steps": 10000, "denoise": 1e-9},
        {"start_at_step": -1},
        {"schedule": {"node": "FRDiffSchedule", "inputs": {**CUSTOM, "interval": 0}}},
        {"schedule": {"node": "FRDiffSchedule", "inputs": {**CUSTOM, "forecaster": "no such forecaster"}}},
        {"schedule": {"node": "FRDiffSchedule", "inputs": {**CUSTOM, "guard": "no"}}},
        {"schedule": {"node": "FRDiffScheduleLoader", "inputs": {"file": "old.safetensors", "speedup": None}}},
    ],
)
def test_a_wrong_request_is_a_sentence(planning, pack, data):
    errors = importlib.import_module(f"{pack.__name__}.frdiff.errors")
    with pytest.raises(errors.FRDiffError, match=r"\.$"):
        ask(planning, **data)


RIGHT = {
    "steps": 9, "sampler_name": "dpm_2", "scheduler": "karras", "denoise": 0.7, "start_at_step": 1, "end_at_step": 8,
    "speedup": 2.0, "schedule": {"node": "FRDiffSchedule", "inputs": CUSTOM},
}  # fmt: skip
ANYTHING = [
    None, True, 0, -1, 1, 3, 10**400, 0.5, 1e-300, float("nan"), float("inf"), "", "7", "euler", "\ud800", "x" * 300,
    "../x", "auto", "old.safetensors", "paper M=2", [], [1], {}, {"node": "FRDiffSchedule"},
    {"node": "FRDiffAutoFR", "inputs": {"name": "a\0b", "speedup": 2.0}}, {"node": [], "inputs": {}},
    {"node": "FRDiffScheduleLoader", "inputs": {"file": "x" * 300, "speedup": 2.0}},
]  # fmt: skip


def answers(pack, address, bodies, headers=None):
    """The status and the body of each answer of the route that a browser would ask."""
    from aiohttp import test_utils, web

    routes = importlib.import_module(f"{pack.__name__}.nodes.panel.routes")

    async def ask_all():
        app = web.Application()
        app.router.add_post("/frdiff/plan", routes.plan_route)
        app.router.add_post("/frdiff/front", routes.front_route)
        async with test_utils.TestClient(test_utils.TestServer(app)) as client:
            sent = [await client.post(address, data=body, headers=headers) for body in bodies]
            return [(answer.status, await answer.text()) for answer in sent]

    return asyncio.run(ask_all())


def assert_an_answer_or_a_sentence(status, text):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    answer = json.loads(text, parse_constant=refuse)
    assert status in (200, 400), text
    assert status == 200 or answer["error"].endswith("."), text


def changed(rng, right):
    """A request with some of its values replaced by anything."""
    data = {name: rng.choice(ANYTHING) if rng.random() < 0.3 else value for name, value in right.items()}
    schedule = data.get("schedule")
    if schedule == RIGHT["schedule"]:
        data["schedule"] = {**schedule, "inputs": changed(rng, schedule["inputs"])}
    return data


def test_every_request_for_a_plan_gets_an_answer_or_a_sentence(pack):
    rng = random.Random(17)
    each = [{**RIGHT, name: value} for name in RIGHT for value in ANYTHING]
    custom = [
        {**RIGHT, "schedule": {"node": "FRDiffSchedule", "inputs": {**CUSTOM, name: value}}}
        for name in (*CUSTOM, "forecaster", "stages", "guard") for value in ANYTHING
    ]  # fmt: skip
    bodies = [RIGHT, *each, *custom, *(changed(rng, RIGHT) for _ in range(200)), *ANYTHING]
    made = answers(pack, "/frdiff/plan", [json.dumps(body) for body in bodies])
    assert made[0][0] == 200 and {status for status, _ in made} == {200, 400}
    for status, text in made:
        assert_an_answer_or_a_sentence(status, text)


@pytest.mark.parametrize("address", ["/frdiff/plan", "/frdiff/front"])
def test_what_is_no_json_is_a_sentence(pack, address):
    for status, text in answers(pack, address, [b"", b"{", b"\xff\xfe{", b"[" * 10**5, b"9" * 10**5]):
        assert status == 400 and json.loads(text)["error"].endswith(".")
    strange = {"Content-Type": "application/json; charset=nothing"}
    assert [status for status, _ in answers(pack, address, [b"{}"], strange)] == [400]


def test_every_request_for_a_front_gets_an_answer_or_a_sentence(pack, folder):
    bodies = [
        {"node": node, "inputs": {name: value}}
        for node, name in (("FRDiffAutoFR", "name"), ("FRDiffScheduleLoader", "file")) for value in ANYTHING
    ]  # fmt: skip
    for status, text in answers(pack, "/frdiff/front", [json.dumps(body) for body in [*bodies, *ANYTHING]]):
        assert_an_answer_or_a_sentence(status, text)


def test_every_sampler_and_scheduler_has_a_plan_or_a_sentence(pack, host):
    import comfy.samplers

    samplers, schedulers = comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS
    bodies = [{"steps": 6, "sampler_name": sampler} for sampler in samplers]
    bodies += [
        {"steps": steps, "scheduler": scheduler, "denoise": denoise}
        for scheduler in schedulers for steps in (1, 2, 3) for denoise in (0.0, 0.3, 1.0)
    ]  # fmt: skip
    for status, text in answers(pack, "/frdiff/plan", [json.dumps(body) for body in bodies]):
        assert_an_answer_or_a_sentence(status, text)


def test_what_another_packs_scheduler_raises_is_told(planning, pack, monkeypatch):
    def levels(model, settings):
        raise KeyError("a table of its own")

    monkeypatch.setattr(planning, "run_sigmas", levels)
    errors = importlib.import_module(f"{pack.__name__}.frdiff.errors")
    with pytest.raises(errors.FRDiffError, match=r"euler with normal says .*a table of its own.*\.$"):
        ask(planning, steps=31)


def test_the_plan_knows_which_samplers_add_noise(planning, host):
    import comfy.samplers
    from conftest import Demo

    demo = Demo(host, "unet")
    for sampler in comfy.samplers.KSampler.SAMPLERS:
        _, report = demo.frdiff(steps=8, sampler=sampler, speedup=1.5)
        # A sampler with levels of its own is planned as any other and then computed in full.
        if report.counts["full"] < len(report.records) and len(report.records) == 8:
            assert [cell["kind"] for cell in ask(planning, steps=8, sampler_name=sampler, speedup=1.5)["cells"]] == [
                record.planned for record in report.records
            ], sampler


def run(live, host, demo, steps=20, clock=None):
    """A run with a step map that is told of every evaluation."""
    hosts = importlib.import_module(live.__name__.replace("panel.live", "host.attach"))
    ticks = iter(range(10**6))
    step_map = live.StepMap(sampler_node(), clock or (lambda: float(next(ticks))))
    reports = []

    def tell(report):
        reports.append(report)
        step_map.end(report)

    model = hosts.attach(demo.model, hosts.chosen(2.0, None), tell, step_map.observe)
    demo.sample(model, steps=steps)
    return reports[0]


def test_events_add_up_to_the_report(live, host, demo, sent):
    report = run(live, host, demo)
    assert {(name, sid) for name, _, sid in sent} == {("frdiff.run", "tab")}
    events = [data for _, data, _ in sent]
    assert [event["state"] for event in events] == ["running"] * 20 + ["done"]
    assert all((event["node"], event["workflow"]) == ("7:3", "w") for event in events)
    state = None
    for event in events[:-1]:
        state = live.merged(state, event)
    assert len(state["planned"]) == 20 and len(state["cells"]) == 19
    told = {step: cell["kind"] for step, cell in events[-1]["cells"].items()}
    assert told == {record.step: record.kind for record in report.records}
    assert events[-1]["report"]["counts"] == report.counts
    assert events[-1]["report"]["line"] == report.line()


def test_events_of_two_parts_belong_together(live, host, demo, sent, monkeypatch):
    """Each has the planned cells of the other and a name in common, also in what stays at its end; the next has not."""
    node = host.NODE_CLASS_MAPPINGS["FRDiffKSamplerAdvanced"]

    def sample(latent, seed):
        for part in (FIRST, SECOND):
            values = {"start_at_step": 0, "end_at_step": 10000, **part}
            latent = node.execute(
                demo.model, noise_seed=seed, steps=20, cfg=3.0, sampler_name="euler", scheduler="normal",
                positive=demo.positive, negative=demo.negative, latent_image=latent, speedup=2.0, **values,
            ).result[0]  # fmt: skip

    monkeypatch.setattr(node, "hidden", sampler_node().hidden)
    with torch.inference_mode():
        for seed in (1, 2):
            sample({"samples": torch.zeros(1, 4, 16, 16)}, seed)
    ends = [data for _, data, _ in sent if data["state"] == "done"]
    first, second, third, fourth = ends
    assert first["whole"] == second["whole"] != third["whole"] == fourth["whole"]
    assert (first["before"], second["after"]) == ([], [])
    for one, others in ((first, second["before"]), (second, first["after"])):
        assert [cell["kind"] for cell in one["cells"].values()] == [cell["kind"] for cell in others]
    kinds = [cell["kind"] for end in (first, second) for cell in end["cells"].values()]
    assert len(kinds) == 20 and kinds.count("full") == 10
    sent.clear()
    run(live, host, demo)
    assert not any({"before", "after", "whole"} & set(data) for _, data, _ in sent)


def test_events_are_far_apart(live, host, demo, sent):
    # A clock that says the whole run lasts 1 second.
    ticks = iter(range(10**6))
    run(live, host, demo, clock=lambda: next(ticks) / 20)
    assert len(sent) <= 2 + 1 / live.SECONDS_BETWEEN_EVENTS


def test_a_page_can_ask_again_and_old_runs_go(live, host, demo, sent):
    run(live, host, demo)
    newest = live.RUNS.of("tab")[-1]
    assert newest["state"] == "done" and len(newest["cells"]) == 20 and len(newest["planned"]) == 20
    assert live.RUNS.of("another tab") == []
    runs = live.Runs()
    for number in range(live.RUNS_KEPT + 5):
        runs.keep("tab", {"node": str(number), "workflow": None, "run": number, "cells": {}})
    assert len(runs.of("tab")) == live.RUNS_KEPT and runs.of("tab")[0]["node"] == "5"


def test_an_interrupted_run_is_stopped(live, host, demo, sent):
    network = demo.model.model.diffusion_model
    inner = network.get_submodule("out.2" if hasattr(network, "out") else "final_layer.linear")
    calls = []

    def hook(*_):
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("stop")

    handle = inner.register_forward_pre_hook(hook)
    try:
        with pytest.raises(RuntimeError):
            run(live, host, demo)
    finally:
        handle.remove()
    assert sent[-1][1]["state"] == "stopped" and sent[-1][1]["report"]["finished"] is False
    told = sent[-1][1]
    assert told["report"]["line"].startswith(f"Stopped at step {max(told['cells']) + 1} of 20: ")


def test_without_a_server_nothing_is_sent(live, host, demo):
    assert live.prompt_server() is None
    run(live, host, demo, steps=4)


@pytest.fixture
def fronts(pack):
    return importlib.import_module(f"{pack.__name__}.nodes.panel.fronts")


@pytest.fixture
def folder(host, tmp_path, monkeypatch):
    """An empty models/frdiff."""
    import folder_paths

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "frdiff", ([str(tmp_path)], {".safetensors"}))
    return tmp_path


OLD = ROOT / "tests" / "schedules" / "demo_unet_20.safetensors"
FILE = "mine.safetensors"


@pytest.fixture
def file(engine, folder):
    """A file of 20 steps of euler in models/frdiff."""
    made = engine("schedule_files.store").read_schedule(OLD)
    point = engine("schedule_files.model").Point
    levels = {1.25: (48.0, 50.0), 1.5: (43.0, 46.0), 2.0: (38.0, 40.0), 3.0: (31.0, 33.0), 4.0: (30.0, 34.5)}
    points = tuple(point(dial, 1 / dial, each, (each[0] - 9,) if dial == 2 else ()) for dial, each in levels.items())
    made = dataclasses.replace(made, points=points, measure="picture", name="mine")
    engine("schedule_files.store").write_schedule(folder / FILE, made)
    return made


def test_a_front_falls_from_slow_to_fast_and_its_dials_mean_its_points(fronts, engine, file):
    front = fronts.front_of({"node": "FRDiffScheduleLoader", "inputs": {"file": FILE}})
    assert front["steps"] == 20 and front["pictures"] == 2 and front["measure"] == "picture"
    rows = front["points"]
    # 3x is no better than 4x, and so is not there.
    assert [row["dial"] for row in rows] == [1.25, 1.5, 2.0, 4.0] and rows[0]["from"] == 1.0
    middles = [row["middle"] for row in rows]
    assert middles == sorted(middles, reverse=True) and [row["fewer"] for row in rows] == [None, None, 29.0, None]
    choice = engine("schedule_files.choice")
    for row in rows:
        assert row["worst"] <= row["low"] <= row["middle"] <= row["high"] and row["from"] <= row["dial"]
        assert choice.chosen(file, choice.Wish(row["dial"])).point.said == row["said"]
        assert f"{row['middle']:.0f} dB on 2 of your pictures" in row["words"]
    for name, level in front["levels"].items():
        meant = [row["dial"] for row in rows if row["said"] >= level]
        assert choice.chosen(file, choice.Wish(by=name)).speedup == (meant[-1] if meant else 1.0)


def test_a_loader_plans_from_its_file_by_speed_and_by_error(planning, file):
    def full(**inputs):
        source = {"node": "FRDiffScheduleLoader", "inputs": {"file": FILE, "speedup": 2.5, **inputs}}
        return ask(planning, steps=20, schedule=source)["counts"]["full"]

    assert full() == full(by="speed", decibels=48.0) == 8
    assert full(by="error: close") == 10 and full(by="error: decibels", decibels=49.0) == 16
    assert full(by="error: decibels", decibels=99.0) == 20


def test_auto_is_planned_by_the_dial_and_by_error_when_it_runs(planning, folder):
    source = {"node": "FRDiffScheduleLoader", "inputs": {"file": "auto", "speedup": 2.5}}
    assert ask(planning, steps=20, schedule=source)["counts"]["full"] == 8
    source["inputs"]["by"] = "error: close"
    with pytest.raises(ValueError, match="known when the node runs"):
        ask(planning, steps=20, schedule=source)


def test_auto_fr_plans_from_the_newest_file_of_its_name_or_of_its_settings(planning, engine, file, folder):
    store = engine("schedule_files.store")
    source = {"node": "FRDiffAutoFR", "inputs": {"name": "yours", "speedup": 2.0, "steps": 20, "effort": "quick"}}
    with pytest.raises(ValueError, match="Nothing has been calibrated.* quick takes as long as 3 ordinary runs"):
        ask(planning, steps=20, schedule=source)
    by_error = {**source["inputs"], "name": "mine", "by": "error: invisible"}
    source["inputs"] = by_error
    assert ask(planning, steps=20, schedule=source)["counts"]["full"] == 13
    # A newer file, and then the same one written again: nothing old is answered.
    for steps, point in ((5, file.points[-1]), (16, file.points[0])):
        better = dataclasses.replace(point, levels=(60.0, 60.0))
        store.write_schedule(folder / "mine 2.safetensors", dataclasses.replace(file, points=(better,)))
        assert ask(planning, steps=20, schedule=source)["counts"]["full"] == steps
    made = file.provenance
    settings = {"cfg": made.cfg, "sampler_name": made.sampler, "scheduler": made.scheduler, "name": "auto"}
    source["inputs"] = {**by_error, **settings}
    assert ask(planning, steps=20, schedule=source)["counts"]["full"] == 16
    source["inputs"]["cfg"] = 4.5
    with pytest.raises(ValueError, match="with these settings yet"):
        ask(planning, steps=20, schedule=source)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"node": "FRDiffSchedule", "inputs": {}},
        {"node": ["FRDiffAutoFR"], "inputs": {}},
        {"node": "FRDiffAutoFR", "inputs": {"name": 3}},
        {"node": "FRDiffAutoFR", "inputs": {"name": "../x"}},
        {"node": "FRDiffScheduleLoader", "inputs": {"file": "/etc/passwd"}},
        {"node": "FRDiffScheduleLoader", "inputs": {"file": "gone.safetensors"}},
    ],
)
def test_a_wrong_request_for_a_front_is_a_sentence(fronts, pack, folder, request_):
    errors = importlib.import_module(f"{pack.__name__}.frdiff.errors")
    with pytest.raises(errors.FRDiffError, match=r"\.$"):
        fronts.front_of(request_)


def test_turning_the_dial_does_not_calibrate_again(host, demo, folder, live, fronts, sent, monkeypatch):
    import torch

    monkeypatch.setattr(fronts, "prompt_server", live.prompt_server)
    node = host.NODE_CLASS_MAPPINGS["FRDiffAutoFR"]
    latent = {"samples": torch.zeros(1, 4, 16, 16)}

    def execute(speedup, latent=latent, **more):
        monkeypatch.setattr(node, "hidden", sampler_node().hidden, raising=False)
        sampling = ("euler", "normal", "quick", "mine")
        return node.execute(demo.model, demo.positive, demo.negative, latent, 5, 16, 3.0, *sampling, speedup, **more)

    first = execute(2.0).result[0]
    shown = [data["front"] for name, data, _ in sent if name == fronts.EVENT]
    # After its picture, and at the end.
    assert len(shown) == 2 and [data["node"] for name, data, _ in sent if name == fronts.EVENT] == ["7:3"] * 2
    assert shown[0] == shown[1] and len(shown[0]["points"]) > 1
    calls = []
    hook = demo.model.model.diffusion_model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        second = execute(3.0).result[0]
        assert not calls and second.file == first.file and second.speedup == 3.0
        assert [path.name for path in folder.iterdir()] == ["mine.safetensors"]
        # An equal latent is the same one; another size is not.
        execute(2.0, {"samples": torch.zeros(1, 4, 16, 16)})
        assert not calls
        execute(2.0, {"samples": torch.zeros(1, 4, 16, 24)})
        assert calls and len(list(folder.iterdir())) == 2
    finally:
        hook.remove()
