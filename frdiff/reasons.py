"""Every sentence that a report can give about what a run did not do, each with a code for programs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Reason:
    """A code that stays the same in every version, and a sentence for the reader."""

    code: str
    sentence: str

    def of(self, **values: Any) -> Reason:
        """The same with the places in its sentence filled in."""
        return replace(self, sentence=self.sentence.format(**values))


# Nothing was done, and why.
DIAL_OFF = Reason("dial-off", "The dial is at 1.0, which is off.")
NOTHING_TO_SAMPLE = Reason("nothing-to-sample", "There was nothing to sample.")
OTHER_CACHE = Reason(
    "other-cache", "EasyCache or LazyCache is on the same model, and skipping is left to it. Remove it to use FRDiff."
)

# What the plan could not do.
OWN_LEVELS = Reason(
    "own-noise-levels",
    "Steps were computed in full: the sampler chooses noise levels of its own, which no plan can know.",
)
SEVERAL = Reason(
    "several-unknown",
    "Steps were computed in full: the model is asked several times for a step, in a way that neither a rehearsal of "
    "the sampler nor the run itself shows.",
)
UPWARD = Reason("upward", "Every step was computed in full: the noise levels do not go down from step to step.")
CFG_PP_MULTISTEP = Reason(
    "cfg-pp-multistep",
    "Every step was computed in full: the sampler uses the unconditional output by itself (CFG++) together with other "
    "outputs, which on a flow model leaves nothing to forecast. Fewer steps are the faster way.",
)
CFG_PP = Reason(
    "cfg-pp",
    "The sampler uses the unconditional output by itself (CFG++): with a cfg above 2, fewer steps serve better.",
)
CHANGED = Reason(
    "latent-changed",
    "Steps were computed in full: something beside the sampler changes its latent, and what is remembered does not "
    "answer for that.",
)
CONTRADICTED = Reason(
    "not-as-rehearsed",
    "The run was planned again as with an unknown sampler: something beside the sampler asks the model, or at other "
    "noise levels.",
)
UNWATCHED = Reason(
    "unwatched",
    "The sampler was not watched to the end: what it gave or was given is no latent of finite numbers, so that "
    "nothing is known of noise that it may add.",
)
NOTHING_TO_SKIP = Reason("nothing-to-skip", "The schedule has nothing to skip in a run of {steps} steps.")
GUARDED = Reason(
    "guarded", "{count} planned skips were computed in full: the forecast before them was far from the truth."
)
POOR = Reason(
    "poor-forecasts",
    "{count} of {tests} forecasts that were tested were no nearer to the truth than no answer: the picture may differ. "
    "Compare it with the plain one, or with fewer steps, or turn the dial down.",
)
UNSTEADY = Reason(
    "unsteady-times",
    "Computed steps took unequal times, so that the speed-up is not well known: it is told as {limit:.2f}x, which is "
    "all that {full} of {total} computed evaluations allow.",
)
ELSEWHERE = Reason(
    "answered-elsewhere",
    "{count} evaluations were answered without the network, by another cache or guider: they are in no count here.",
)
NOT_NEAR = Reason(
    "speed-not-reached",
    "{asked:g}x was asked for and {reached:.2f}x is planned, the nearest that {steps} steps allow.",
)
LESS_DONE = Reason(
    "less-than-planned",
    "{full} of {total} evaluations were computed, which is {reached:.2f}x by count; {planned:.2f}x was planned. The "
    "sampler asked the model more often than was known before.",
)
TOGETHER = Reason(
    "planned-together",
    "Steps {first} to {last} of {steps}: planned together with the others, so that {full} are computed in all, which "
    "is {speedup:.2f}x.",
)

# Calls that could not be answered as planned.
STALE = Reason(
    "stale", "Some steps were computed in full: the sampler went back in sigma, or what was remembered was too old."
)
UNSEEN = Reason("unseen", "Some calls were computed in full: nothing was remembered yet for their condition.")
MOVED = Reason(
    "moved",
    "Some calls were computed in full: what the network is shown moves in the latent, or does not go on from what it "
    "was shown before, and nothing was remembered for it, or nothing that is new enough.",
)
NO_LATENT = Reason(
    "no-latent",
    "Skipped steps were computed in full: the sampler adds noise, and the network's output is no latent like its "
    "input.",
)
OWN_STATE = Reason(
    "own-state",
    "Steps were computed in full: the network keeps a state that each call moves on, as when video is made piece by "
    "piece, and no call of it can be left out.",
)
NO_FORECAST = Reason(
    "no-forecast",
    "Steps were computed in full: what the network returns is not always tensors of the same shapes, and cannot be "
    "forecast.",
)

# Partial steps.
NO_STAGES = Reason(
    "no-stages", "Partial steps were computed in full: no stages are known in a network of class {network}."
)
NO_FEATURES = Reason(
    "no-features", "Some partial steps were computed in full: no stage had been remembered before them."
)
TAKEN_APART = Reason(
    "compiled-whole",
    "torch compiled the network as a whole, and partial steps take it apart: compile its blocks instead, or use the "
    "dial.",
)
SLOWER = Reason("reuse-not-cheaper", "Reused steps took as long as full ones: nothing was gained by them.")
RECOGNISED = Reason(
    "blocks-recognised",
    "Blocks of class {block} are not in the table of models; one call was watched, and they are residual blocks.",
)
REFUSED = Reason("blocks-refused", "Blocks of class {block} are computed at every step: {why}")

# Memory.
COARSER = Reason(
    "budget-coarser",
    "The cache budget of {budget:g} MB was too small for the branches of blocks: whole blocks are remembered instead.",
)
OVER_BUDGET = Reason(
    "budget-stages",
    "The cache budget of {budget:g} MB holds {kept} of {all} stages, which need {need:.1f} MB; the rest was computed "
    "at every step.",
)
SHORT = Reason(
    "budget-short",
    "The cache budget of {budget:g} MB was too small for everything: what did not fit was computed at every step.",
)
FREED = Reason(
    "memory-ran-out",
    "Memory ran out: what was remembered was freed, and partial steps were computed in full from there on.",
)

# Calibrated schedules.
OTHER_KIND = Reason(
    "calibrated-other-sampler",
    "What {file} says of errors was measured with a sampler that {made_for}, and this one {this}: expect other errors.",
)
CARRIED_OVER = Reason(
    "calibrated-carried-over",
    "What {file} says of errors was measured with {made_steps} steps, and this run has {steps}; the noise levels lie "
    "up to {apart:.2f} apart in flow time.",
)
NO_FILE = Reason(
    "calibrated-none-fits",
    "No schedule file fits this model: the uncalibrated schedule is used at {speedup:g}x.",
)
OTHER_WEIGHTS = Reason(
    "calibrated-other-weights", "The schedule {file} was calibrated with other weights of the same architecture."
)
OTHER_PATCHES = Reason(
    "calibrated-other-patches",
    "The LoRAs or other patches of this model's weights are not those that the schedule {file} was calibrated with.",
)

REASONS: dict[str, Reason] = {each.code: each for each in list(globals().values()) if isinstance(each, Reason)}
