"""Holds every report of the suite against the run: the counts, the calls really made, the limit, the reasons."""

import importlib
import re
import threading

REFUSED = {"other-cache", "own-noise-levels", "upward", "cfg-pp-multistep", "no-forecast", "own-state",
           "several-unknown"}  # fmt: skip
# No two of a group are said of one run.
CONTRADICTIONS = [
    REFUSED,
    *({refusal, plan} for refusal in REFUSED for plan in ("speed-not-reached", "nothing-to-skip")),
    {"speed-not-reached", "nothing-to-skip"},
    {"dial-off", "nothing-to-sample"},
    {"budget-coarser", "budget-stages", "budget-short"},
    {"blocks-recognised", "no-stages"},
]
SPEED = re.compile(r"([0-9.]+)x faster")


class Audit:
    """Watches the sessions of one loaded pack; `faults` are sentences about reports that are not true."""

    def __init__(self):
        self.faults = []
        self._lock = threading.Lock()
        self._seen = {}

    def begin(self, pack):
        """Watch the session class of a pack from now on."""
        session = importlib.import_module(f"{pack}.frdiff.runtime.session").Session
        call, close = session.call, session.close

        def counted_call(run, network_call):
            return self._counted(run, network_call, lambda: call(run, network_call))

        def told_close(run, finished=True):
            report = close(run, finished)
            self.faults += faults_of(report, self._seen.pop(id(run), None))
            return report

        session.call, session.close = counted_call, told_close

    def _counted(self, run, network_call, answer):
        """Count how often the network is entered in an evaluation, apart from what the engine counts."""
        with self._lock:
            entries = self._seen.setdefault(id(run), {})
        entry, evaluation = network_call.entry, len(run.report.records) - 1
        if network_call.compiled is not None:
            entries[evaluation] = None
            return answer()
        before, forward = entry.__dict__.get("forward"), entry.forward

        def counted(*args, **kwargs):
            with self._lock:
                if entries.get(evaluation, 0) is not None:
                    entries[evaluation] = entries.get(evaluation, 0) + 1
            return forward(*args, **kwargs)

        entry.__dict__["forward"] = counted
        try:
            return answer()
        finally:
            entry.__dict__.pop("forward")
            if before is not None:
                entry.__dict__["forward"] = before


def faults_of(report, entries=None):
    """What of a report is not true; `entries` are those of the network in each evaluation, None where unknown."""
    codes = [reason.code for reason in report.reasons]
    return [f"{report.schedule}: {fault}" for fault in (
        *_faults_of_counts(report), *_faults_of_calls(report, entries), *_faults_of_speed(report, codes),
        *_faults_of_reasons(report, codes),
    )]  # fmt: skip


def _faults_of_counts(report):
    total = sum(report.counts.values()) + report.answered_elsewhere
    if total != len(report.records):
        yield f"{total} evaluations are counted of {len(report.records)}"
    data = report.data()
    if data["counts"] != report.counts or len(data["records"]) != len(report.records):
        yield "the data say something else than the report"
    if any(record.ms < 0 for record in report.records) or report.seconds < 0:
        yield "time went back"
    if report.network_seconds > report.seconds * 1.01 + 0.01 and not _has_threads(report):
        yield f"{report.network_seconds} s network time in {report.seconds} s"
    if "All 0" in report.line() or "0 of 0" in report.line():
        yield report.line()


def _has_threads(report):
    """Several networks at once spend more time than passes."""
    return any(record.asked > 1 for record in report.records)


def _faults_of_calls(report, entries):
    for number, record in enumerate(report.records):
        last = not report.finished and number == len(report.records) - 1
        if record.kind == "skip" and record.calls and record.planned == "skip":
            yield f"evaluation {number} is called skipped, and the network computed {record.calls} times"
        if record.kind != "skip" and record.asked and not record.calls and not last:
            yield f"evaluation {number} is called {record.kind}, and the network computed nothing of {record.asked}"
        made = (entries or {}).get(number, 0)
        if entries is not None and made is not None and made != record.calls:
            yield f"evaluation {number} counts {record.calls} calls of {made}"


def _faults_of_speed(report, codes):
    limit = report.speedup_limit
    said = [report.speedup, report.network_speedup, *map(float, SPEED.findall(report.text()))]
    for speedup in said:
        if speedup is not None and (limit is None or speedup > limit + 0.005):
            yield f"{speedup} is called the speed-up, where the counts allow {limit}"
    if "other-cache" in codes and any(speedup is not None for speedup in said):
        yield "the speed-up of another cache is called this one's"
    if report.counts["full"] == len(report.records) and SPEED.search(report.text()):
        yield "a run that was computed in full is called faster"


def _faults_of_reasons(report, codes):
    for group in CONTRADICTIONS:
        if len(group & set(codes)) > 1:
            yield f"{sorted(group & set(codes))} contradict each other"
    if len(set(codes)) != len(codes) and len(set(report.reasons)) != len(report.reasons):
        yield "a reason is given twice"
    guarded = next((reason for reason in report.reasons if reason.code == "guarded"), None)
    if guarded:
        count = sum(record.planned == "skip" and record.kind == "full" for record in report.records)
        if int(guarded.sentence.split()[0]) > count:
            yield f"{guarded.sentence} But {count} were."
    if "nothing-to-skip" in codes and report.counts["skip"] + report.counts["partial"]:
        yield "there was nothing to skip, and something was"
    if "no-features" in codes and not any(r.planned == "partial" and r.kind == "full" for r in report.records):
        yield "partial steps are called full, and there were none"


AUDIT = Audit()
