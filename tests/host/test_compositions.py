"""With everything that users put between a model and a sampler: nothing broken, nothing mixed, nothing left behind."""

import pytest
import torch
from compositions import COMPOSITIONS, DIT, UNET, VIDEO
from subjects import custom_schedule, demo_subject, relative, video_subject, watching
from weights import blocks, compiled, whole

STEPS = 8
# They skip by themselves, and are left to it.
OTHER_CACHES = {"EasyCache", "LazyCache"}
QUICK = {"LoRA", "PAG", "area", "inpainting", "context windows", "tiled wrapper"}
CASES = [
    pytest.param(c, m, id=f"{c}-{m}", marks=[pytest.mark.quick] if c in QUICK else [])
    for c, (models, _) in COMPOSITIONS.items()
    for m in models
]


@pytest.fixture(scope="module")
def subjects(host):
    """Each model by name, made when it is first asked for."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = video_subject(host, frames=6) if name == VIDEO else demo_subject(host, name)
        return made[name]

    return get


@pytest.mark.parametrize(("composition", "model"), CASES)
def test_composition(subjects, host, composition, model):
    subject = COMPOSITIONS[composition][1](subjects(model))
    settings = {"steps": STEPS}
    with subject.counting() as every:
        plain = subject.sample(**settings)
    before = {name: set(module.__dict__) for name, module in subject.network.named_modules()}
    assert torch.isfinite(plain).all()
    assert torch.equal(subject.frdiff(schedule=custom_schedule(host), **settings)[0], plain)
    # Remembering the stages at every step changes nothing.
    assert torch.equal(subject.frdiff(schedule=watching(host), **settings)[0], plain)
    for schedule in (None, custom_schedule(host, "paper M=2")):
        with subject.counting() as computed:
            latent, report = subject.frdiff(schedule=schedule, **settings)
        assert torch.isfinite(latent).all()
        if composition in OTHER_CACHES:
            assert torch.equal(latent, plain) and "EasyCache" in report.line()
        else:
            assert len(computed) == sum(record.calls for record in report.records)
        assert len(computed) < len(every) or report.counts["partial"] or report.reasons
        assert relative(latent, plain) < 1
    assert {name: set(module.__dict__) for name, module in subject.network.named_modules()} == before


@pytest.mark.parametrize(("keys", "preset"), [(whole, None), (blocks, "paper M=2")])
@pytest.mark.parametrize("model", [UNET, DIT])
def test_compiled_before_or_after(subjects, host, model, keys, preset):
    subject, compile_model = subjects(model), compiled(keys)
    schedule = preset and custom_schedule(host, preset)
    patched = subject.patched(schedule=schedule)
    with patched.counting() as expected_calls:
        expected = patched.sample(steps=STEPS)
    for made in (compile_model(patched), compile_model(subject).patched(schedule=schedule)):
        torch.compiler.reset()
        # Beyond the limit torch gives up compiling, in silence.
        with made.counting() as calls, torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
            assert relative(made.sample(steps=STEPS), expected) < 1e-3
        assert calls == expected_calls


def test_stages_that_take_a_compiled_network_apart_are_said(subjects, host):
    subject = subjects(DIT)
    for keys, said in ((whole, True), (blocks, False)):
        _, report = compiled(keys)(subject).frdiff(steps=3, schedule=custom_schedule(host, interval=2))
        assert report.counts["partial"] == 1 and ("compile its blocks instead" in report.text()) == said
    assert "compile its blocks instead" not in compiled(whole)(subject).frdiff(steps=6)[1].text()
