"""The paper's Auto-FR: gates that are learned with gradients, through the host's own sampling and on a toy network."""

import math

import pytest
import torch
from subjects import demo_subject, relative

from setup.in_process import pack_module

STEPS, SIZE = 8, 8
LEARNED_FROM, OTHERS = 5, (77, 78, 79)


@pytest.fixture(scope="module", params=["unet", "dit"])
def subject(host, request):
    made = demo_subject(host, request.param)
    return made.having(latent={"samples": torch.zeros(1, 4, SIZE, SIZE)})


def module(subject, name):
    return pack_module(subject.host, name)


def learned(subject, sampler="euler", **settings):
    """The file of learned gates, as scripts/calibrate.py learns them."""
    gates = module(subject, "scripts.calibrate.gates")
    request = module(subject, "nodes.calibration_request").Request(
        subject.model, subject.positive, subject.negative, subject.latent, LEARNED_FROM, STEPS, 3.0, sampler, "normal",
        "quick", "gates", 2.0,
    )  # fmt: skip
    with module(subject, "scripts.calibrate.gradients").with_gradients(request) as learner:
        return gates.learn(learner.sample, learner.provenance(), "gates", LEARNED_FROM, gates.GateSettings(**settings))


def repeating(subject, keyframes):
    """A schedule that computes these steps and repeats the last output at the others, as the gates do."""
    rollout = module(subject, "frdiff.auto_fr.rollout")
    # Without options, outputs are repeated.
    return rollout.FixedSchedule("even", fixed=rollout.Plan.with_keyframes(keyframes, STEPS))


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


class Toy(torch.nn.Module):
    """A velocity that turns quickly in one part of the run, and Euler's method over it."""

    steps = 24

    def __init__(self, engine):
        super().__init__()
        self.contract, self.level = engine("engine"), engine("sampler.noise_levels").NoiseLevel
        weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(1)) / 3
        self.weight = torch.nn.Parameter(weight)

    def forward(self, x, t):
        return (x + torch.tanh(x @ self.weight) * t) * (0.3 + math.exp(-(((t - 0.3) / 0.1) ** 2)))

    def sample(self, make, seed, steps=None):
        sigmas = [1 - i / self.steps for i in range(self.steps + 1)]
        engine = make(self.contract.RunFacts(sigmas, lambda sigma: self.level(sigma, sigma, 1.0, -sigma)))
        x = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(seed))
        try:
            for sigma, following in zip(sigmas, sigmas[1:], strict=False):
                engine.begin_evaluation(sigma, x)
                velocity = engine.call(self.contract.NetworkCall("all", self, lambda x=x, t=sigma: self(x, t)))
                engine.end_evaluation(x - sigma * velocity)
                x = x + (following - sigma) * velocity
        finally:
            engine.close()
        return x


@pytest.fixture
def gates(host):
    return pack_module(host, "scripts.calibrate.gates")


@pytest.fixture
def toy(engine):
    return Toy(engine)


def learned_from(toy, gates, engine, **settings):
    """The file of gates that were learned from the toy."""
    network = engine("blocks.network_id").NetworkId("", "", "")
    made = gates.Provenance(network, "FLOW", "euler", "linear", 1.0, "4x8", 0, "0.1.0", "2026-01-01")
    return gates.learn(toy.sample, made, "gates", 1, gates.GateSettings(**settings))


def test_the_gates_of_a_toy_are_better_than_even_schedules(toy, gates, engine):
    file = learned_from(toy, gates, engine, iterations=300, weight=0.01)
    form = engine("schedule_files.format")
    assert file.method == "gates" and form.from_bytes(form.to_bytes(file), "gates") == file
    assert toy.weight.requires_grad and toy.weight.grad is None
    with torch.no_grad():
        truth, better = gates.record(toy.sample, 77), []
        for point in file.points:
            full = [i for i, kind in enumerate(point.kinds) if kind.value == "full"]
            if len(full) < toy.steps:
                even = {round(i * toy.steps / len(full)) for i in range(len(full))}
                ours, theirs = (relative(repeated(toy, gates, keys), truth.final) for keys in (full, even))
                better.append(math.log(theirs / ours))
    assert len(better) > 2 and sum(better) / len(better) > 0


def repeated(toy, gates, keyframes):
    """The result of a run that computes these steps and repeats the last output at the others."""
    opened = torch.tensor([float(step in keyframes) for step in range(toy.steps)])
    return toy.sample(lambda facts: gates.GatedRun(opened, facts, gates.StandIns()), 77)


def test_each_stream_repeats_its_own_output(gates):
    network = torch.nn.Identity()
    run = gates.GatedRun(torch.tensor([1.0, 0.0]), gates.RunFacts([1.0, 0.5, 0.0]), gates.StandIns())
    outputs = []
    for sigma, inputs in ((1.0, (1.0, 2.0)), (0.5, (3.0, 4.0))):
        run.begin_evaluation(sigma)
        for stream, x in zip(("positive", "negative"), inputs, strict=True):
            call = gates.NetworkCall(stream, network, lambda x=x: network(torch.tensor(x)))
            outputs.append(float(run.call(call)))
    assert outputs == [1.0, 2.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (torch.cuda.OutOfMemoryError("out of memory"), "memory does not hold"),
        (RuntimeError("no autograd formula was registered"), "no gradient comes through"),
    ],
)
def test_what_stops_the_gates_is_said_in_a_sentence(toy, gates, engine, error, says):
    plain = toy.forward

    def forward(x, t):
        if torch.is_grad_enabled():
            raise error
        return plain(x, t)

    toy.forward = forward
    with pytest.raises(ValueError, match=says) as raised:
        learned_from(toy, gates, engine, iterations=1)
    # As long as the error is kept, anyone else's gradients are what they were.
    x = torch.ones(1, requires_grad=True)
    (x * x).backward()
    assert raised.value.__cause__ is error and x.grad == 2
