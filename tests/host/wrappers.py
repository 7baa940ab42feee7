"""What wrappers of other packs do to a network's calls: each is drawn at random, and they are put into each other."""

import random

import torch


class Broken(Exception):
    """Raised by a wrapper, or by what it wraps."""


def drawn(seed, count, fault):
    """A `model_function_wrapper` of `count` random wrappers inside each other, the same for each seed; and its names.

    Make a new one for each run. With `fault` one of its calls raises.
    """
    chance = random.Random(seed)
    names = [chance.choice(list(WRAPPERS)) for _ in range(count)]
    made = [WRAPPERS[name](chance) for name in names]
    broken = _breaking(chance) if fault else None
    last, step = None, -1

    def wrapper(apply, call):
        nonlocal last, step
        sigma = float(call["timestep"].max())
        step, last = step + (sigma != last), sigma

        def network(x, t, c):
            return apply(x, t, **c)

        for each in [*([broken] if broken else []), *made]:
            network = _around(each, network, step)
        return network(call["input"], call["timestep"], {k: v for k, v in call["c"].items() if k != "control"})

    return wrapper, [*names, *(["broken"] if fault else [])]


def _around(wrapper, network, step):
    return lambda x, t, c: wrapper(network, x, t, c, step)


def _when(chance):
    """In which steps something is done."""
    first, seed = chance.randrange(1, 6), chance.random()
    return chance.choice([
        lambda step: True, lambda step: step % 2 == 1, lambda step: step >= first, lambda step: step == first,
        lambda step: random.Random(seed + step).random() < 0.5,
    ])  # fmt: skip


def _number(chance, low, high):
    """A number that is the same in each step, goes on from step to step, or jumps."""
    start, seed = chance.uniform(low, high), chance.random()
    span = high - low
    return chance.choice([
        lambda step: start, lambda step: start, lambda step: low + (start - low + 0.07 * step * span) % span,
        lambda step: random.Random(seed + step).uniform(low, high),
    ])  # fmt: skip


def _rows(c, picked):
    """A call's keywords for some rows of its batch."""
    return {k: v[picked] if isinstance(v, torch.Tensor) else v for k, v in c.items()}


def rolling(chance):
    dim, by = chance.choice([-1, -2]), _number(chance, 0, 16)

    def wrapper(network, x, t, c, step):
        shift = int(by(step))
        return network(x.roll(shift, dim), t, c).roll(-shift, dim)

    return wrapper


def flipping(chance):
    dims = chance.choice([(-1,), (-2,), (-1, -2)])
    return _sometimes(chance, lambda network, x, t, c: network(x.flip(dims), t, c).flip(dims))


def cropping(chance):
    """Two crops that share some columns, or rows, which are averaged."""
    dim, shared = chance.choice([-1, -2]), _number(chance, 0, 6)

    def wrapper(network, x, t, c, step):
        size = x.shape[dim]
        reach = min(size, size // 2 + int(shared(step)))
        total, count = torch.zeros_like(x), torch.zeros_like(x)
        for start in (0, size - reach):
            total.narrow(dim, start, reach).add_(network(x.narrow(dim, start, reach), t, c))
            count.narrow(dim, start, reach).add_(1)
        return total / count

    return wrapper


def reordering(chance):
    """Halves, one call each, in an order of the step's own."""
    dim, when = chance.choice([-1, -2]), _when(chance)

    def wrapper(network, x, t, c, step):
        parts = x.chunk(2, dim)
        if len(parts) == 1 or not when(step):
            return torch.cat([network(part, t, c) for part in parts], dim)
        return torch.cat([network(part, t, c) for part in parts[::-1]][::-1], dim)

    return wrapper


def _sometimes(chance, change):
    """A wrapper that changes the network's calls in some steps."""
    when = _when(chance)
    return lambda network, x, t, c, step: change(network, x, t, c) if when(step) else network(x, t, c)


def shuffling(chance):
    """The rows of the batch in another order."""

    def shuffled(network, x, t, c):
        order = torch.arange(len(x)).flip(0)
        return network(x[order], t[order], _rows(c, order))[order]

    return _sometimes(chance, shuffled)


def splitting(chance):
    """A call for each row of the batch."""

    def split(network, x, t, c):
        return torch.cat([network(x[i:i + 1], t[i:i + 1], _rows(c, slice(i, i + 1))) for i in range(len(x))])

    return _sometimes(chance, split)


def joining(chance):
    """Halves side by side in one batch."""
    dim, when = chance.choice([-1, -2]), _when(chance)

    def wrapper(network, x, t, c, step):
        parts = x.chunk(2, dim)
        if not when(step) or len(parts) == 1 or parts[0].shape != parts[1].shape:
            return network(x, t, c)
        twice = torch.arange(2 * len(x)) % len(x)
        return torch.cat(network(torch.cat(parts), t[twice], _rows(c, twice)).chunk(2), dim)

    return wrapper


def scaling(chance):
    factor, when = _number(chance, 0.85, 1.15), _when(chance)
    return lambda network, x, t, c, step: network(x * (factor(step) if when(step) else 1), t, c)


def other_levels(chance):
    factor, when = _number(chance, 0.85, 1.15), _when(chance)
    return lambda network, x, t, c, step: network(x, t * (factor(step) if when(step) else 1), c)


def noising(chance):
    amount, seed, fresh, when = chance.uniform(0.001, 0.3), chance.randrange(1000), chance.random() < 0.5, _when(chance)

    def wrapper(network, x, t, c, step):
        generator = torch.Generator().manual_seed(seed + step * fresh)
        noise = torch.randn(x.shape, generator=generator)
        return network(x + amount * noise if when(step) else x, t, c)

    return wrapper


def asking_more(chance):
    """One more call, before or after, whose answer is left or mixed in."""
    share, first, when = chance.choice([0.0, 0.2]), chance.random() < 0.5, _when(chance)
    changes = torch.zeros_like, torch.clone, lambda x: x.flip(-1), lambda x: x.roll(3, -2), lambda x: 0.5 * x
    change = chance.choice(changes)

    def wrapper(network, x, t, c, step):
        if not when(step):
            return network(x, t, c)
        shown = [change(x), x] if first else [x, change(x)]
        made = [network(each, t, c) for each in shown]
        return (1 - share) * made[first] + share * made[not first]

    return wrapper


def _breaking(chance):
    """The call of this number raises, before or after the network."""
    number, before, calls = chance.randrange(20), chance.random() < 0.5, 0

    def wrapper(network, x, t, c, step):
        nonlocal calls
        calls += 1
        if before and calls > number:
            raise Broken
        made = network(x, t, c)
        if calls > number:
            raise Broken
        return made

    return wrapper


WRAPPERS = {
    "roll": rolling, "flip": flipping, "crop": cropping, "reorder": reordering, "shuffle": shuffling,
    "split": splitting, "join": joining, "scale": scaling, "other levels": other_levels, "noise": noising,
    "ask more": asking_more,
}  # fmt: skip
