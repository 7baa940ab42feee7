"""The guard: free of cost where forecasts are good, computing where they are ruinous, and never for the worse."""

import dataclasses

import pytest
from subjects import demo_subject, relative

STEPS = 20


@pytest.fixture(scope="module", params=["unet", "dit"])
def subject(host, request):
    return demo_subject(host, request.param)


def changed(schedule, **options):
    """The schedule with other options."""
    return dataclasses.replace(schedule, options=dataclasses.replace(schedule.options, **options))


def guarded_and_not(subject, schedule, **settings):
    """Errors and reports of a schedule with its guard and without it."""
    settings = {"steps": STEPS, **settings}
    plain = subject.sample(**settings)
    runs = [subject.frdiff(schedule=changed(schedule, guarded=on), **settings) for on in (True, False)]
    return [(relative(latent, plain), report) for latent, report in runs]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("rule", "speedup"), [("linear", 3.0), ("linear", 4.0), ("kriging", 4.0)])
def test_the_guard_never_makes_a_run_less_faithful(subject, engine, rule, speedup, seed):
    """Where forecasts reach too far it computes more, and says how much."""
    rule = engine("forecasting.rules").FORECASTERS[rule]
    schedule = changed(engine("planning.presets").for_speedup(speedup), forecaster=rule, repair=0.0, measures=False)
    (error, guarded), (without, free) = guarded_and_not(subject, schedule, seed=seed)
    more = guarded.counts["full"] - free.counts["full"]
    assert error <= without
    assert more >= 0 and (f"{more} planned skips were computed" in guarded.text()) == (more > 0)


def test_the_guard_acts_on_bad_forecasts(host, engine):
    rule = engine("forecasting.rules").FORECASTERS["linear"]
    schedule = changed(engine("planning.presets").for_speedup(4.0), forecaster=rule, repair=0.0, measures=False)
    subject, settings = demo_subject(host, "dit"), {"sampler": "dpmpp_2m", "cfg": 10.0}
    (error, guarded), (without, free) = guarded_and_not(subject, schedule, **settings)
    assert guarded.counts["full"] > free.counts["full"] and error < without


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun", "euler_ancestral"])
def test_the_guard_leaves_good_forecasts_alone(subject, engine, sampler):
    dial = engine("planning.presets").for_speedup(2.0)
    (error, guarded), (without, free) = guarded_and_not(subject, dial, sampler=sampler)
    assert guarded.counts == free.counts and error == without
