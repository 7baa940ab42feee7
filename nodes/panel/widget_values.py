"""Values that a browser sent, held against the widgets that they are said to come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from comfy_api.latest import io

from ...frdiff.errors import FRDiffError

# Of a value that is told back.
LONGEST_SHOWN = 60


def widget_values(widgets: Iterable[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """What of the data belongs to these inputs, as the host would give it to a node; raises FRDiffError."""
    return {widget.id: widget_value(widget, data[widget.id]) for widget in widgets if widget.id in data}


def widget_value(widget: Any, value: Any) -> Any:
    """One value as its widget has it; raises FRDiffError where the widget cannot have it."""
    if isinstance(widget, io.Int.Input):
        return _number(widget, value, int, "a whole number")
    if isinstance(widget, io.Float.Input):
        return _number(widget, value, float, "a number")
    if isinstance(widget, io.Combo.Input):
        return _one_of(widget, value)
    kind = bool if isinstance(widget, io.Boolean.Input) else str
    if not isinstance(value, kind):
        raise _refused(widget, value, "true or false" if kind is bool else "text")
    return value


def _number(widget: Any, value: Any, convert: Callable[[Any], Any], kind: str) -> Any:
    wanted = f"{kind} between {widget.min:g} and {widget.max:g}"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _refused(widget, value, wanted)
    try:
        number = convert(value)
    except (ValueError, OverflowError):
        raise _refused(widget, value, wanted) from None
    # Not the other way round: NaN is in no order.
    if not widget.min <= number <= widget.max:
        raise _refused(widget, value, wanted)
    return number


def _one_of(widget: Any, value: Any) -> Any:
    if not isinstance(value, str) or value not in widget.options:
        raise _refused(widget, value, "one of those that this ComfyUI offers")
    return value


def _refused(widget: Any, value: Any, wanted: str) -> FRDiffError:
    try:
        shown = ascii(value)
    except (ValueError, RecursionError):
        # Numbers of thousands of digits, and lists in lists.
        shown = type(value).__name__
    if len(shown) > LONGEST_SHOWN:
        shown = shown[:LONGEST_SHOWN] + "..."
    return FRDiffError(f"{widget.id} is {shown}; it must be {wanted}.")
