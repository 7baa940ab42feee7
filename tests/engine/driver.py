"""Drives an engine without a host."""

from dataclasses import replace

from frdiff.engine import NetworkCall, RunFacts
from frdiff.runtime.budget import HostMemory
from frdiff.runtime.session import Session
from frdiff.sampler.noise_levels import NoiseLevel


def flow_level(sigma):
    """A flow model's level: sigma is the time, and the network predicts noise less data."""
    return NoiseLevel(sigma, sigma, 1.0, -sigma)


def start(schedule, sigmas, families=None, is_exhausted=None, measures=None, **facts):
    """A session of a run with these noise levels, with blocks of these families."""
    options = replace(schedule.options, families=families)
    if measures is not None:
        options = replace(options, measures=measures)
    with_options = replace(schedule, options=options)
    memory = HostMemory() if is_exhausted is None else HostMemory(is_exhausted=is_exhausted)
    return Session(with_options, RunFacts(sigmas, **facts), memory)


def lasting(report):
    """The reasons that do not depend on what else the machine does."""
    return [reason for reason in report.reasons if reason.code not in ("reuse-not-cheaper", "unsteady-times")]


def call(engine, stream, network, run, x=None, elsewhere=False):
    """What an engine answers to one network call."""
    return engine.call(NetworkCall(stream, network, run, x, elsewhere=elsewhere))
