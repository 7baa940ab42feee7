"""Networks that the table of families does not know: newer hosts' own, with an empty table."""

from unittest import mock

import pytest
import torch
from subjects import watching
from tiny_host import Counting, flat, load, schedule

RECOGNISED = {
    "ernie": ["ErnieImageSharedAdaLNBlock"],
    "cogvideox": ["CogVideoXBlock"],
    "kandinsky5": ["TransformerEncoderBlock", "TransformerDecoderBlock"],
    "krea2": ["SingleStreamBlock"],
    "ideogram4": ["Ideogram4TransformerBlock"],
    "joyimage": ["JoyImageTransformerBlock"],
    "lens": ["LensTransformerBlock"],
    "minimax_h3": ["DiTBlock"],
    "minimax_music3": ["TransformerBlock"],
    "pixeldit": ["MMDiTBlockT2I", "PiTBlock"],
    "boogu": ["OmniGen2TransformerBlock", "BooguDoubleStreamBlock"],
    "ace_step15": ["AceStepDiTLayer"],
    "mage_flow": ["QwenImageTransformerBlock"],
}
# What they return or are given is no tensor alone, or their network calls another method of theirs.
REFUSED = {
    "hidream_o1": "something else than tensors", "seedvr2": "change a list or dictionary", "ltxav": "shape of no input",
    "wan_animate2": "no stages are known",
}  # fmt: skip


@pytest.fixture
def empty_table(engine):
    with mock.patch.dict(engine("blocks.families").FAMILIES, clear=True):
        yield


@pytest.fixture(scope="module", params=RECOGNISED)
def tiny(host, request):
    return load(host, request.param)


def blocks(tiny, engine):
    """Those of the recognised classes that are not in what is computed once."""
    constant = engine("blocks.families").invariants_of(tiny.network).values()
    once = {module for piece in constant for module in piece.modules()}
    return [m for m in tiny.network.modules() if type(m).__name__ in RECOGNISED[tiny.name] and m not in once]


def test_blocks_are_recognised_by_watching_one_call(tiny, host, engine, empty_table):
    with Counting(blocks(tiny, engine)) as counting:
        tiny.sample(steps=1)
        of_a_step, counting.counts = counting.counts, [0] * len(counting.counts)
        latent, report = tiny.frdiff(schedule(host, interval=2), steps=8)
    assert torch.isfinite(flat(latent)).all()
    for name in RECOGNISED[tiny.name]:
        assert f"Blocks of class {name} are not in the table of models; one call was watched" in report.text()
    # The first keyframe is watched, the second remembered.
    assert report.counts == {"full": 5, "partial": 3, "skip": 0}
    assert any(of_a_step) and counting.counts == [5 * calls for calls in of_a_step]
    assert report.stages >= len(counting.counts)


def test_all_full_and_remembering_are_the_plain_run(tiny, host, empty_table):
    plain = flat(tiny.sample())
    assert torch.isfinite(plain).all()
    for every in (schedule(host, interval=1), watching(host)):
        assert torch.equal(flat(tiny.frdiff(every)[0]), plain)


def test_the_dial_needs_no_stages(tiny, empty_table):
    with Counting([tiny.network]) as counting:
        tiny.sample(steps=1)
        of_a_step, counting.counts = counting.counts[0], [0]
        latent, report = tiny.frdiff(steps=12)
    assert torch.isfinite(flat(latent)).all() and report.counts["skip"] >= 5
    assert counting.counts == [of_a_step * report.counts["full"]] and "Blocks of class" not in report.text()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_recognised_is_computed_with_a_reason(host, name, empty_table):
    tiny = load(host, name)
    plain = flat(tiny.sample(steps=8))
    latent, report = tiny.frdiff(schedule(host, interval=2), steps=8)
    assert torch.equal(flat(latent), plain) and report.counts["full"] == 8
    assert REFUSED[name] in report.text()
    assert tiny.frdiff(steps=12)[1].counts["skip"] >= 5
