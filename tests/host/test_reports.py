"""Reports are true: where other packs answer, where the run is refused, and the audit that says so of all others."""

import importlib

import pytest
import torch
from audit import faults_of
from subjects import demo_subject

STEPS = 20


@pytest.fixture(scope="module")
def subject(host):
    return demo_subject(host, "unet")


class Remembering:
    """A wrapper in one of the host's places that answers every third call by what was answered before."""

    def __init__(self):
        self.seen, self.last = 0, None

    def __call__(self, executor, *args, **kwargs):
        self.seen += 1
        if self.last is None or self.seen % 3:
            self.last = executor(*args, **kwargs)
        return self.last


@pytest.mark.parametrize("place", ["APPLY_MODEL", "CALC_COND_BATCH", "PREDICT_NOISE"])
def test_what_another_packs_cache_answers_is_not_counted(subject, place):
    from comfy.patcher_extension import WrappersMP

    model = subject.model.clone()
    model.add_wrapper_with_key(getattr(WrappersMP, place), "their cache", Remembering())
    with subject.counting() as computed:
        _, report = subject.having(model=model).frdiff(steps=STEPS, speedup=1.5)
    assert sum(record.calls for record in report.records) == len(computed) < STEPS
    if place == "PREDICT_NOISE" and len(report.records) < STEPS:
        # It is around ours: those evaluations were not seen at all.
        return
    assert report.answered_elsewhere > 0 and report.counts["full"] == len(computed)
    assert "answered-elsewhere" in [reason.code for reason in report.reasons]


@pytest.mark.parametrize(("sampler", "code"), [("dpm_adaptive", "own-noise-levels"), ("dpm_fast", "own-noise-levels")])
def test_a_run_that_is_refused_tells_no_plan(subject, sampler, code):
    _, report = subject.frdiff(steps=9, sampler=sampler)
    assert [reason.code for reason in report.reasons if reason.code != "unsteady-times"] == [code]


@pytest.mark.parametrize("denoise", [1.0, 0.5])
def test_off_counts_nothing_that_was_not_seen(subject, denoise):
    _, report = subject.frdiff(speedup=1.0, steps=4, denoise=denoise)
    assert report.line() == "The dial is at 1.0, which is off." and "computed" not in report.text()


def test_steps_are_called_steps_where_each_has_two_evaluations(subject):
    _, report = subject.frdiff(steps=7, sampler="heun", speedup=4.0)
    assert "the nearest that 7 steps allow" in report.text()


@pytest.mark.parametrize("untrue", [
    {"calls": 0}, {"kind": "skip"}, {"ms": -1.0},
], ids=str)  # fmt: skip
def test_the_audit_finds_what_is_not_true(pack, untrue):
    told = importlib.import_module(f"{pack.__name__}.frdiff.reporting.report")
    reasons = importlib.import_module(f"{pack.__name__}.frdiff.reasons")
    records = [told.StepRecord(step, 1.0, "full", "full", 1.0, 10.0, 1, asked=1) for step in range(3)]
    report = told.RunReport("test", 3, 1.0, finished=True, records=records)
    entries = {0: 1, 1: 1, 2: 1}
    assert not faults_of(report, entries)
    report.reasons = [reasons.UPWARD, reasons.NOT_NEAR]
    assert "contradict" in faults_of(report, entries)[0]
    report.reasons = []
    records[1].planned = "skip" if "kind" in untrue else "full"
    for name, value in untrue.items():
        setattr(records[1], name, value)
    assert faults_of(report, entries)


def test_sessions_of_the_pack_are_audited(subject, pack):
    from audit import AUDIT

    session = importlib.import_module(f"{pack.__name__}.frdiff.runtime.session").Session
    count = session._count
    session._count = lambda run: None
    try:
        subject.frdiff(steps=4)
    finally:
        session._count = count
    assert AUDIT.faults
    AUDIT.faults.clear()
    assert torch.isfinite(subject.frdiff(steps=4)[0]).all()
