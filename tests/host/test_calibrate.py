"""Calibrating without ComfyUI's window: the command line."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from setup import SCRIPTS
from setup.inside import INSIDE

PRINTED = "printed.txt"
# In seconds.
LIMIT = 480


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


def started(tmp_path, prompt, *arguments):
    """The script in this Python, as it runs itself inside the host's."""
    path = tmp_path / "flow.json"
    path.write_text(prompt if isinstance(prompt, str) else json.dumps(prompt))
    environment = {**os.environ, INSIDE: "here", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPTS / "calibrate.py"), str(path), "--device", "cpu", *arguments]
    with (tmp_path / PRINTED).open("w") as output:
        return subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT)


def ran(tmp_path, prompt, *arguments):
    """What the script printed, and its exit code."""
    with started(tmp_path, prompt, *arguments) as process:
        process.wait(LIMIT)
    return printed(tmp_path), process.returncode


def printed(tmp_path):
    return (tmp_path / PRINTED).read_text(encoding="utf-8", errors="replace")


def test_a_workflow_is_calibrated_without_a_window(tmp_path, engine):
    path = tmp_path / "mine.safetensors"
    output, code = ran(tmp_path, workflow(effort="quick"), "--output", str(path))
    assert code == 0, output
    file = engine("schedule_files.store").read_schedule(path)
    assert (file.name, file.steps, file.pictures, file.notes) == ("mine", 10, 1, ())
    made = file.provenance
    assert (made.sampler, made.scheduler, made.cfg, made.size) == ("euler", "normal", 3.0, "16x16x16")
    assert made.network.cls.endswith("UNetModel") and made.network.weights
    assert "ordinary runs in all" in output and f"Written: {path}" in output and "Here: 2.0x" in output


def test_a_calibration_that_is_there_is_not_made_again(tmp_path):
    for _ in range(2):
        output, code = ran(tmp_path, workflow(effort="quick", steps=8, name=tmp_path.name))
        assert code == 0, output
    (path,) = re.findall(r"Written: (.*)", output)
    try:
        assert Path(path).stem == tmp_path.name and "picture 1" not in output
    finally:
        Path(path).unlink()


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
