"""The jobs of a calibration on the workers of a Ray cluster, each with a ComfyUI and the workflow's model of its own.

Results come back in the order of the jobs, so that nothing depends on who was first. A worker that ends early loses
nothing: another is started in its place, and its job is done anew.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from setup import SCRIPTS, ScriptError

MISSING = (
    "--ray needs Ray, which the Python of this ComfyUI does not have. Install it with\n"
    '    {python} -m pip install "ray>=2.40"\n'
    "on this machine and on each machine of the cluster, or leave out --ray."
)
NO_ROOM = (
    "The Ray cluster has {there} {kind}, and {workers} workers need {needed}. "
    "Choose fewer with --workers, or fewer threads with OMP_NUM_THREADS."
)
# A job that ends its worker so often would end any.
MOST_ATTEMPTS = 3


def check_installed() -> None:
    """Raise ScriptError with the command that installs Ray where it is missing."""
    try:
        import ray  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ScriptError(MISSING.format(python=sys.executable)) from error


@contextmanager
def cluster(arguments: Any, prompt: Any, node: str, say: Callable[[str], None]) -> Iterator[Workers]:
    """Workers on the cluster at `arguments.ray`, or on one that is started here and ended at the end."""
    import ray  # pyright: ignore[reportMissingImports]
    import torch

    # Nothing is reported to anyone.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        ray.init(address=arguments.ray, include_dashboard=False if arguments.ray == "local" else None,
                 log_to_driver=False, logging_level="error")  # fmt: skip
    except ConnectionError as error:
        raise ScriptError(f"No Ray cluster answers at {arguments.ray}. Start one with: ray start --head") from error
    try:
        # As many as here, because the order of sums, and with it the last bits, depends on the threads.
        threads = torch.get_num_threads()
        count, needs = _places(ray.cluster_resources(), arguments.workers, arguments.device, threads)
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        actor = ray.remote(Worker).options(scheduling_strategy="SPREAD", **needs)
        # Not sys.path, which ComfyUI has changed here and will change there.
        paths = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
        settings = (str(SCRIPTS), paths, prompt, node, arguments.device, threads)
        say(f"Starting {count} Ray workers ...")
        yield Workers(ray, lambda: actor.remote(*settings), count, say)
    finally:
        ray.shutdown()


def _places(there: dict[str, float], workers: int | None, device: str, threads: int) -> tuple[int, dict[str, float]]:
    """How many workers, and what each asks of the cluster."""
    kind = "GPU" if device != "cpu" and there.get("GPU", 0) >= 1 else "CPU"
    each = 1 if kind == "GPU" else threads
    count = workers or max(int(there.get(kind, 0)) // each, 1)
    if count * each > there.get(kind, 0):
        known = f"{there.get(kind, 0):g}"
        raise ScriptError(NO_ROOM.format(there=known, kind=f"{kind}s", workers=count, needed=count * each))
    return count, {f"num_{kind.lower()}s": each}


class Worker:
    """Runs in a process of Ray's: loads ComfyUI and what the workflow gives to the node, then does jobs."""

    def __init__(self, scripts: str, paths: list[str], prompt: Any, node: str, device: str, threads: int) -> None:
        self._failure: Exception | None = None
        sys.path[:] = [*paths, *(entry for entry in sys.path if entry not in paths)]
        sys.path.insert(0, scripts)
        try:
            import torch

            from setup.in_process import load_comfyui, pack_module

            torch.set_num_threads(threads)
            host = load_comfyui(device, user_nodes=True)
            work = pack_module(host, "scripts.calibrate.work")
            self._request = work.request_of(host, prompt, node)
            self._order = work.order_of(self._request)
        except Exception as error:
            # Raised here it would reach the user as a dead worker.
            self._failure = error

    def ready(self) -> tuple[str, Any]:
        """Where it runs, and what the request says of the calibration; raises what went wrong at the start."""
        if self._failure is not None:
            raise self._failure
        return f"process {os.getpid()} on {socket.gethostname()}", self._order

    def do(self, job: Any, truth: Any) -> Any:
        """The result of a job; the recorded run that it needs comes by itself."""
        import torch

        with torch.inference_mode():
            return replace(job, truth=truth).done(self._request.sample, None)


class Workers:
    """Hands out jobs to so many workers; `order` is what the calibration has to know of the request."""

    def __init__(self, ray: Any, make: Callable[[], Any], count: int, say: Callable[[str], None]) -> None:
        self._ray = ray
        self._make = make
        self._say = say
        self._idle: list[Any] = []
        # What each worker is doing: None is starting, otherwise which jobs and the number of one.
        self._doing: dict[Any, tuple[Any, tuple[object, int] | None]] = {}
        self._truths: dict[int, tuple[Any, Any]] = {}
        for _ in range(count):
            self._start()
        self.order: Any = None
        while self.order is None:
            self._wait(object(), {}, deque(), Counter())

    def do(self, jobs: Sequence[Any]) -> Iterator[Any]:
        """The results in order; jobs are handed out ahead of what is asked for, one to each worker."""
        batch, results = object(), {}
        waiting, attempts = deque(range(len(jobs))), Counter()
        for number in range(len(jobs)):
            while number not in results:
                while waiting and self._idle:
                    self._hand_out(jobs[waiting[0]], (batch, waiting.popleft()))
                self._wait(batch, results, waiting, attempts)
            yield results.pop(number)

    def _start(self) -> None:
        actor = self._make()
        self._doing[actor.ready.remote()] = (actor, None)

    def _hand_out(self, job: Any, task: tuple[object, int]) -> None:
        actor = self._idle.pop()
        self._doing[actor.do.remote(replace(job, truth=None), self._shared(job.truth))] = (actor, task)

    def _shared(self, truth: Any) -> Any:
        """A recorded run in Ray's store: sent once to each machine, not with each job."""
        if truth is None:
            return None
        if id(truth) not in self._truths:
            # The run itself is kept as well, so that no other gets its id.
            self._truths[id(truth)] = (self._ray.put(truth), truth)
        return self._truths[id(truth)][0]

    def _wait(self, batch: object, results: dict[int, Any], waiting: deque[int], attempts: Counter[int]) -> None:
        """Wait for one worker, and take what it has done; what belongs to jobs of before is dropped."""
        (done,), _ = self._ray.wait(list(self._doing), num_returns=1)
        actor, task = self._doing.pop(done)
        mine = task is not None and task[0] is batch
        try:
            result = self._ray.get(done)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayActorError as error:
            self._replace(starting=task is None, error=error)
            if mine and task is not None:
                waiting.appendleft(task[1])
                attempts[task[1]] += 1
                if attempts[task[1]] == MOST_ATTEMPTS:
                    raise ScriptError(f"One run ended its Ray worker {MOST_ATTEMPTS} times: {error}") from error
            return
        self._idle.append(actor)
        if task is None:
            place, self.order = result
            self._say(f"A Ray worker is ready: {place}.")
        elif mine:
            results[task[1]] = result

    def _replace(self, starting: bool, error: Exception) -> None:
        """Start another worker for one that ended, unless it ended while it started, as another would."""
        if not starting:
            self._say("A Ray worker ended early; its run is made again.")
            self._start()
        elif not self._doing and not self._idle:
            raise ScriptError(f"No Ray worker is left: {error}") from error
