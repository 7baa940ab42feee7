"""What the canvas says of a run's time, and what a bug report is made of."""

import asyncio
import importlib
import json
import types

import pytest


@pytest.fixture
def panel(pack):
    return lambda name: importlib.import_module(f"{pack.__name__}.nodes.panel.{name}")


@pytest.fixture
def plans(engine):
    return engine("planning.plan")


@pytest.fixture
def reporting(engine):
    return engine("reporting.report")


def follow(pace, reporting, plan, took, upto):
    """Begin so many evaluations of a plan, each of which takes what its kind takes; the time at the last beginning."""
    now, records = pace.passed(0.0), []
    for place in range(upto):
        kind = plan[place].kind.value
        records.append(reporting.StepRecord(plan.step_of_evaluation[place], 1.0, kind, kind, 1.0))
        pace.begin(now, records, plan)
        if place < upto - 1:
            # The first one loads the network.
            now += took[kind] + (30.0 if place == 0 else 0.0)
    return now


@pytest.mark.parametrize("by_evaluation", [False, True])
def test_what_is_left_knows_which_steps_are_skipped(panel, plans, reporting, by_evaluation):
    kinds = [plans.StepKind(kind) for kind in ("full", "full", "skip", "skip", "full", "partial", "skip", "skip")]
    steps = (0, 0, 1, 1, 2, 2, 3, 3) if by_evaluation else ()
    plan = plans.Plan.of(kinds, step_of_evaluation=steps)
    took = {"full": 2.0, "partial": 0.5, "skip": 0.1}
    left = []
    for upto in range(1, 9):
        pace = panel("pace").Pace(0.0)
        left.append(pace.left(follow(pace, reporting, plan, took, upto), plan))
    # Until a full step besides the first was seen, nobody knows; until a skip was, it takes no time.
    assert left[:2] == [None, None]
    partial_as_full = 2.0 + 2.0
    assert left[2] == pytest.approx(partial_as_full) and left[3] == pytest.approx(0.1 + partial_as_full + 0.2)
    assert left[5] == pytest.approx(2.0 + 0.2) and left[6:] == pytest.approx([0.2, 0.1])


def test_time_that_passes_in_a_step_is_not_left(panel, plans, reporting):
    plan = plans.Plan.of([plans.StepKind.FULL] * 4)
    pace = panel("pace").Pace(0.0)
    now = follow(pace, reporting, plan, {"full": 2.0}, 3)
    assert pace.left(now, plan) == pytest.approx(4.0) and pace.left(now + 1.5, plan) == pytest.approx(2.5)
    # A step that takes longer than the others is about to end, and not overdue.
    assert pace.left(now + 9.0, plan) == pytest.approx(2.0) and pace.passed(now) == pytest.approx(now)


def test_a_sampler_that_evaluates_twice_for_a_step_is_followed_by_steps(panel, plans, reporting):
    plan = plans.Plan.of([plans.StepKind.FULL] * 3)
    pace = panel("pace").Pace(0.0)
    records = []
    for evaluation in range(5):
        records.append(reporting.StepRecord(evaluation // 2, 1.0, "full", "full", 1.0))
        pace.begin(float(evaluation), records, plan)
    assert pace.left(4.0, plan) == pytest.approx(2.0)


def test_seconds_before_are_measured_or_estimated_from_full_steps(engine, reporting):
    def report(*milliseconds):
        timed = enumerate(milliseconds)
        records = [reporting.StepRecord(i, 1.0, "full", "full", 1.0, ms, 1, None, 1) for i, ms in timed]
        skips = [reporting.StepRecord(9, 1.0, "skip", "skip", 1.0, 0.0, 0, None, 1)] * 2
        seconds = sum(milliseconds) / 1000
        return reporting.RunReport("2x", 9, seconds, finished=True, records=[*records, *skips])

    def plain(seconds, finished=True):
        return reporting.RunReport("off", 9, seconds, finished=finished)

    before = engine("reporting.saving").seconds_before
    run = report(900.0, 100.0, 100.0)
    assert before(run).seconds == pytest.approx(1.1 + 2 * 0.1) and not before(run).measured
    # The first one alone loads the network, and says nothing of the others.
    assert before(report(900.0)) is None and before(plain(2.0)) is None
    assert before(run, plain(1.7)).seconds == 1.7 and before(run, plain(1.7)).measured
    # Three of five steps were computed: more than 5/3 of its time a plain run takes for something else.
    for other in (plain(1.9), plain(1.7, finished=False)):
        assert before(run, other) == before(run)


def test_the_report_of_a_run_is_kept_for_those_who_ask(panel, host, demo, monkeypatch):
    from aiohttp import test_utils, web

    live, routes = panel("live"), panel("routes")
    server = types.SimpleNamespace(client_id="pace", send_sync=lambda *_: None)
    monkeypatch.setattr(live, "prompt_server", lambda: server)
    node = types.SimpleNamespace(
        hidden=types.SimpleNamespace(unique_id="5", extra_pnginfo={"workflow": {"id": "w"}}),
        SCHEMA=types.SimpleNamespace(node_id="FRDiffKSampler"),
    )
    hosts = importlib.import_module(live.__name__.replace("panel.live", "host.attach"))
    step_map = live.StepMap(node, model=demo.model)
    demo.sample(hosts.attach(demo.model, hosts.chosen(2.0, None), step_map.end, step_map.observe), steps=6)

    async def ask():
        app = web.Application()
        app.router.add_get("/frdiff/support", routes.support_route)
        app.router.add_post("/frdiff/forget", routes.forget_route)
        async with test_utils.TestClient(test_utils.TestServer(app)) as client:
            before = await (await client.get("/frdiff/support?client=pace&workflow=w")).json()
            other = await (await client.get("/frdiff/support?client=pace&workflow=v")).json()
            forgot = await client.post("/frdiff/forget", data=json.dumps({"client": "pace", "workflow": "w"}))
            wrong = await client.post("/frdiff/forget", data="no JSON")
            after = await (await client.get("/frdiff/support?client=pace&workflow=w")).json()
            return before, other, after, (forgot.status, wrong.status)

    before, other, after, statuses = asyncio.run(ask())
    (kept,) = before["runs"]
    assert kept["type"] == "FRDiffKSampler" and len(kept["report"]["records"]) == 6
    assert kept["model"] == type(demo.model.model).__name__
    assert kept["network"] == type(demo.model.model.diffusion_model).__name__
    assert before["versions"]["frdiff"] and before["versions"]["torch"] and other["runs"] == after["runs"] == []
    assert statuses == (200, 400) and live.RUNS.of("pace") == []


def test_words_for_the_search_are_in_the_schema_where_it_has_them(host):
    from dataclasses import fields

    from comfy_api.latest import io

    from docs.locales import step_words

    schema = host.NODE_CLASS_MAPPINGS["FRDiffKSampler"].define_schema()
    if "search_aliases" in {field.name for field in fields(io.Schema)}:
        assert schema.search_aliases == step_words()["aliases"].split(", ")
    for word in ("faster", "cache", "speed"):
        assert word in schema.description
