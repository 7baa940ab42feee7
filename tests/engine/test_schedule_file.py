"""Schedule files: round trips, bad input by field, 100,000 mutated files, files from before, what a wish means."""

import json
import math
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.numpy

from frdiff.blocks.network_id import NetworkId
from frdiff.errors import FRDiffError
from frdiff.planning.presets import for_speedup
from frdiff.planning.prior import REPAIR
from frdiff.planning.run import SamplingRun
from frdiff.schedule_files.calibrated import UncalibratedSchedule, calibrated, distance
from frdiff.schedule_files.choice import BY_DECIBELS, LEVELS, WAYS, Wish, chosen, front, words
from frdiff.schedule_files.model import LATENT, PICTURE, Point, Provenance, ScheduleFile, decibels, quantile
from frdiff.schedule_files.reader import KEY, LARGEST_FILE
from frdiff.schedule_files.store import from_bytes, read_schedule, schedule_path, to_bytes, write_schedule

quick = pytest.mark.quick

OLD = sorted((Path(__file__).resolve().parent.parent / "schedules").glob("*.safetensors"))
NETWORK = NetworkId("host.Net", "a" * 16, "b" * 16, "d" * 16)
TIMES = tuple(1 - i / 12 for i in range(13))
# By the dial: what two pictures have.
MEASURED = {1.5: (41.0, 45.0), 2.0: (36.0, 38.0), 3.0: (30.0, 33.0), 4.0: (24.0, 30.0)}


def point(speedup, *levels, **more):
    return Point(speedup, 1 / speedup, levels, **more)


def example(**changes):
    points = tuple(point(speedup, *levels, fewer=(20.0,)) for speedup, levels in MEASURED.items())
    made = Provenance(NETWORK, "EPS", "euler", "normal", 3.0, "16x16x16", "0.1.0", "2026-01-01")
    file = ScheduleFile("example", TIMES, points, made, PICTURE, done=2, planned=2, key="k" * 32, notes=("A note.",))
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
        ("format", 3, "its format is 3"),
        ("format", True, "its format is True"),
        ("stochastic", "yes", "stochastic"),
        ("measure", "taste", "measure 'taste'"),
        ("repair", -1, "repair"),
        ("repair", float("nan"), "repair"),
        ("done", True, "done"),
        ("planned", 1.5, "planned"),
        ("key", 7, "key"),
        ("name", "a\nb", "name"),
        ("name", "a" * 300, "name"),
        ("points", 3, "points"),
        ("points", [1, 2], "not an object"),
        ("points", [{"speedup": 2, "cost": 0.5, "levels": [], "fewer": []}], "no levels"),
        ("points", [{"speedup": 2, "cost": 0, "levels": [1], "fewer": []}], "cost"),
        ("points", [{"speedup": 2, "cost": 0.5, "levels": ["x"], "fewer": []}], "levels"),
        ("points", [{"speedup": 2, "cost": 0.5, "levels": [1]}], "fewer is missing"),
        ("provenance", None, "provenance"),
        ("notes", [7], "notes"),
    ],
)
def test_a_bad_field_is_named_in_one_sentence(field, value, says):
    header = {**header_of(to_bytes(example())), field: value}
    with pytest.raises(FRDiffError, match=says) as caught:
        from_bytes(with_header(to_bytes(example()), header), "bad.safetensors")
    assert "bad.safetensors" in str(caught.value) and "\n" not in str(caught.value)


@quick
def test_points_of_other_pictures_are_refused():
    with pytest.raises(FRDiffError, match="not of the same pictures"):
        to_bytes(example(points=(point(2.0, 30.0), point(3.0, 28.0, 25.0))))


@quick
@pytest.mark.parametrize("field", sorted(header_of(to_bytes(example()))))
def test_a_missing_field_is_refused(field):
    header = header_of(to_bytes(example()))
    del header[field]
    with pytest.raises(FRDiffError):
        from_bytes(with_header(to_bytes(example()), header), "bad")


@quick
@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_a_file_of_the_first_format_is_read_and_used(path):
    """What is used is the uncalibrated schedule, so what it says is what was measured of that."""
    file, header = read_schedule(path), header_of(path.read_bytes())
    errors = [row["prior_error"] for row in header["points"] if row["prior_error"]]
    assert sorted(level for each in file.points for level in each.levels) == sorted(map(decibels, errors))
    assert (file.measure, file.repair) == (LATENT, REPAIR) and "earlier version" in file.notes[0] and file.steps >= 20
    assert calibrated(file, Wish(2.0)).speedup == 2.0 and "dB of the latent" in words(file, Wish(2.0))
    assert 1 < calibrated(file, Wish(by=BY_DECIBELS, decibels=min(map(decibels, errors)))).speedup <= 4.1
    assert from_bytes(to_bytes(file), "again") == file


@quick
def test_there_are_old_files():
    assert len(OLD) == 2


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
    ("value", "says"),
    [
        (lambda a: a[::-1].copy(), "do not fall"),
        (lambda a: a * float("nan"), "not numbers"),
        (lambda a: -a, "not numbers"),
        (lambda a: a.astype("float32"), "wrong type"),
        (lambda a: a.reshape(1, -1), "wrong type or shape"),
    ],
)
def test_a_bad_array_is_refused(value, says):
    data = to_bytes(example())
    times = {"times": value(safetensors.numpy.load(data)["times"])}
    with pytest.raises(FRDiffError, match=says):
        from_bytes(safetensors.numpy.save(times, metadata={KEY: json.dumps(header_of(data))}), "bad")


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
def test_a_level_is_the_median_or_less_where_pictures_differ_much():
    few = point(2.0, 30.0, 31.0, 39.0)
    assert few.floor is None and few.said == 31.0 and not few.is_alike
    alike = point(2.0, *(30 + 0.2 * i for i in range(16)))
    assert alike.said == alike.middle == 31.5 and alike.is_alike
    wide = point(2.0, *range(20, 41))
    assert (wide.low, wide.high, wide.worst) == (22.0, 38.0, 20.0)
    assert wide.floor < 20 and wide.said == wide.floor + 4 < wide.middle - 2 and not wide.is_alike
    assert quantile([1.0, 2.0], 0.5) == 1.5 and quantile([7.0], 0.1) == 7.0
    assert decibels(0.1) == pytest.approx(20) and decibels(0.0) == 100.0


@quick
@pytest.mark.parametrize(("pictures", "factor"), [(4, 3.19), (8, 2.22), (16, 1.84), (32, 1.65)])
def test_what_nine_of_ten_surely_reach_is_a_tolerance_bound(pictures, factor):
    """`factor` is the exact one, by the noncentral t distribution; the formula is nearly that."""
    levels = [30.0 + (-1) ** i for i in range(pictures)]
    deviation = math.sqrt(pictures / (pictures - 1))
    assert (30 - point(2.0, *levels).floor) / deviation == pytest.approx(factor, rel=0.08)


@quick
def test_what_is_said_of_other_pictures_holds_nine_times_in_ten():
    """Of calibrations of 16 pictures: by floor, and by number where there is one."""
    chance = random.Random(5)
    for spread in (1.0, 2.0, 6.0):
        known = [point(2.0, *(chance.gauss(30, spread) for _ in range(16))) for _ in range(400)]
        true_low = 30 - 1.2816 * spread
        assert sum(each.floor <= true_low for each in known) > 0.87 * len(known)
        alike = [each for each in known if each.is_alike]
        assert (len(alike) > 300) == (spread < 2.5) and (len(alike) < 20) == (spread > 3)
        held = [abs(each.said - 30) <= 2 and true_low >= each.said - 4 for each in alike]
        assert sum(held) >= 0.87 * len(held)


@quick
def test_a_front_has_what_is_clearly_better_than_all_that_is_faster():
    slow, same = point(1.2, 30.0, 40.0, 36.0), point(1.25, 29.0, 43.0, 36.5)
    fast = point(2.0, 29.0, 40.5, 35.5)
    assert front([slow, same, fast]) == [fast]
    clear = point(1.5, 31.0, 42.0, 37.0)
    assert front([slow, clear, fast]) == [clear, fast]
    again = replace(fast, speedup=2.1)
    assert len(front([fast, again])) == 1 and front([]) == []
    levels = [each.middle for each in front(example().points)]
    assert levels == sorted(levels, reverse=True)


@quick
def test_what_a_wish_means():
    file = example()
    assert [chosen(file, Wish(by=by)).speedup for by in LEVELS] == [1.5, 2.0, 4.0]
    by_decibels = {level: chosen(file, Wish(by=BY_DECIBELS, decibels=level)).speedup for level in (20, 30, 37, 43, 50)}
    assert by_decibels == {20: 4.0, 30: 3.0, 37: 2.0, 43: 1.5, 50: 1.0}
    of_two = "dB on 2 of your pictures, worst 36, too few to tell of others"
    assert words(file, Wish(by=BY_DECIBELS, decibels=36)) == f"2.0x, 37 {of_two}"
    assert words(file, Wish(2.2)) == f"2.2x; near it 2.0x, 37 {of_two}"
    assert words(file, Wish(1.0)) == "1x: every step is computed."
    assert "no speed that was measured reaches 60 dB" in words(file, Wish(by=BY_DECIBELS, decibels=60))
    assert words(example(points=()), Wish(2.0)) == "2x; nothing was measured."
    alike, wide = point(2.0, *(31.0, 32.0) * 4), point(4.0, *(14.0, 26.0) * 4)
    both = example(points=(alike, wide))
    assert words(both, Wish(2.0)) == "2.0x, 32 dB on 8 of your pictures, worst 31"
    told = "nine of ten surely above 6 dB (half above 20 on 8 of your pictures, worst 14)"
    assert words(both, Wish(4.0)) == f"4.0x, {told}"
    assert [chosen(both, Wish(by=BY_DECIBELS, decibels=level)).speedup for level in (9, 27)] == [4.0, 2.0]
    with pytest.raises(FRDiffError, match="Nothing was measured"):
        chosen(example(points=()), Wish(by=WAYS[1]))
    with pytest.raises(FRDiffError, match="chosen by speed, .* not by magic"):
        Wish(by="magic")


@quick
def test_the_plan_is_the_dials_at_the_speed_that_was_chosen():
    course = SamplingRun(TIMES)
    schedule = calibrated(example(repair=0.25), Wish(by=BY_DECIBELS, decibels=36))
    assert schedule.plan(course) == for_speedup(2.0).plan(course) and schedule.options.repair == 0.25
    assert calibrated(example(), Wish(2.0)).options == for_speedup(2.0).options
    off = calibrated(example(), Wish(by=BY_DECIBELS, decibels=90))
    assert off.plan(course).keyframes == tuple(range(12))


@quick
def test_it_says_how_far_it_is_from_what_it_was_made_for():
    schedule = calibrated(example(), Wish(2.0))
    assert schedule.shortfall(SamplingRun(TIMES)) is None
    assert "12 steps, and this run has 6" in schedule.shortfall(SamplingRun(TIMES[::2])).sentence
    assert "adds none, and this one adds noise" in schedule.shortfall(SamplingRun(TIMES, stochastic=True)).sentence
    twice = tuple(time for time in TIMES[:-1] for _ in range(2)) + TIMES[-1:]
    heun = SamplingRun(twice, step_of_evaluation=tuple(i // 2 for i in range(24)))
    assert schedule.shortfall(heun) is None
    assert distance(TIMES, TIMES[::2]) < 1e-9 < distance(TIMES, TIMES[4:])


@quick
def test_another_network_is_refused_and_other_weights_are_noted():
    schedule = calibrated(example(), Wish(2.0))
    assert schedule.accept(lambda: NETWORK) is None
    assert "other weights" in schedule.accept(lambda: replace(NETWORK, weights="c" * 16)).sentence
    assert "LoRAs or other patches" in schedule.accept(lambda: replace(NETWORK, patches="")).sentence
    with pytest.raises(FRDiffError, match="class Net"):
        schedule.accept(lambda: replace(NETWORK, cls="host.Other"))
    with pytest.raises(FRDiffError, match="other layer sizes"):
        schedule.accept(lambda: replace(NETWORK, architecture="c" * 16))


@quick
def test_where_no_file_fits_the_report_says_so():
    assert "No schedule file fits" in UncalibratedSchedule("dial", speedup=2.0).accept(lambda: NETWORK).sentence
