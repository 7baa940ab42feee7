"""Which pieces of each network family can be remembered: a table, keyed by qualified class name."""

from __future__ import annotations

from dataclasses import dataclass

# Where a block's input is found in its call: position, and name when it is passed by keyword.
Argument = tuple[int, str]


@dataclass(frozen=True)
class Family:
    """How one class of block is remembered.

    With `child` the value that this child module returns is remembered, and the rest of the block stays
    fresh. Without it the block's residual, output minus input, is: `inputs` pairs each output with the
    input it adds to. `mutates` says that the block writes into its inputs. `plain` names an attribute
    that must be false, for blocks whose variants call the child in another way.
    """

    inputs: tuple[Argument, ...]
    child: str = ""
    mutates: bool = False
    plain: str = ""


FAMILIES: dict[str, Family] = {
    # The first convolution, before the time embedding (arXiv 2312.03517, figure 4).
    "comfy.ldm.modules.diffusionmodules.openaimodel.ResBlock": Family(((0, "x"),), child="in_layers", plain="updown"),
    # The whole branch up to proj_out, without the residual.
    "comfy.ldm.modules.attention.SpatialTransformer": Family(((0, "x"),)),
    "comfy.ldm.flux.layers.DoubleStreamBlock": Family(((0, "img"), (1, "txt")), mutates=True),
    "comfy.ldm.flux.layers.SingleStreamBlock": Family(((0, "x"),), mutates=True),
}


def family_of(block: object, families: dict[str, Family] | None = None) -> Family | None:
    """The table's row for a block, or None when it is computed at every step."""
    cls = type(block)
    family = (FAMILIES if families is None else families).get(f"{cls.__module__}.{cls.__qualname__}")
    if family is None or (family.plain and getattr(block, family.plain)):
        return None
    return family
