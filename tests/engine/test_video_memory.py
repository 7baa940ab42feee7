"""What the dial remembers of a video of usual size: counted, bounded, and as docs/video.md says."""

import re
from pathlib import Path

import pytest
import torch
from driver import call, flow_level, start

from frdiff.planning.presets import for_speedup

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "video.md").read_text(encoding="ascii")
FRAMES, STEPS = 81, 20
SIZES = [(832, 480), (1280, 720)]


class Network(torch.nn.Module):
    """Answers as a network of the latent's own type would; what it takes itself is no matter of the dial."""

    def forward(self, x, sigma):
        return x * (0.9 - 0.1 * sigma)


def kept(width, height, dtype=torch.float16):
    """Bytes that a run of two conditions kept at most, and those of one output."""
    latent = torch.randn(1, 16, (FRAMES - 1) // 4 + 1, height // 8, width // 8, dtype=dtype)
    sigmas = [8 * u / (1 + 7 * u) for u in (1 - i / STEPS for i in range(STEPS + 1))]
    session, network = start(for_speedup(2.0), sigmas, level_of=flow_level), Network()
    for sigma in sigmas[:-1]:
        session.begin_evaluation(sigma, latent)
        for condition in ("cond", "uncond"):
            answer = call(session, condition, network, lambda sigma=sigma: network(latent, sigma), latent)
        session.end_evaluation(answer)
    report = session.close()
    assert report.counts["skip"] >= STEPS // 2 - 1
    return report.bytes_kept, latent.nbytes


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_what_is_remembered_is_bounded_and_on_the_page(width, height):
    found, output = kept(width, height)
    # A few outputs of each condition, whatever the number of steps and the size of the network.
    assert 2 * output <= found <= 2 * 4 * output
    (told,) = re.findall(rf"^\| {width} x {height} \| [^|]+ \| ([\d.]+) MB \|", PAGE, flags=re.MULTILINE)
    assert f"{found / 1e6:.1f}" == told
