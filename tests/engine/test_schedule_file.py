"""Schedule files: whole round trips, bad input by field, 100,000 mutated files, resampling."""

import json
import os
import random
from dataclasses import replace

import pytest
import safetensors.numpy

from frdiff.auto_fr.calibrate import MOST_POINTS as MOST_POINTS_OF_A_CALIBRATION
from frdiff.blocks.network_id import NetworkId
from frdiff.errors import FRDiffError
from frdiff.forecasting.rules import KRIGING, REUSE
from frdiff.planning.plan import StepKind
from frdiff.planning.prior import DIAL_OPTIONS, PriorSchedule
from frdiff.planning.run import SamplingRun
from frdiff.schedule_files.calibrated import calibrated, distance, resample
from frdiff.schedule_files.format import from_bytes, to_bytes
from frdiff.schedule_files.model import PRIOR, Milliseconds, Move, Point, Provenance, ScheduleFile
from frdiff.schedule_files.reader import KEY, LARGEST_FILE, MOST_MOVES
from frdiff.schedule_files.store import read_schedule, schedule_path, write_schedule

quick = pytest.mark.quick

F, P, S = StepKind.FULL, StepKind.PARTIAL, StepKind.SKIP
NETWORK = NetworkId("host.Net", "a" * 16, "b" * 16, "d" * 16)
# What files from before have not.
LATER_FIELDS = {"milliseconds", "moves"}
TIMES = tuple(1 - i / 12 for i in range(13))
MASKS = ("FFFFFFFFFFFF", "FFFsFsFsFFFF", "FFsssFsssFsF", "FsssssFsssss")


def kinds(mask):
    return tuple({"F": F, "p": P, "s": S}[letter] for letter in mask)


def example(**changes):
    points = tuple(Point(kinds(m), m.count("F") / 12, 0.1 * i, error=0.01 * i) for i, m in enumerate(MASKS))
    made = Provenance(NETWORK, "EPS", "euler", "normal", 3.0, "16x16x16", 4, "0.1.0", "2026-01-01")
    took = Milliseconds(12.5, 3.0, (("blocks.0", 1.5), ("blocks.1", 2.5)))
    moves = (Move(5, 3, 4, 0.02), Move(5, 8, 6, 0.01))
    file = ScheduleFile("example", TIMES, points, made, held_out=2, notes=("A note.",), milliseconds=took, moves=moves)
    return replace(file, **changes)


def header_of(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"][KEY])


def with_header(data, header):
    arrays = safetensors.numpy.load(data)
    return safetensors.numpy.save(arrays, metadata={KEY: json.dumps(header)})


@quick
def test_a_file_comes_back_as_it_was(tmp_path):
    write_schedule(tmp_path / "x.safetensors", example())
    assert read_schedule(tmp_path / "x.safetensors") == example()
    assert os.listdir(tmp_path) == ["x.safetensors"]


@quick
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    write_schedule(path, example())
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_schedule(path, example(name="new"))
    assert read_schedule(path).name == "example" and os.listdir(tmp_path) == ["x.safetensors"]


@quick
@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("format", 2, "its format is 2"),
        ("forecaster", "magic", "forecaster 'magic'"),
        ("forced", [99], "forced steps"),
        ("forced", [3], "forced step is not full"),
        ("stochastic", "yes", "stochastic"),
        ("partial_cost", -1, "partial_cost"),
        ("partial_cost", float("nan"), "partial_cost"),
        ("held_out", True, "held_out"),
        ("name", "a\nb", "name"),
        ("name", "a" * 300, "name"),
        ("points", [], "number of its schedules"),
        ("points", [1, 2, 3, 4], "not an object"),
        ("provenance", None, "provenance"),
        ("notes", [7], "notes"),
        ("milliseconds", 3, "milliseconds"),
        ("milliseconds", {"full": -1, "partial": None, "stages": []}, "full"),
        ("milliseconds", {"full": 1, "partial": "x", "stages": []}, "partial"),
        ("milliseconds", {"full": 1, "partial": None}, "stages is missing"),
        ("milliseconds", {"full": 1, "partial": None, "stages": [["a"]]}, "not its path and a number"),
        ("milliseconds", {"full": 1, "partial": None, "stages": [["a\n", 1]]}, "path"),
        ("milliseconds", {"full": 1, "partial": None, "stages": [["a", float("inf")]]}, "milliseconds"),
        ("moves", None, "moves"),
        ("moves", [3], "a move of its refinement is not an object"),
        ("moves", [{"full": 13, "before": 1, "after": 2, "error": 0.1}], "full"),
        ("moves", [{"full": 5, "before": 0, "after": 2, "error": 0.1}], "before"),
        ("moves", [{"full": 5, "before": 1, "after": 12, "error": 0.1}], "after"),
        ("moves", [{"full": 5, "before": 1, "after": 2.0, "error": 0.1}], "after"),
        ("moves", [{"full": 5, "before": 1, "after": 2, "error": -1}], "error"),
    ],
)
def test_a_bad_field_is_named_in_one_sentence(field, value, says):
    header = {**header_of(to_bytes(example())), field: value}
    with pytest.raises(FRDiffError, match=says) as caught:
        from_bytes(with_header(to_bytes(example()), header), "bad.safetensors")
    assert "bad.safetensors" in str(caught.value) and "\n" not in str(caught.value)


@quick
@pytest.mark.parametrize("field", sorted(set(header_of(to_bytes(example()))) - LATER_FIELDS))
def test_a_missing_field_is_refused(field):
    header = header_of(to_bytes(example()))
    del header[field]
    with pytest.raises(FRDiffError):
        from_bytes(with_header(to_bytes(example()), header), "bad")


@quick
def test_a_file_from_before_the_later_fields_is_read():
    header = {key: value for key, value in header_of(to_bytes(example())).items() if key not in LATER_FIELDS}
    del header["provenance"]["network"]["patches"]
    file = from_bytes(with_header(to_bytes(example()), header), "old")
    made = replace(example().provenance, network=replace(NETWORK, patches=""))
    assert file == example(milliseconds=None, moves=(), provenance=made)


@quick
def test_the_longest_refinement_fits_into_a_file():
    moves = tuple(Move(500, 100 + i % 800, 101 + i % 800, 1 / (3 + i)) for i in range(MOST_MOVES))
    times = tuple(1 - i / 1000 for i in range(1001))
    points = tuple(Point((F,) * 1000, 1.0, 1 / (3 + i)) for i in range(MOST_POINTS_OF_A_CALIBRATION))
    file = example(times=times, points=points, moves=moves)
    assert from_bytes(to_bytes(file), "long") == file


@quick
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:-1], "not a valid"),
        (lambda data: data[:5], "not a whole"),
        (lambda data: b"", "not a whole"),
        (lambda data: (10**9).to_bytes(8, "little") + data[8:], "not a whole"),
        (lambda data: data + b"\0" * LARGEST_FILE, "larger than"),
        (lambda data: (300_000).to_bytes(8, "little") + b" " * 300_000, "header is larger"),
        (lambda data: (9000).to_bytes(8, "little") + b"[" * 9000, "not JSON"),
        (lambda data: safetensors.numpy.save(safetensors.numpy.load(data)), "without a schedule"),
    ],
)
def test_a_broken_container_is_refused(change, says):
    with pytest.raises(FRDiffError, match=says):
        from_bytes(change(to_bytes(example())), "bad")


@quick
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("times", lambda a: a[::-1].copy(), "do not fall"),
        ("times", lambda a: a * float("nan"), "not numbers"),
        ("times", lambda a: -a, "not numbers"),
        ("times", lambda a: a.astype("float32"), "wrong type"),
        ("kinds", lambda a: a[:, :5].copy(), "does not fit"),
        ("kinds", lambda a: a + 7, "unknown kind"),
        ("kinds", lambda a: a.reshape(-1), "wrong type or shape"),
    ],
)
def test_a_bad_array_is_refused(name, value, says):
    data = to_bytes(example())
    arrays = safetensors.numpy.load(data)
    arrays[name] = value(arrays[name])
    with pytest.raises(FRDiffError, match=says):
        from_bytes(safetensors.numpy.save(arrays, metadata={KEY: json.dumps(header_of(data))}), "bad")


@quick
@pytest.mark.parametrize("name", ["../x", "a/b", "/etc/passwd", "..", "", ".hidden", "a\\b", "a\0b", "C:x", "a" * 200])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(FRDiffError):
        schedule_path(tmp_path, name)


@quick
def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    write_schedule(tmp_path / "out.safetensors", example())
    (tmp_path / "in" / "x.safetensors").symlink_to(tmp_path / "out.safetensors")
    with pytest.raises(FRDiffError, match="outside"):
        schedule_path(tmp_path / "in", "x")
    assert schedule_path(tmp_path, "out.safetensors") == tmp_path / "out.safetensors"


VALUES = (None, True, -1, 0, 1e308, float("nan"), float("inf"), 10**400, "", "x" * 5000, [], {}, [[]], "..")


def mutated(random_, data, header):
    """One of: changed bytes, cut or grown data, a changed header in a whole container."""
    choice = random_.randrange(4)
    if choice == 0:
        changed = bytearray(data)
        for _ in range(random_.randrange(1, 5)):
            changed[random_.randrange(len(changed))] = random_.randrange(256)
        return bytes(changed)
    if choice == 1:
        cut = random_.randrange(len(data))
        return data[:cut] + random_.randbytes(random_.randrange(8)) + data[cut + random_.randrange(20) :]
    if choice == 2:
        return replaced(data, json.dumps(with_value(random_, header)).encode())
    text = bytearray(json.dumps(header).encode())
    text[random_.randrange(len(text))] = random_.randrange(32, 127)
    return replaced(data, bytes(text))


def replaced(data, header):
    """The container with another text in its metadata."""
    length = int.from_bytes(data[:8], "little")
    outer = json.loads(data[8 : 8 + length])
    outer["__metadata__"][KEY] = header.decode()
    text = json.dumps(outer).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def with_value(random_, value):
    """A copy of JSON data with something in it replaced, removed or doubled."""
    if random_.random() < 0.3 or not isinstance(value, (dict, list)) or not value:
        return random_.choice(VALUES)
    if isinstance(value, list):
        place = random_.randrange(len(value))
        return random_.choice([value[:place], value * 2, [*value[:place], with_value(random_, value[place])]])
    key = random_.choice(list(value))
    rest = {name: item for name, item in value.items() if name != key}
    return rest if random_.random() < 0.1 else {**rest, key: with_value(random_, value[key])}


def fuzz(count, seed):
    random_ = random.Random(seed)
    data = to_bytes(example())
    header = header_of(data)
    outcomes = {"valid": 0, "refused": 0}
    for _ in range(count):
        try:
            file = from_bytes(mutated(random_, data, header), "fuzzed")
        except FRDiffError as error:
            assert "\n" not in str(error) and len(str(error)) < 400
            outcomes["refused"] += 1
        else:
            assert from_bytes(to_bytes(file), "again") == file
            outcomes["valid"] += 1
    return outcomes


@quick
def test_mutated_files_are_valid_or_refused():
    outcomes = fuzz(2000, seed=1)
    assert outcomes["refused"] > 500 and outcomes["valid"] > 0


def test_a_hundred_thousand_mutated_files_are_valid_or_refused():
    assert sum(fuzz(100_000, seed=2).values()) == 100_000


@quick
def test_the_same_times_give_the_same_kinds():
    for mask in MASKS:
        assert resample(kinds(mask), TIMES, TIMES) == list(kinds(mask))
        assert calibrated(example(), 12 / mask.count("F")).point.kinds == kinds(mask)


@quick
@pytest.mark.parametrize("steps", [1, 2, 5, 12, 20, 28, 100])
@pytest.mark.parametrize("mask", [*MASKS, "FpppFppFpFFF"])
@pytest.mark.parametrize("start", [1.0, 0.6])
def test_resampling_keeps_the_share_of_full_steps_and_where_they_are(steps, mask, start):
    times = tuple(start * (1 - i / steps) for i in range(steps + 1))
    carried = resample(kinds(mask), TIMES, times)
    assert carried[0] is F and set(carried) <= set(kinds(mask))
    assert abs(carried.count(F) - steps * mask.count("F") / 12) <= 1
    if steps == 100 and start == 1 and mask == "FFFsFsFsFFFF":
        assert all(kind is F for kind in carried[:16]) and carried[24:66].count(F) < 25


@quick
def test_where_the_prior_was_better_the_plan_is_the_priors():
    file = example(points=(replace(example().points[1], source=PRIOR),))
    schedule, course = calibrated(file, 1.5), SamplingRun(TIMES)
    assert schedule.plan(course) == PriorSchedule("", speedup=1.5).plan(course)
    assert "better" in schedule.shortfall(course).sentence


@quick
def test_on_other_noise_levels_forecasts_are_placed_like_the_priors_and_partial_steps_resampled():
    other = SamplingRun(TIMES[::2])
    assert calibrated(example(), 2).plan(other) == PriorSchedule("", speedup=2).plan(other)
    points = (Point(kinds("FpppFppFpFFF"), 0.5, 0.0, repair=0.5),)
    noisy = calibrated(example(points=points, stochastic=True, partial_cost=0.1), 2)
    course = SamplingRun(TIMES[::2], stochastic=True)
    assert [step.kind for step in noisy.plan(course)] == resample(points[0].kinds, TIMES, course.times)
    assert noisy.options.repair == 0.5


@quick
def test_a_file_of_repeated_outputs_is_carried_over_as_it_is():
    """The paper's schedules were learned for repeated outputs, which want other keyframes than forecasts."""
    points = (Point(kinds("FssFsFsFsFFs"), 0.5, 0.0, error=0.1, prior_error=0.2),)
    schedule, other = calibrated(example(points=points, forecaster=REUSE), 2), SamplingRun(TIMES[::2])
    assert [step.kind for step in schedule.plan(other)] == resample(points[0].kinds, TIMES, other.times)
    assert schedule.options.forecaster is REUSE and schedule.options.repair == 0.0
    beaten = calibrated(example(points=(replace(points[0], source=PRIOR),), forecaster=REUSE), 2)
    assert beaten.plan(other) == PriorSchedule("", speedup=2).plan(other)
    used, dial = beaten.options, DIAL_OPTIONS
    assert used.forecaster is dial.forecaster and used.repair == dial.repair


@quick
def test_a_sampler_that_adds_noise_gets_the_prior():
    course = SamplingRun(TIMES, stochastic=True)
    schedule = calibrated(example(), 2)
    assert schedule.plan(course) == PriorSchedule("", speedup=2).plan(course)
    assert "deterministic" in schedule.shortfall(course).sentence


@quick
def test_it_says_how_far_it_is_from_what_it_was_made_for():
    schedule = calibrated(example(), 2)
    assert schedule.shortfall(SamplingRun(TIMES)) is None
    assert "12 steps and carried over to 6" in schedule.shortfall(SamplingRun(TIMES[::2])).sentence
    assert distance(TIMES, TIMES[::2]) < 1e-9 < distance(TIMES, TIMES[4:])


@quick
def test_another_network_is_refused_and_other_weights_are_noted():
    schedule = calibrated(example(), 2)
    assert schedule.accept(lambda: NETWORK) is None
    assert "other weights" in schedule.accept(lambda: replace(NETWORK, weights="c" * 16)).sentence
    assert "LoRAs or other patches" in schedule.accept(lambda: replace(NETWORK, patches="")).sentence
    with pytest.raises(FRDiffError, match="class Net"):
        schedule.accept(lambda: replace(NETWORK, cls="host.Other"))
    with pytest.raises(FRDiffError, match="other layer sizes"):
        schedule.accept(lambda: replace(NETWORK, architecture="c" * 16))


@quick
def test_the_forecaster_is_the_files():
    assert calibrated(example(), 2).options.forecaster is KRIGING
