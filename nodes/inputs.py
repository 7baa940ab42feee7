"""Types and inputs that several nodes share."""

from comfy_api.latest import io

CATEGORY = "FRDiff"

ScheduleType = io.Custom("FRDIFF_SCHEDULE")
ReportType = io.Custom("FRDIFF_REPORT")


def speedup_input() -> io.Input:
    """The one dial."""
    return io.Float.Input(
        "speedup",
        default=2.0,
        min=1.0,
        max=10.0,
        step=0.1,
        tooltip="How many times faster the network should run. 1.0 is off: every step is computed.",
    )


def schedule_input() -> io.Input:
    """An optional schedule, which replaces the dial."""
    return ScheduleType.Input(
        "schedule", optional=True, tooltip="A schedule from FRDiff Schedule. With it the dial is not used."
    )
