"""Networks of newer hosts that the table of families does not know."""

import pytest
import torch
from subjects import watching
from tiny_host import Counting, load, schedule

RECOGNISED = {
    "ernie": ["ErnieImageSharedAdaLNBlock"],
    "cogvideox": ["CogVideoXBlock"],
    "kandinsky5": ["TransformerEncoderBlock", "TransformerDecoderBlock"],
    "krea2": ["SingleStreamBlock", "TextFusionBlock"],
}


@pytest.fixture(scope="module", params=RECOGNISED)
def tiny(host, request):
    return load(host, request.param)


def blocks(tiny):
    return [m for m in tiny.network.modules() if type(m).__name__ in RECOGNISED[tiny.name]]


def test_blocks_are_recognised_by_watching_one_call(tiny, host, engine):
    table = engine("blocks.families")
    assert not any(table.family_of(block) for block in tiny.network.modules())
    with Counting(blocks(tiny)) as counting:
        latent, report = tiny.frdiff(schedule(host, interval=2), steps=8)
    assert torch.isfinite(latent).all()
    for name in RECOGNISED[tiny.name]:
        assert f"Blocks of class {name} are not in the table of models; one call was watched" in report.text()
    # The first keyframe is watched, the second remembered.
    assert report.counts == {"full": 5, "partial": 3, "skip": 0}
    assert report.stages == len(counting.counts) and set(counting.counts) == {5}


def test_all_full_and_remembering_are_the_plain_run(tiny, host):
    plain = tiny.sample()
    assert torch.isfinite(plain).all()
    for every in (schedule(host, interval=1), watching(host)):
        assert torch.equal(tiny.frdiff(every)[0], plain)


def test_the_dial_needs_no_stages(tiny):
    with Counting([tiny.network]) as counting:
        latent, report = tiny.frdiff(steps=12)
    assert torch.isfinite(latent).all() and report.counts["skip"] >= 5
    assert counting.counts == [report.counts["full"]] and "Blocks of class" not in report.text()
