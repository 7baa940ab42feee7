"""Reports that travel: which run's report is in the metadata that the host writes into what a prompt saves."""

import importlib
import json

import pytest

GRAPH = {
    "1": {"class_type": "Loader", "inputs": {"name": "a"}},
    "2": {"class_type": "Sampler", "inputs": {"model": ["1", 0], "seed": 1}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
}


@pytest.fixture
def travel(pack):
    return importlib.import_module(f"{pack.__name__}.nodes.panel.travel")


class Server:
    """What of the host's server is used: its hook, and the queue as it tells of itself."""

    def __init__(self):
        self.handlers, self.waiting = [], []
        self.prompt_queue = self

    def add_on_prompt_handler(self, handler):
        self.handlers.append(handler)

    def get_current_queue_volatile(self):
        return [], self.waiting

    def post(self, graph, **more):
        """A prompt as it comes over HTTP; answers the request as the host goes on with it."""
        request = json.loads(json.dumps({"prompt": graph, "extra_data": {"extra_pnginfo": {}}, **more}))
        for handler in self.handlers:
            request = handler(request)
        self.waiting.append((0, request["prompt_id"]))
        return request


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def travelling(travel, server):
    made = travel.Travelling()
    made.register(server)
    return made


def executing(request, node):
    from comfy_execution.utils import CurrentNodeContext

    return CurrentNodeContext(request["prompt_id"], node)


def run(node="2", seconds=1.0):
    report = {"seconds": seconds}
    return {"node": node, "workflow": None, "run": seconds, "state": "done", "cells": {}, "report": report}


def carried(request):
    return request["extra_data"]["extra_pnginfo"].get("frdiff", {}).get("runs", {})


def test_a_run_is_in_the_metadata_of_its_own_prompt(travelling, server):
    first, second = server.post(GRAPH), server.post({**GRAPH, "2": {**GRAPH["2"], "inputs": {"seed": 2}}})
    with executing(second, "2"):
        travelling.add(run())
    assert list(carried(second)) == ["2"] and carried(first) == {}
    assert second["extra_data"]["extra_pnginfo"]["frdiff"]["frdiff_report"] == 1


def test_the_workflow_carries_it_too_since_a_page_opens_nothing_else(travelling, server):
    old = {"workflow": {"id": "w", "extra": {"ds": {"scale": 1}, "frdiff": {"runs": {"9": {}}}}}}
    request = server.post(GRAPH, extra_data={"extra_pnginfo": old})
    saved = request["extra_data"]["extra_pnginfo"]
    assert saved["workflow"]["extra"] == {"ds": {"scale": 1}}
    with executing(request, "2"):
        travelling.add(run())
    assert saved["workflow"]["extra"] == {"ds": {"scale": 1}, "frdiff": saved["frdiff"]} and saved["frdiff"]["runs"]


def test_metadata_of_others_stays(travelling, server):
    request = server.post(GRAPH, extra_data={"extra_pnginfo": {"workflow": {"id": "w"}}}, prompt_id="mine")
    with executing(request, "2"):
        travelling.add(run())
        travelling.add(run("7"))
    assert request["prompt_id"] == "mine" and request["extra_data"]["extra_pnginfo"]["workflow"]["id"] == "w"
    assert set(carried(request)) == {"2", "7"}


def test_a_sampler_that_is_answered_from_the_cache_has_its_report_still(travelling, server):
    with executing(server.post(GRAPH), "2"):
        travelling.add(run(seconds=7.0))
    renamed = {**GRAPH, "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "y"}}}
    assert carried(server.post(renamed))["2"]["run"] == 7.0
    for change in ({"1": {"class_type": "Loader", "inputs": {"name": "b"}}}, {"2": {**GRAPH["2"], "inputs": {}}}):
        assert carried(server.post({**GRAPH, **change})) == {}


def test_a_patcher_that_is_cached_tells_of_the_run_of_now(travelling, server):
    """The report belongs to the sampler that runs, and is shown on the patcher, which does not run again."""
    graph = {**GRAPH, "9": {"class_type": "FRDiffModelPatcher", "inputs": {"model": ["1", 0]}}}
    for seed in (1, 2):
        graph["2"] = {"class_type": "KSampler", "inputs": {"model": ["9", 0], "seed": seed}}
        request = server.post(graph)
        assert carried(request) == {}
        with executing(request, "2"):
            travelling.add(run("9", seconds=float(seed)))
        assert carried(request)["9"]["run"] == seed
    assert carried(server.post(graph))["9"]["run"] == 2.0


def test_a_prompt_without_metadata_gets_none(travelling, server):
    """Other packs' nodes take metadata for a sign that there is a workflow in them."""
    for extra in ({}, {"extra_pnginfo": None}, None):
        request = server.post(GRAPH, extra_data=extra, prompt_id="api")
        with executing(request, "2"):
            travelling.add(run())
        assert request["extra_data"] == extra


def test_a_large_prompt_is_signed_at_once(travel):
    """Many nodes, each of which needs several before it."""
    graph = {"0": {"class_type": "A", "inputs": {}}}
    for i in range(1, 400):
        links = {str(j): [str(max(i - j, 0)), 0] for j in (1, 2, 3)}
        graph[str(i)] = {"class_type": "A", "inputs": links}
    signed = travel.signatures(dict(reversed(graph.items())))
    assert len(set(signed.values())) == 400
    graph["0"]["inputs"]["x"] = 1
    assert not set(travel.signatures(graph).values()) & set(signed.values())


def test_loops_and_nonsense_are_the_hosts_to_refuse(travelling, server):
    loop = {"1": {"class_type": "A", "inputs": {"x": ["2", 0]}}, "2": {"class_type": "B", "inputs": {"x": ["1", 0]}}}
    for graph in (loop, {"1": None}, {"1": {"inputs": 3}}, {"1": {"class_type": "A", "inputs": {"x": ["5", 0]}}}):
        server.post(graph)
    assert travelling.on_prompt({"prompt": "nothing"}) == {"prompt": "nothing"} and travelling.on_prompt({}) == {}


def test_nothing_is_kept_of_prompts_that_are_done(travelling, server):
    for _ in range(50):
        server.post(GRAPH)
    assert len(travelling._prompts) == 50
    server.waiting.clear()
    server.post(GRAPH)
    assert len(travelling._prompts) <= 2
    travelling.add(run())


def test_what_is_written_is_small_and_says_nothing_of_prompts(travel, demo):
    """A whole run of the demo, as it is put into pictures."""
    step_map = importlib.import_module(travel.__name__.replace("travel", "live"))
    _, report = demo.frdiff(steps=50)
    cells = {step: vars(cell) for step, cell in step_map.computed_cells(report.records).items()}
    whole = {**run(), "cells": cells, "report": {**report.summary(), "line": report.line()}}
    text = json.dumps(travel.rounded(whole))
    assert len(text) < 12000 and len(json.loads(text)["cells"]) == 50
