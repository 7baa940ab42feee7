"""What a network call is about: the stream that it belongs to, the same in every evaluation and in every run."""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable, Mapping
from typing import Any

import torch

from ...frdiff.runtime.places import Places
from ...frdiff.runtime.probes import Window

# Calls at noise levels that differ from their evaluation's by this factor or less are of the same kind.
SAME_LEVEL = 1.05


class Streams:
    """Names the stream of each network call: by its kind, by what it is about, and by its number among those alike."""

    def __init__(self, names: Mapping[Any, str]) -> None:
        self._names = names
        self._places = Places()
        self._numbers = CallNumbers()
        self._sigma = 0.0

    def begin(self, sigma: float, x: object) -> None:
        """Begin an evaluation."""
        self._sigma = sigma
        self._places.begin(x)
        self._numbers.start()

    def of(
        self, x: torch.Tensor, sigma: float, options: dict[str, Any], control: Any, model: Any,
        network: torch.nn.Module, conditioning: Any,
    ) -> tuple[Hashable, bool]:  # fmt: skip
        """The stream of a call at the noise level `sigma`, and whether its kind was about something else before.

        `conditioning` holds what else the network is given; without it neither that nor the input is looked at, and
        calls of the same kind are told apart by their order alone.
        """
        kind, window = (call_key(x, options, control, model, self._names), self._level(sigma)), _window(options)
        about, elsewhere = (None, False) if conditioning is None else self._places.of(kind, x, conditioning, window)
        return self._numbers.numbered((kind, window, about), network), elsewhere

    def _level(self, sigma: float) -> int:
        """How far the call's noise level is from that of its evaluation, in steps that are felt."""
        if sigma <= 0 or self._sigma <= 0:
            return 0
        return round(math.log(sigma / self._sigma) / (2 * math.log(SAME_LEVEL)))


class CallNumbers:
    """Tells calls of one evaluation that are about the same apart by their order, also where threads make them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: dict[Hashable, int] = {}
        self._networks: dict[Hashable, dict[int, int]] = {}

    def start(self) -> None:
        """Begin an evaluation."""
        with self._lock:
            self._next.clear()

    def numbered(self, key: Hashable, network: torch.nn.Module) -> tuple[Hashable, int, int]:
        """The key with the number of the network among those called with it, and of this call among the network's."""
        with self._lock:
            # By key: of the networks of several devices, whose keys differ, chance says which comes first.
            networks = self._networks.setdefault(key, {})
            of_network = networks.setdefault(id(network), len(networks))
            number = self._next.get((key, of_network), 0)
            self._next[key, of_network] = number + 1
        return key, of_network, number


def condition_names(guider: Any) -> dict[Any, str]:
    """What a guider's conditions are called in every run, by the ids that the host draws anew for each."""
    conditions = getattr(guider, "conds", None)
    if not isinstance(conditions, dict):
        # A guider of another pack; its conditions have other names in every run.
        return {}
    lists = {name: listed for name, listed in conditions.items() if isinstance(listed, (list, tuple))}
    return {each["uuid"]: f"{name} {i}" for name, listed in lists.items() for i, each in enumerate(listed)
            if isinstance(each, dict) and "uuid" in each}  # fmt: skip


def call_key(
    x: torch.Tensor, options: dict[str, Any], control: Any, model: Any, names: Mapping[Any, str]
) -> Hashable:
    """What makes two calls comparable: conditions, shape, device, attention patches, hooks and control.

    With the conditions' `names` it is the same in every run.
    """
    patches = options.get("patches_replace", {})
    return (
        # Other packs' guiders may draw ids anew at each step: what such a condition holds will tell.
        tuple(names.get(uuid) for uuid in options.get("uuids", ())),
        tuple(options.get("cond_or_uncond", ())),
        x.shape,
        x.device,
        tuple(sorted(f"{name} {place}" for name, places in patches.items() for place in places)) if patches else (),
        _hook_strengths(model),
        # A ControlNet outside its range gives nothing, and the network another output.
        tuple(sorted(name for name, given in control.items() if any(r is not None for r in given))) if control else (),
    )


def _window(options: Mapping[str, Any]) -> Window:
    """What the host's own context windows show the network; another pack's window may be anything."""
    window = options.get("context_window")
    if window is None:
        return None
    # Newer hosts put a frame before the window, so that the first frame of a causal codec is none of the window's.
    anchor = getattr(window, "causal_anchor_index", None)
    anchors = (anchor,) if isinstance(anchor, int) and anchor >= 0 else ()
    dim, places = getattr(window, "dim", 0), (*anchors, *getattr(window, "index_list", ()))
    return dim if all(isinstance(each, int) for each in (dim, *places)) else 0, places


def _hook_strengths(model: Any) -> Hashable:
    """The weights' state: which hooks are in them, and how strongly at this step."""
    hooks = getattr(model.current_patcher, "current_hooks", None)
    return tuple((hook, hook.strength) for hook in hooks.hooks) if hooks is not None else ()
