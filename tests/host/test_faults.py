"""Faults in mid-run: what is said, what is right afterwards, and what is left behind, which is nothing."""

import copy
import gc
import weakref

import pytest
import torch
from subjects import custom_schedule, demo_subject, euler_resizing, extra_node

STEPS = 8


@pytest.fixture(scope="module", params=["unet", "dit"])
def subject(host, request):
    made = demo_subject(host, request.param)
    made.sample(steps=1)
    return made


def state(subject):
    """Every attribute that any module of the network has of its own, and the options of the model."""
    modules = {name: set(module.__dict__) for name, module in subject.network.named_modules()}
    return modules, copy.deepcopy(subject.model.model_options)


def reusing(host):
    """Full and partial steps by turns."""
    return custom_schedule(host, interval=2, mixing=False)


def block(subject):
    """A block that is a stage, and runs in the middle of the network."""
    inside = "middle_block.1" if hasattr(subject.network, "out") else "single_blocks.3"
    return subject.network.get_submodule(inside)


class Fault:
    """Raises `error` at the entries of a module that `when` picks by their number."""

    def __init__(self, module, error, when):
        self.module, self.error, self.when, self.entered = module, error, when, 0

    def __enter__(self):
        self.handle = self.module.register_forward_pre_hook(self._enter)
        return self

    def __exit__(self, *_):
        self.handle.remove()

    def _enter(self, *_):
        self.entered += 1
        if self.when(self.entered - 1):
            raise self.error


@pytest.mark.quick
@pytest.mark.parametrize("step", range(STEPS))
def test_interrupt_at_every_step(subject, host, step):
    from comfy.model_management import InterruptProcessingException

    before, expected = state(subject), subject.patched(schedule=reusing(host)).sample(steps=STEPS)
    with Fault(subject.network, InterruptProcessingException(), lambda n: n == step) as fault:
        with pytest.raises(InterruptProcessingException):
            subject.patched(schedule=reusing(host)).sample(steps=STEPS)
        # The user's Cancel is final: nothing is sampled again.
        assert fault.entered == step + 1
    assert state(subject) == before
    assert torch.equal(subject.patched(schedule=reusing(host)).sample(steps=STEPS), expected)


class Broken(Exception):
    pass


def test_an_exception_inside_a_stage(subject, host):
    before, expected = state(subject), subject.frdiff(steps=STEPS, schedule=reusing(host))[0]
    for entry in (0, 2):
        with Fault(block(subject), Broken(), lambda n, entry=entry: n == entry), pytest.raises(Broken):
            subject.frdiff(steps=STEPS, schedule=reusing(host))
        assert state(subject) == before
    assert torch.equal(subject.frdiff(steps=STEPS, schedule=reusing(host))[0], expected)


@pytest.mark.quick
@pytest.mark.parametrize("entry", [0, 1, 3])
def test_out_of_memory_inside_a_stage_computes_in_full(subject, host, entry):
    before, plain = state(subject), subject.sample(steps=STEPS)
    with Fault(block(subject), torch.cuda.OutOfMemoryError(), lambda n: n == entry):
        latent, report = subject.frdiff(steps=STEPS, schedule=reusing(host))
    assert "ran out" in report.text()
    kinds = [record.kind for record in report.records]
    assert kinds == [("full", "partial")[step % 2] if step < entry else "full" for step in range(STEPS)]
    # Where nothing had been reused before, the picture is the plain one.
    assert torch.equal(latent, plain) == (entry < 2)
    assert torch.isfinite(latent).all() and state(subject) == before


def test_out_of_memory_in_a_partial_step_computes_it_in_full(subject, host):
    first = subject.network.get_submodule("time_embed" if hasattr(subject.network, "out") else "time_in")
    with Fault(first, torch.cuda.OutOfMemoryError(), lambda n: n == 1), subject.counting() as computed:
        latent, report = subject.frdiff(steps=STEPS, schedule=reusing(host))
    assert report.counts == {"full": STEPS, "partial": 0, "skip": 0}
    assert torch.equal(latent, subject.sample(steps=STEPS))
    # The call that failed was a call too.
    assert sum(record.calls for record in report.records) == len(computed) + 1


def test_memory_that_stays_short_is_an_error(subject, host):
    before = state(subject)
    with Fault(block(subject), torch.cuda.OutOfMemoryError(), lambda n: n >= 1) as fault:
        with pytest.raises(torch.cuda.OutOfMemoryError):
            subject.frdiff(steps=STEPS, schedule=reusing(host))
        assert fault.entered == 3
    assert state(subject) == before


@pytest.mark.quick
def test_what_is_remembered_is_freed(subject, host):
    kept = []
    stage = block(subject)
    handle = stage.register_forward_hook(lambda *args: kept.append(weakref.ref(args[-1])))
    try:
        subject.frdiff(steps=STEPS, schedule=reusing(host))
        with Fault(subject.network, Broken(), lambda n: n == 3), pytest.raises(Broken):
            subject.frdiff(steps=STEPS, schedule=reusing(host))
    finally:
        handle.remove()
    gc.collect()
    assert kept and not any(made() is not None for made in kept)


def test_the_latent_may_change_its_size_in_mid_run(subject, host):
    from comfy.samplers import KSAMPLER

    def run(model, schedule=None):
        import comfy.sample

        noise = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
        sigmas = extra_node("custom_sampler", "BasicScheduler", subject.model, "normal", STEPS, 1.0)
        with torch.inference_mode():
            return comfy.sample.sample_custom(
                model, noise, 3.0, KSAMPLER(euler_resizing(4)), sigmas, subject.positive, subject.negative,
                torch.zeros_like(noise), disable_pbar=True,
            )  # fmt: skip

    plain = run(subject.model)
    assert torch.equal(run(subject.patched(schedule=custom_schedule(host)).model), plain)
    for schedule in (None, reusing(host)):
        latent = run(subject.patched(schedule=schedule).model)
        assert latent.shape == plain.shape and torch.isfinite(latent).all()
        assert not torch.equal(latent, plain)


@pytest.mark.quick
def test_a_model_that_is_unloaded_between_two_queues(subject, host):
    import comfy.model_management

    patched = subject.patched(schedule=reusing(host))
    first = patched.sample(steps=STEPS)
    comfy.model_management.unload_all_models()
    assert torch.equal(patched.sample(steps=STEPS), first)


@pytest.mark.quick
def test_two_patched_clones_are_used_in_turn(subject, host):
    models = [subject.patched(schedule=reusing(host)), subject, subject.patched()]
    alone = [model.sample(steps=STEPS) for model in models]
    assert not torch.equal(alone[0], alone[1]) and not torch.equal(alone[2], alone[1])
    for _ in range(2):
        assert all(torch.equal(model.sample(steps=STEPS), one) for model, one in zip(models, alone, strict=True))


@pytest.mark.quick
def test_one_patcher_feeds_two_samplers(subject, host):
    patched = subject.patched()
    settings = [{"steps": 12}, {"steps": 20, "sampler": "dpmpp_2m_sde", "cfg": 1.0}]
    fresh = [subject.patched().sample(**s) for s in settings]
    assert all(torch.equal(patched.sample(**s), one) for s, one in zip(settings * 2, fresh * 2, strict=True))


def lora(subject, seed):
    """Random low-rank changes of a few layers, as a LoRA file holds them."""
    layers = [n for n, m in subject.network.named_modules() if n.endswith(("to_q", "img_attn.qkv", "linear1"))][:4]
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for name in layers:
        rows, columns = subject.network.get_submodule(name).weight.shape
        tensors[f"diffusion_model.{name}.lora_down.weight"] = torch.randn(4, columns, generator=generator) * 0.1
        tensors[f"diffusion_model.{name}.lora_up.weight"] = torch.randn(rows, 4, generator=generator) * 0.1
    assert layers
    return tensors


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_lora_is_changed_between_two_queues(subject, host, before):
    import comfy.sd

    def with_lora(seed, schedule):
        def apply(model):
            return comfy.sd.load_lora_for_models(model, None, lora(subject, seed), 1.0, 1.0)[0]

        if before:
            return subject.having(model=apply(subject.model)).patched(schedule=schedule).sample(steps=STEPS)
        patched = subject.patched(schedule=schedule)
        return patched.having(model=apply(patched.model)).sample(steps=STEPS)

    plain = [subject.having(model=comfy.sd.load_lora_for_models(subject.model, None, lora(subject, s), 1, 1)[0]).sample(
        steps=STEPS) for s in (1, 2)]  # fmt: skip
    assert not torch.equal(*plain)
    for schedule, same in ((custom_schedule(host), True), (reusing(host), False)):
        first, second, again = (with_lora(seed, schedule) for seed in (1, 2, 1))
        assert torch.equal(first, again) and not torch.equal(first, second)
        assert torch.equal(first, plain[0]) == same == torch.equal(second, plain[1])
