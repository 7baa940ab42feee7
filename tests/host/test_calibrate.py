"""Calibrating without ComfyUI's window: the command line, here and on a Ray cluster of this machine."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from calibrate.ray_workers import Workers
from setup import SCRIPTS, ScriptError
from setup.host import host_of
from setup.inside import INSIDE

PRINTED = "printed.txt"
# In seconds; a busy machine takes minutes for Ray's processes to load ComfyUI.
LIMIT = 480
RAY = replace(host_of(Path(), Path(sys.executable)), tools=Path(pytest.__file__).parent.parent).ray_tools


def link(node, output=0):
    return [node, output]


def workflow(model="unet", **settings):
    """A workflow in API format with a node FRDiff Auto-FR, and one that has nothing to do with it."""
    texts = {"positive": "grinning face, 3d", "positive_2": "red apple, 3d", "negative": ""}
    encoders = {
        name: {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": link("model", 1)}}
        for name, text in texts.items()
    }
    inputs = {
        "model": link("model"), **{name: link(name) for name in texts}, "latent_image": link("latent"), "seed": 5,
        "steps": 10, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "effort": "normal", "name": "mine",
        "speedup": 2.0, **settings,
    }  # fmt: skip
    return {
        "model": {"class_type": "FRDiffDemoModelLoader", "inputs": {"model": model}},
        "latent": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
        "unrelated": {"class_type": "NodeOfAPackThatIsNotHere", "inputs": {}},
        **encoders,
        "auto": {"class_type": "FRDiffAutoFR", "inputs": inputs},
    }


def started(tmp_path, prompt, *arguments, ray=None):
    """The script in this Python, as it runs itself inside the host's."""
    path = tmp_path / "flow.json"
    path.write_text(prompt if isinstance(prompt, str) else json.dumps(prompt))
    paths = [os.environ.get("PYTHONPATH", ""), *([str(ray)] if ray else [])]
    environment = {
        **os.environ, INSIDE: "here", "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }  # fmt: skip
    command = [sys.executable, str(SCRIPTS / "calibrate.py"), str(path), "--device", "cpu", *arguments]
    with (tmp_path / PRINTED).open("w") as output:
        # No pipe: what is left running of Ray's would keep it open.
        return subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT)


def ran(tmp_path, prompt, *arguments, ray=None, meanwhile=lambda output: None):
    """What the script printed, and its exit code; `meanwhile` is given what there is by now."""
    stops = time.monotonic() + LIMIT
    with started(tmp_path, prompt, *arguments, ray=ray) as process:
        while process.poll() is None:
            meanwhile(printed(tmp_path))
            if time.monotonic() > stops:
                process.kill()
            time.sleep(0.1)
    return printed(tmp_path), process.returncode


def printed(tmp_path):
    return (tmp_path / PRINTED).read_text(encoding="utf-8", errors="replace")


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """The bytes of a file that was calibrated in one process, and what was printed."""
    folder = tmp_path_factory.mktemp("serial")
    output, code = ran(folder, workflow(), "--output", str(folder / "mine.safetensors"))
    assert code == 0, output
    return (folder / "mine.safetensors").read_bytes(), output


def test_a_workflow_is_calibrated_without_a_window(serial, engine):
    data, output = serial
    file = engine("schedule_files.format").from_bytes(data, "mine")
    assert (file.name, file.steps, file.held_out, file.notes) == ("mine", 10, 3, ())
    made = file.provenance
    assert (made.sampler, made.scheduler, made.cfg, made.size) == ("euler", "normal", 3.0, "16x16x16")
    assert made.network.cls.endswith("UNetModel") and made.network.weights and made.stages > 0
    assert "100%" in output and "Written: " in output and output.count("uncalibrated") >= 3


def test_the_papers_gates_are_learned_without_a_window(tmp_path, engine):
    path = tmp_path / "mine.safetensors"
    prompt = workflow("dit", steps=8)
    prompt["latent"]["inputs"].update(width=64, height=64)
    options = ("--method", "gates", "--iterations", "12", "--rate", "0.02", "--output", str(path))
    output, code = ran(tmp_path, prompt, *options)
    assert code == 0 and "100%" in output and f"Written: {path}" in output, output
    file = engine("schedule_files.format").from_bytes(path.read_bytes(), "mine")
    assert (file.method, file.steps, file.forecaster.name) == ("gates", 8, "reuse")
    assert file.provenance.network.weights and file.milliseconds.full > 0 and "paper" in file.notes[0]
    assert len(file.points) > 1


@pytest.mark.parametrize(
    ("settings", "options", "says"),
    [
        ({"sampler_name": "euler_ancestral"}, (), "adds noise"),
        ({}, ("--iterations", "0"), "one iteration or more"),
        ({}, ("--ray", "local"), "one process"),
    ],
)
def test_gates_that_cannot_be_learned_are_refused_in_a_sentence(tmp_path, settings, options, says):
    output, code = ran(tmp_path, workflow("dit", **settings), "--method", "gates", *options)
    assert code and says in output.splitlines()[-1]


@pytest.mark.ray
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that ends a process at once.")
def test_two_ray_workers_one_of_them_killed_write_the_same_file(serial, tmp_path, engine):
    if not RAY.is_dir():
        pytest.skip("Ray is not installed for the tests; scripts/test.py tries, and says what is in the way.")
    options = ("--output", str(tmp_path / "mine.safetensors"), "--ray", "local", "--workers", "2")
    killed = []

    def kill_one(output):
        workers = re.findall(r"is ready: process (\d+) on", output)
        if not killed and len(workers) == 2:
            killed.append(int(workers[0]))
            os.kill(killed[0], signal.SIGKILL)

    output, code = ran(tmp_path, workflow(), *options, ray=RAY, meanwhile=kill_one)
    assert code == 0 and killed, output
    assert "ended early; its run is made again" in output
    form = engine("schedule_files.format")
    assert timeless(form, (tmp_path / "mine.safetensors").read_bytes()) == timeless(form, serial[0])


def timeless(form, data):
    """The bytes of a file without its day and its milliseconds."""
    file = form.from_bytes(data, "mine")
    return form.to_bytes(replace(file, milliseconds=None, provenance=replace(file.provenance, date="")))


def test_without_ray_it_says_how_to_install_it(tmp_path):
    output, code = ran(tmp_path, workflow(), "--ray", "local")
    if "Starting" in output:
        pytest.skip("Ray is in this Python, so that its absence cannot be tried.")
    assert code == 1 and '-m pip install "ray' in output and "Traceback" not in output


def two_nodes():
    return {**workflow(), "again": workflow()["auto"]}


def broken(node, name, value):
    prompt = workflow()
    prompt[node]["inputs"][name] = value
    return prompt


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("{", "is not JSON"),
        ({"nodes": [], "links": []}, "not in API format"),
        ({"model": workflow()["model"]}, "has no node FRDiffAutoFR"),
        (two_nodes(), "choose one with --node: auto, again"),
        (broken("auto", "steps", 2), "FRDiffAutoFR: Value 2 smaller than min of 5"),
        # Which of the two depends on the version of ComfyUI.
        (broken("model", "model", "other"), "workflow failed: The demo model demo_other|Value not in list .*other"),
    ],
)
def test_a_workflow_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, prompt, says):
    output, code = ran(tmp_path, prompt)
    # Before it there may be what ComfyUI writes about nodes that did not load.
    last = output.splitlines()[-1]
    assert code == 1 and last.startswith("The calibration stopped: ") and re.search(says, last)


@dataclass(frozen=True)
class Job:
    number: int
    truth: object = None


class Task(Exception):
    cause = ValueError("what went wrong")


class Died(Exception):
    pass


class FakeRay:
    """Ray as far as `Workers` sees it: does calls in any order; `ends(job)` says how often a job ends its worker."""

    class exceptions:
        RayTaskError, RayActorError = Task, Died

    def __init__(self, ends=lambda job: 0):
        self.ends, self.done, self.put_count, self.made = ends, [], 0, 0
        self.ready = self.do = self
        self.calls = {}
        self.random = random.Random(1)

    def worker(self):
        self.made += 1
        return self

    def remote(self, *arguments):
        reference = object()
        self.calls[reference] = arguments
        return reference

    def put(self, value):
        self.put_count += 1
        return value

    def wait(self, references, num_returns):
        first = self.random.choice(references)
        return [first], [each for each in references if each is not first]

    def get(self, reference):
        if not self.calls[reference]:
            return "here", {"seed": 1}
        job, truth = self.calls[reference]
        self.done.append(job.number)
        if job.number < 0:
            raise Task
        if self.done.count(job.number) <= self.ends(job):
            raise Died("the worker is gone")
        return job.number, truth


def workers(ray, said=None):
    return Workers(ray, ray.worker, 3, (said if said is not None else []).append)


def test_results_come_in_order_whoever_is_first():
    ray, truth = FakeRay(), object()
    jobs = [Job(number, truth) for number in range(7)]
    assert list(workers(ray).do(jobs)) == [(number, truth) for number in range(7)]
    assert ray.put_count == 1 and ray.done != sorted(ray.done) == list(range(7))


def test_a_job_that_ended_its_worker_is_done_again_but_not_for_ever():
    said = []
    ray = FakeRay(ends=lambda job: 2 if job.number == 3 else 0)
    assert [number for number, _ in workers(ray, said).do([Job(n) for n in range(5)])] == list(range(5))
    assert ray.done.count(3) == 3 and ray.made == 3 + 2 and sum("ended early" in text for text in said) == 2
    with pytest.raises(ScriptError, match="ended its Ray worker 3 times"):
        list(workers(FakeRay(ends=lambda job: 99)).do([Job(1)]))


def test_what_is_left_of_jobs_that_nobody_asks_for_does_not_get_among_others():
    ray = FakeRay()
    pool = workers(ray)
    first = pool.do([Job(number) for number in range(6)])
    next(first)
    first.close()
    assert [number for number, _ in pool.do([Job(number) for number in range(10, 15)])] == list(range(10, 15))
    assert len([number for number in ray.done if number < 6]) < 6


def test_what_went_wrong_in_a_job_is_raised_as_it_was():
    with pytest.raises(ValueError, match="what went wrong"):
        list(workers(FakeRay()).do([Job(-1)]))
