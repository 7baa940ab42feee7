"""Newer hosts answer the conditions of one step on several GPUs, from several threads, each with its own network."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from subjects import custom_schedule, demo_subject, relative

REPETITIONS = 200
SIGMAS = [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]


@pytest.fixture(scope="module", params=["unet", "dit"])
def subject(host, request):
    return demo_subject(host, request.param)


class TwoClones:
    """The two conditions of each step, each on a clone of the network of its own."""

    def __init__(self, subject, engine, schedule):
        self.networks = [subject.network, copy.deepcopy(subject.network)]
        self.Session, self.schedule = engine("runtime.session").Session, schedule
        self.call_of, self.facts = engine("engine").NetworkCall, engine("engine").RunFacts(SIGMAS)
        generator = torch.Generator().manual_seed(0)
        self.context = [torch.randn(1, 6, 128, generator=generator) for _ in self.networks]
        self.x = torch.randn(1, 16, 4, 4, generator=generator)

    def answer(self, session, number, step):
        network, context = self.networks[number], self.context[number]
        x, t = self.x * (1 + 0.05 * step), torch.full((1,), 0.9 - 0.1 * step)
        y = None if hasattr(network, "out") else torch.zeros(1, 128)
        with torch.inference_mode():
            return session.call(self.call_of(number, network, lambda: network(x, t, context, y=y)))

    def run(self, each):
        """All outputs and the report; `each` maps a function over the conditions."""
        session, outputs = self.Session(self.schedule, self.facts), []
        for step, sigma in enumerate(SIGMAS[:-1]):
            session.begin_evaluation(sigma)
            outputs += each(lambda number, step=step: self.answer(session, number, step), range(len(self.networks)))
        return outputs, session.close()


def serially(answer, numbers):
    return [answer(number) for number in numbers]


def test_two_threads_give_what_one_gives(subject, host, engine):
    clones = TwoClones(subject, engine, custom_schedule(host, interval=2, mixing=True))
    before = [set(module.__dict__) for network in clones.networks for module in network.modules()]
    expected, serial = clones.run(serially)
    assert serial.counts == {"full": 3, "partial": 1, "skip": 1}
    with ThreadPoolExecutor(2) as pool:
        for _ in range(REPETITIONS):
            outputs, report = clones.run(lambda answer, numbers: list(pool.map(answer, numbers)))
            assert all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True))
            assert report.counts == serial.counts and report.bytes_kept == serial.bytes_kept
            assert [record.calls for record in report.records] == [record.calls for record in serial.records]
    assert [set(module.__dict__) for network in clones.networks for module in network.modules()] == before


def test_two_threads_share_a_budget_that_is_too_small(subject, host, engine):
    """Which thread comes first makes no difference to what is remembered."""
    _, free = TwoClones(subject, engine, custom_schedule(host, interval=2, mixing=False)).run(serially)
    tight = custom_schedule(host, interval=2, mixing=False, budget=0.5 * free.bytes_kept / 1e6)
    clones = TwoClones(subject, engine, tight)
    expected, serial = clones.run(serially)
    assert serial.counts["partial"] and "MB holds" in serial.text()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(REPETITIONS // 4):
            outputs, report = clones.run(lambda answer, numbers: list(pool.map(answer, numbers)))
            assert all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True))
            assert report.counts == serial.counts and untimed(report) == untimed(serial)


def untimed(report):
    """The reasons that do not depend on what else the machine does."""
    return [reason for reason in report.reasons if reason.code not in ("reuse-not-cheaper", "unsteady-times")]


def on_two_devices(subject):
    """The model with a clone of its own weights on a second device, as the host's multi-GPU nodes make it."""
    second = demo_subject(subject.host, "unet" if hasattr(subject.network, "out") else "dit").model.model
    main = subject.model.clone()
    clone = subject.model.clone(model_override=(second, ({}, {}, {}, set())))
    # The same processor by another name: the host takes it for another device.
    clone.load_device = torch.device("cpu", 0)
    clone.is_multigpu_base_clone = True
    main.set_additional_models("multigpu", [clone])
    return subject.having(model=main), second.diffusion_model


@pytest.mark.skipif(torch.cuda.is_available(), reason="names the processor twice")
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m_sde"])
def test_the_hosts_multi_gpu_sampling(subject, host, sampler):
    pytest.importorskip("comfy.multigpu", reason="This ComfyUI samples on one GPU.")
    both, second = on_two_devices(subject)
    calls = []
    handle = second.register_forward_pre_hook(lambda *_: calls.append(1))
    settings = {"sampler": sampler, "steps": 20}
    try:
        plain = both.sample(**settings)
        assert calls
        before = [set(module.__dict__) for module in second.modules()]
        assert torch.equal(both.frdiff(schedule=custom_schedule(host), **settings)[0], plain)
        calls.clear()
        with both.counting() as first:
            latent, report = both.frdiff(**settings)
    finally:
        handle.remove()
    # The clone was asked at every step, so the wrapper reached it if fewer calls were computed than asked for.
    assert len(calls) == len(first) + report.counts["skip"] == 20
    assert sum(record.calls for record in report.records) == 2 * len(first)
    assert report.counts["full"] < 20
    # One condition at a time gives other rounding than both in a batch, and nothing else.
    assert relative(plain, subject.sample(**settings)) < 1e-3
    assert relative(latent, subject.frdiff(**settings)[0]) < 1e-3
    assert [set(module.__dict__) for module in second.modules()] == before
