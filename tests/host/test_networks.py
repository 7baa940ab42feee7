"""What a schedule file knows of the network it was made for: its own weights and its LoRAs, wherever they are."""

import pytest
import torch
from compositions import lora
from subjects import demo_subject

STEPS = 8
OTHER_PATCHES, OTHER_WEIGHTS = "LoRAs or other patches", "other weights"


@pytest.fixture(scope="module", params=["unet", "dit"])
def subject(host, request):
    return demo_subject(host, request.param)


@pytest.fixture
def folder(subject, tmp_path, monkeypatch):
    """An empty models/frdiff."""
    import folder_paths

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "frdiff", ([str(tmp_path)], {".safetensors"}))


def calibrated(subject, seed=5):
    """The schedule that FRDiff Auto-FR makes."""
    inputs = (subject.model, subject.positive, subject.negative, subject.latent)
    return subject.host.NODE_CLASS_MAPPINGS["FRDiffAutoFR"].execute(
        *inputs, seed, STEPS, 3.0, "euler", "normal", "quick", "mine", 2.0
    ).result[0]  # fmt: skip


def notes(subject, schedule):
    """What the report of a run says of the network."""
    text = subject.frdiff(steps=STEPS, schedule=schedule)[1].text()
    return [known for known in (OTHER_PATCHES, OTHER_WEIGHTS) if known in text]


def test_a_lora_is_noted_where_the_calibration_had_another_or_none(subject, folder):
    patched = lora(subject)
    schedule = calibrated(patched)
    assert schedule.file.provenance.network.patches
    assert notes(patched, schedule) == []
    assert notes(subject, schedule) == [OTHER_PATCHES]
    assert notes(lora(subject, 0.5), schedule) == [OTHER_PATCHES]
    assert notes(lora(lora(subject)), schedule) == [OTHER_PATCHES]
    # A LoRA that was loaded anew is the same.
    assert notes(lora(subject), schedule) == []


def test_what_is_in_the_network_at_the_moment_makes_no_difference(subject, folder):
    import comfy.model_management

    schedule = calibrated(subject)
    assert not schedule.file.provenance.network.patches
    weights = [parameter.sum().item() for parameter in subject.network.parameters()]
    lora(subject).sample(steps=2)
    assert weights != [parameter.sum().item() for parameter in subject.network.parameters()]
    # It is described before the host takes the LoRA out again.
    assert notes(subject, schedule) == []
    lora(subject).sample(steps=2)
    assert calibrated(subject, seed=6).file.provenance.network == schedule.file.provenance.network
    comfy.model_management.unload_all_models()
    assert notes(subject, schedule) == []


def test_a_fine_tune_is_noted(subject, folder):
    schedule = calibrated(subject)
    other = demo_subject(subject.host, "unet" if hasattr(subject.network, "out") else "dit")
    with torch.no_grad():
        for parameter in other.network.parameters():
            parameter.mul_(1.01)
    assert notes(other, schedule) == [OTHER_WEIGHTS]
