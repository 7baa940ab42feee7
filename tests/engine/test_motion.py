"""The measures of video on clips whose figures are known."""

import math

import pytest
import torch

from frdiff.reporting.motion import flicker, path_error, worst_frame

pytestmark = pytest.mark.quick
FRAMES, SIDE = 9, 40


def moving(columns, row=18, size=4, value=0.8):
    """A bright square on grey whose left edge is at these columns, one for each frame."""
    clip = torch.full((len(columns), SIDE, SIDE, 3), 0.2)
    for frame, column in zip(clip, columns, strict=True):
        frame[row : row + size, column : column + size] = value
    return clip


@pytest.fixture
def clip():
    return moving(range(4, 4 + 3 * FRAMES, 3))


def test_equal_clips(clip):
    assert (flicker(clip, clip), path_error(clip, clip), worst_frame(clip, clip)) == (0, 0, 100)


def test_what_is_wrong_in_every_frame_alike_does_not_flicker(clip):
    darker = clip * 1.0
    darker[:, :, :10] -= 0.1
    assert flicker(clip, darker) == pytest.approx(0, abs=1e-7)
    assert path_error(clip, darker) == pytest.approx(0, abs=1e-6)
    blinking = clip + 0.1 * (torch.arange(FRAMES) % 2).reshape(-1, 1, 1, 1)
    # Each change is off by 0.1, up or down.
    assert flicker(clip, blinking) == pytest.approx(0.1, rel=1e-5)


def test_one_bad_frame_is_the_worst_one(clip):
    other = clip + 0.01
    other[5] += 0.09
    assert worst_frame(clip, other) == pytest.approx(20, abs=1e-3)
    mean = -10 * (other - clip).square().flatten(1).mean(1).log10()
    assert mean.mean() > 35


def test_a_shifted_path_is_as_far_away_as_it_is(clip):
    shifted = moving(range(4, 4 + 3 * FRAMES, 3), row=28)
    assert path_error(clip, shifted) == pytest.approx(10 / SIDE, rel=1e-4)
    # How bright it is does not matter, only where it is.
    fainter = moving(range(4, 4 + 3 * FRAMES, 3), value=0.4)
    assert path_error(clip, fainter) == pytest.approx(0, abs=1e-6) and flicker(clip, fainter) > 0


def test_a_path_the_other_way_and_one_that_stands_still(clip):
    columns = list(range(4, 4 + 3 * FRAMES, 3))
    back = path_error(clip, moving(columns[::-1]))
    still = path_error(clip, clip[:1].expand_as(clip))
    steps = [a + 3.5 for a in columns[:-1]]
    apart = [abs(a - b) for a, b in zip(steps, steps[::-1], strict=True)]
    assert back == pytest.approx(sum(apart) / len(apart) / SIDE, rel=1e-3) and still > 0.1


def test_what_grows_in_place_has_a_path_too():
    def growing(sizes):
        return torch.cat([moving([20 - size], row=20 - size, size=2 * size) for size in sizes])

    clip = growing(range(3, 12))
    assert path_error(clip, growing(range(3, 12))) == 0
    assert path_error(clip, growing(range(11, 2, -1))) > 0.05


def test_a_clip_in_which_nothing_moves_has_no_path_to_miss(clip):
    still = clip[:1].expand_as(clip)
    assert path_error(still, clip) == 0 and math.isfinite(flicker(still, clip))
