"""Network calls are told apart by what they are about, which is found from the latent itself."""

import pytest
import torch

from frdiff.runtime.places import Places

pytestmark = pytest.mark.quick

SHAPES = {"picture": (1, 4, 16, 16), "batch": (3, 4, 16, 12), "video": (1, 16, 6, 8, 8), "sound": (1, 8, 200),
          "packed": (1, 1, 500)}  # fmt: skip


class Run:
    """A latent that moves a little from evaluation to evaluation, and what is shown of it."""

    def __init__(self, shape, noise=0.05):
        self.generator = torch.Generator().manual_seed(1)
        self.places, self.noise = Places(), noise
        self.x = torch.randn(shape, generator=self.generator)

    def begin(self):
        """The next evaluation's latent."""
        self.x = self.x + self.noise * torch.randn(self.x.shape, generator=self.generator)
        self.places.begin(self.x)
        return self.x

    def about(self, shown, conditioning=None):
        """What a call is about, and whether that is new for its kind."""
        return self.places.of("kind", shown, conditioning)


@pytest.fixture(params=SHAPES)
def run(request):
    return Run(SHAPES[request.param])


MOVES = {
    "roll": lambda x, step: x.roll(step + 1, -1),
    "flip": lambda x, step: x.flip(-1) if step % 2 else x,
    "crop": lambda x, step: x[..., step : step + 5],
    "halves change places": lambda x, step: torch.cat(x.chunk(2, -1)[:: -1 if step % 2 else 1], dim=-1),
    "half is flipped": lambda x, step: torch.cat([x.chunk(2, -1)[0].flip((-1,) * (step % 2)), x.chunk(2, -1)[1]], -1),
}


def test_the_whole_is_the_whole_however_often_and_however_typed(run):
    for _ in range(3):
        x = run.begin()
        strided = x.transpose(0, 1).contiguous().transpose(0, 1)
        for shown in (x, torch.cat([x, x]), x.to(torch.bfloat16), x.half(), x.double(), strided):
            assert run.about(shown) == (None, False)


@pytest.mark.parametrize("name", MOVES)
def test_what_moves_is_at_another_place(run, name):
    seen = []
    for step in range(2):
        x = run.begin()
        seen.append(run.about(MOVES[name](x, step)))
    assert seen[0][0] != seen[1][0]
    assert not seen[0][1] and seen[1][1] == (seen[0][0] != seen[1][0])


@pytest.mark.parametrize("name", MOVES)
def test_a_place_that_recurs_is_the_same_whatever_was_in_between(run, name):
    seen = [run.about(MOVES[name](run.begin(), step))[0] for step in (0, 1, 2, 0, 1, 2)]
    assert seen[:3] == seen[3:]


def test_it_is_the_same_in_every_run(run):
    again = Run(run.x.shape)
    again.generator.manual_seed(7)
    again.x = torch.randn(run.x.shape, generator=again.generator)
    for step in range(3):
        assert run.about(run.begin().roll(step, -1)) == again.about(again.begin().roll(step, -1))


def test_tiles_are_told_apart_in_any_order():
    run = Run((2, 4, 16, 16))
    seen = []
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        tiles = [half for part in run.begin().chunk(2, -1) for half in part.chunk(2, -2)]
        places = {i: run.about(tiles[i])[0] for i in order}
        seen.append([places[i] for i in range(4)])
    assert seen[0] == seen[1] and len(set(seen[0])) == 4


def test_rows_frames_and_windows_are_told_apart():
    run = Run((4, 4, 8, 8))
    x = run.begin()
    windows = [x[:2], x[1:3], x[2:], x[[0, 2]], x[[2, 0]], x[[3, 0]]]
    assert len({run.about(window)[0] for window in windows}) == len(windows)
    video = Run((1, 4, 8, 4, 4))
    x = video.begin()
    places = [video.about(x[:, :, [i % 8 for i in range(start, start + 4)]])[0] for start in range(8)]
    assert len(set(places)) == 8
    # Frames that are given as a batch are found, too.
    assert -1 not in video.about(x[0, :, 2:6].transpose(0, 1))[0]


CHANGED = {
    "scaled": lambda x: 0.97 * x,
    "with noise": lambda x: x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3)),
    "scaled and flipped": lambda x: 0.9 * x.flip(-1),
    "blurred": lambda x: x + 0.5 * (x.roll(1, -1) - x),
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_lies_nowhere_goes_on_from_what_it_was(run, name):
    seen = [run.about(CHANGED[name](run.begin())) for _ in range(4)]
    assert len(set(seen[1:])) == 1 and seen[0][0] == seen[1][0] and not seen[1][1]


def test_what_lies_nowhere_and_goes_on_from_nothing_is_new(run):
    generator = torch.Generator().manual_seed(3)
    fresh = [run.about(run.begin() + torch.randn(run.x.shape, generator=generator))[0] for _ in range(4)]
    assert len(set(fresh)) == 4
    other = Run(run.x.shape)
    by_turns = [other.about(0.9 * other.begin().flip(-1) if step % 2 else other.begin())[0] for step in range(6)]
    assert by_turns[1] == by_turns[3] == by_turns[5] != by_turns[0] == by_turns[2] == by_turns[4]


def test_constant_and_repeated_regions_are_stable():
    flat = Run((1, 4, 16, 16))
    flat.x, flat.noise = torch.zeros(1, 4, 16, 16), 0.0
    assert {flat.about(flat.begin().roll(step, -1)) for step in range(3)} == {(None, False)}
    half = Run((1, 4, 16, 16))
    half.x[..., 8:] = 0
    half.noise = 0.0
    seen = [half.about(half.begin().flip(-1) if step % 2 else half.begin())[0] for step in range(4)]
    assert seen[0] == seen[2] != seen[1] == seen[3]
    rows = Run((1, 4, 8, 8))
    rows.x, rows.noise = rows.x.repeat(3, 1, 1, 1), 0.0
    assert len({rows.about(rows.begin()[:2]) for _ in range(3)}) == 1


@pytest.mark.parametrize("x", [None, (1, 2), torch.zeros(0, 4), torch.ones(3, dtype=torch.int64), torch.ones(5),
                               torch.ones(2, 4).to_sparse(), torch.full((1, 4, 8, 8), float("nan"))])  # fmt: skip
def test_anything_may_be_shown(x):
    places = Places()
    for _ in range(2):
        places.begin(x)
        assert places.of("kind", x) == (None, False)
        places.of("kind", torch.ones(1, 4, 8, 8))
        places.of("kind", [torch.ones(1)])
        given = {"y": torch.ones(3), "n": 4, "t": torch.ones(2, 2, dtype=torch.int64)}
        places.of("kind", torch.ones(1, 9, 8, 8), given)


def test_without_a_latent_the_first_call_stands_for_it():
    places = Places()
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        places.begin(None)
        assert places.of("kind", x)[0] is None and places.of("kind", x.flip(-1))[0] is not None


def test_a_window_that_the_host_tells_stays_where_its_noise_is_that_of_another():
    """FreeNoise begins with the same noise in several frames, which are different ones an evaluation later."""
    run = Run((1, 4, 9, 6, 6))
    run.x[:, :, 5:9] = run.x[:, :, [2, 0, 3, 1]]
    windows = [(0, 1, 2, 3, 4), (0, 3, 4, 5, 6), (4, 5, 6, 7, 8)]
    asked, noise = [], run.noise
    for run.noise in (0.0, noise, noise):
        x = run.begin()
        asked.append([run.places.of("kind", x[:, :, frames].repeat(2, 1, 1, 1, 1), None, (2, frames))
                      for frames in windows])  # fmt: skip
    assert [about for about, _ in asked[0]] == [about for about, _ in asked[1]] == [about for about, _ in asked[2]]
    assert not any(elsewhere for evaluation in asked[1:] for _, elsewhere in evaluation)
    # A window that was not asked for is elsewhere, and what does not fit its window is found as all else is.
    assert run.places.of("kind", x[:, :, 1:6], None, (2, (1, 2, 3, 4, 5)))[1]
    for window in ((2, (1, 2, 3)), (0, (1, 2, 3, 4, 5)), (9, ()), (2, (-4, 2, 3, 4, 50))):
        assert run.places.of("kind", x[:, :, 1:6], None, window)[0] is not None


def test_conditions_are_told_apart_by_what_they_hold():
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(1, 77, 32, generator=generator) for _ in range(2))
    run = Run((1, 4, 8, 8))
    for step in range(3):
        x = run.begin()
        made_anew = [(1 + 0.001 * step) * one, other.clone()]
        found = [run.about(x, {"c": each})[0] for each in (made_anew if step % 2 else made_anew[::-1])]
        assert (found if step % 2 else found[::-1]) == [(1, None), None]
        # In one batch their order tells.
        both = [run.places.of("both", x.repeat(2, 1, 1, 1), torch.cat(c))[0] for c in (made_anew, made_anew[::-1])]
        assert both == [None, (1, None)]


def test_an_ordinary_call_reads_once_and_searches_nothing(monkeypatch):
    import frdiff.runtime.places as module

    reads, read = [], module.read
    monkeypatch.setattr(module, "read", lambda parts: reads.append(sum(part.numel() for part in parts)) or read(parts))
    monkeypatch.setattr(module, "found", None)
    run = Run((1, 16, 20, 30, 52))
    for calls in range(3):
        x = run.begin()
        run.about(torch.cat([x, x]), torch.ones(2, 77, 768))
        assert len(reads) == calls + 1 and reads[-1] < 2000
