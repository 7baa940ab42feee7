"""The paper's Auto-FR in a real ComfyUI: gates that are learned with gradients through the host's own sampling."""

import math

import pytest
import torch
from project_scripts import import_script
from subjects import demo_subject, relative

in_process = import_script("in_process")

STEPS, SIZE = 8, 8
LEARNED_FROM, OTHERS = 5, (77, 78, 79)


@pytest.fixture(scope="module", params=["unet", "dit"])
def subject(host, request):
    made = demo_subject(host, request.param)
    return made.having(latent={"samples": torch.zeros(1, 4, SIZE, SIZE)})


def module(subject, name):
    return in_process.engine_module(subject.host, name)


def learned(subject, sampler="euler", **settings):
    """The file of learned gates, as scripts/calibrate.py learns them."""
    gates = module(subject, "frdiff.auto_fr.gates")
    request = module(subject, "nodes.calibration_request").Request(
        subject.model, subject.positive, subject.negative, subject.latent, LEARNED_FROM, STEPS, 3.0, sampler, "normal",
        "quick", "gates", 2.0,
    )  # fmt: skip
    with module(subject, "nodes.gradients").with_gradients(request) as learner:
        return gates.learn(learner.sample, learner.provenance(), "gates", LEARNED_FROM, gates.GateSettings(**settings))


def repeating(subject, keyframes):
    """A schedule that computes these steps and repeats the last output at the others, as the gates do."""
    names = ("auto_fr.rollout", "auto_fr.refine", "planning.schedule", "forecasting.rules")
    rollout, refine, schedule, forecast = (module(subject, f"frdiff.{name}") for name in names)
    plan = refine.Plan.with_keyframes(keyframes, STEPS, schedule.StepKind.SKIP)
    return rollout.FixedSchedule("even", forecast.REUSE, fixed=plan)


@pytest.mark.parametrize("subject", ["dit"], indirect=True)
def test_the_gates_are_better_than_even_schedules_of_as_many_steps(subject, host, tmp_path, monkeypatch):
    import folder_paths

    full = {seed: subject.sample(steps=STEPS, seed=seed) for seed in (LEARNED_FROM, *OTHERS)}
    before = [set(module.__dict__) for module in subject.network.modules()]
    weights = [id(parameter) for parameter in subject.network.parameters()]
    file = learned(subject, rate=0.02, iterations=24)
    assert before == [set(module.__dict__) for module in subject.network.modules()]
    assert weights == [id(parameter) for parameter in subject.network.parameters()]
    assert all(parameter.grad is None for parameter in subject.network.parameters())
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "frdiff", ([str(tmp_path)], {".safetensors"}))
    module(subject, "frdiff.schedule_files.store").write_schedule(tmp_path / "gates.safetensors", file)
    better = []
    for point in file.points:
        keyframes = [i for i, kind in enumerate(point.kinds) if kind.value == "full"]
        if len(keyframes) == STEPS:
            continue
        loader = host.NODE_CLASS_MAPPINGS["FRDiffScheduleLoader"]
        ours = loader.execute("gates.safetensors", 1 / point.cost).result[0]
        even = repeating(subject, sorted({round(i * STEPS / len(keyframes)) for i in range(len(keyframes))}))
        for seed, truth in full.items():
            (latent, report), (other, _) = (subject.frdiff(schedule=s, steps=STEPS, seed=seed) for s in (ours, even))
            assert report.counts["full"] == len(keyframes)
            better.append(20 * math.log10(relative(other, truth) / relative(latent, truth)))
            if seed == LEARNED_FROM:
                assert relative(latent, truth) == pytest.approx(point.error, rel=1e-3)
    assert len(better) >= len(full) and sum(better) / len(better) > 3


@pytest.mark.parametrize(("sampler", "says"), [("dpm_adaptive", "cannot"), ("euler_ancestral", "adds noise")])
def test_a_sampler_that_cannot_be_learned_with_is_refused(subject, sampler, says):
    with pytest.raises(ValueError, match=says):
        learned(subject, sampler=sampler, iterations=1)


def test_where_no_gradient_comes_through_it_says_so(subject):
    model = subject.model.clone()
    model.set_model_sampler_cfg_function(lambda args: torch.lerp(args["uncond"], args["cond"], 3.0).detach())
    with pytest.raises(ValueError, match="no gradient comes through"):
        learned(subject.having(model=model), iterations=1)
