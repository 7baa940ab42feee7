"""Every diffusion class of the host, as tiny random networks in its own model classes and samplers."""

import inspect
import re
import sys
from operator import attrgetter
from pathlib import Path
from unittest import mock

import pytest
import torch
from subjects import watching
from tiny_host import STEPS, Counting, flat, full_and_partial, load, schedule
from tiny_models import MODELS
from tiny_titles import TITLES

TABLE = Path(__file__).resolve().parent.parent.parent / "docs" / "models.md"
COLUMNS = ["model", "name here", "network", "ComfyUI", "off", "skip", "computed once", "blocks", "partial", "repeated"]
COLUMNS += ["finer", "finer partial", "finer repeated"]
# They look at pictures; and one is refused for its state (test_stateful).
NO_DIFFUSION = {"RTv4", "DepthAnything3Net", "SAM3Model", "CausalWanModel"}
INTRODUCTION = """# Models

Every diffusion network class of ComfyUI, as a tiny network with random weights, in the version that the table names.
`python scripts/test.py --write-tables tests/host/test_models.py` runs the tests behind this table and writes the rows
of the networks that its ComfyUI has; the others stay. Only the causal Wan of ComfyUI 0.33 has no row: it keeps a state
that each call moves on, and is computed with a reason.

- off: with every step computed, and with every stage remembered and none reused, the latent is identical to plain.
- skip: the paper's schedule for M=2 skips steps, and the network was called as often as the report counts.
- computed once: pieces that do not depend on the timestep, computed once for each prompt with the same result.
- blocks, finer: how many stages a network of this size has, as whole blocks and as branches before their gates.
- partial: a partial step computes none of the stages.
- repeated: a repeated call gives the same output from memory.

"""


@pytest.fixture(scope="module", params=MODELS)
def tiny(host, request):
    """Each of the tiny models; those that this version of the host has not are skipped by name."""
    return load(host, request.param)


@pytest.fixture(scope="module")
def tell(request):
    """Notes a result for the table, which is written when the module's tests are done."""
    rows = {}
    yield lambda name, **results: rows.setdefault(name, {}).update(results)
    if request.config.getoption("--write-tables"):
        from comfyui_version import __version__

        lines = {line.split(" | ")[1]: line for line in TABLE.read_text().splitlines() if " | " in line}
        for name, results in rows.items():
            results |= {"model": TITLES[name], "name here": name, "ComfyUI": __version__}
            lines[name] = f"| {' | '.join(str(results.get(column, '-')) for column in COLUMNS)} |"
        head = [f"| {' | '.join(COLUMNS)} |", f"| {' | '.join(['---'] * len(COLUMNS))} |"]
        table = [*head, *(lines[name] for name in TITLES if name in lines)]
        TABLE.write_text(INTRODUCTION + "\n".join(table) + "\n", encoding="ascii")


def worker(stage):
    """The module, or its method, whose own computation is saved when the stage is reused."""
    return getattr(stage.strategy, "child", None) or getattr(stage.strategy, "base", None) or stage.place


def attributes(network):
    """What every module has of its own, in order."""
    return [(n, key, value) for n, module in network.named_modules() for key, value in module.__dict__.items()]


def is_same(entry, other):
    """Numbers by value, everything else by identity."""
    value = entry[2]
    return entry[:2] == other[:2] and (value is other[2] or (isinstance(value, (int, float)) and value == other[2]))


def test_off_and_remembering_are_bit_identical(tiny, host, tell):
    plain = flat(tiny.sample())
    assert torch.isfinite(plain).all()
    off = host.NODE_CLASS_MAPPINGS["FRDiffModelPatcher"].execute(tiny.model, 1.0).result[0]
    assert "wrappers" not in off.model_options["transformer_options"]
    assert torch.equal(flat(tiny.sample(schedule(host, interval=1))), plain)
    for finer in (False, True):
        latent, report = tiny.frdiff(watching(host, finer))
        assert torch.equal(flat(latent), plain)
        assert report.counts["full"] == STEPS and report.stages > 0
    tell(tiny.name, network=type(tiny.network).__name__, off="identical")


def test_paper_schedule_counts_what_ran_and_leaves_nothing_behind(tiny, host, tell):
    tiny.sample(steps=1)
    older = attributes(tiny.network)
    tiny.sample(steps=1)
    before = attributes(tiny.network)
    with Counting([tiny.network]) as counting:
        latent, report = tiny.frdiff(schedule(host, "paper M=2"))
    after = attributes(tiny.network)
    assert [entry[:2] for entry in after] == [entry[:2] for entry in before]
    # Some networks set an attribute anew in every call, with FRDiff or without.
    lasting = [(b, a) for o, b, a in zip(older, before, after, strict=True) if is_same(o, b)]
    assert len(before) - len(lasting) <= 3 and all(is_same(b, a) for b, a in lasting)
    assert torch.isfinite(flat(latent)).all()
    assert report.counts == {"full": 3, "partial": 2, "skip": 1}
    calls = sum(record.calls for record in report.records)
    assert counting.counts == [calls]
    assert calls % (STEPS - 1) == 0
    tell(tiny.name, skip="counted")


def test_every_branch_of_a_row_is_in_a_block(tiny, engine):
    families = engine("blocks.families")
    for name in {families.class_name(type(module)) for module in tiny.network.modules()} & set(families.FAMILIES):
        blocks = [module for module in tiny.network.modules() if families.class_name(type(module)) == name]
        for path in families.FAMILIES[name].branches:
            assert any(list(families.matching(block, (path,))) for block in blocks), (name, path)


@pytest.mark.parametrize("finer", [False, True], ids=["blocks", "finer"])
def test_partial_steps_compute_no_stage(tiny, host, engine, tell, finer):
    stages = engine("blocks.stages").find_stages(tiny.network, branches=finer)
    constants = engine("blocks.families").invariants_of(tiny.network)
    workers = [worker(stage) for stage in stages]
    with Counting(workers) as counting:
        plain = tiny.sample(steps=4)
        expected = [count // 2 for count in counting.counts]
        counting.counts = [0] * len(workers)
        latent, report = tiny.frdiff(schedule(host, branches=finer), steps=4)
    assert report.counts == {"full": 2, "partial": 2, "skip": 0}
    assert counting.counts == expected and sum(expected) > 0
    assert report.stages == len(stages) and report.bytes_kept > 0
    assert torch.isfinite(flat(latent)).all() and not torch.equal(flat(latent), flat(plain))
    tell(tiny.name, **{"finer partial" if finer else "partial": "none", "finer" if finer else "blocks": len(stages)})
    tell(tiny.name, **{"computed once": ", ".join(sorted({path.partition(".")[0] for path in constants})) or "-"})


@pytest.mark.parametrize("finer", [False, True], ids=["blocks", "finer"])
def test_a_repeated_call_gives_the_same_from_memory(tiny, host, engine, tell, finer):
    """Residuals and values added to the inputs that they came from; wrongly paired they would give another output."""
    first, second = full_and_partial(engine, tiny, schedule(host, branches=finer))
    first, second = flat(first), flat(second)
    torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-4 * float(first.std()))
    tell(tiny.name, **{"finer repeated" if finer else "repeated": "same"})


@pytest.mark.parametrize("name",
    ["lumina2", "zimage", "omnigen2", "ace_step", "sd3", "wan21", "wan_vace", "wan_dancer", "krea2", "triposplat",
     "boogu", "ace_step15", "pid", "zimage_pixel"],
)  # fmt: skip
def test_what_does_not_depend_on_the_timestep_is_computed_once(host, engine, name):
    tiny = load(host, name)
    pieces = engine("blocks.families").invariants_of(tiny.network)
    # No picture is given.
    pieces.pop("img_emb", None)
    assert pieces
    with Counting(pieces.values()) as counting:
        plain = flat(tiny.sample())
        assert set(counting.counts) == {STEPS}
        counting.counts = [0] * len(pieces)
        assert torch.equal(flat(tiny.sample(schedule(host, interval=1))), plain)
        assert set(counting.counts) == {1}
        tiny.frdiff(schedule(host, "paper M=2"))
        assert set(counting.counts) == {2}


def test_watching_one_call_agrees_with_the_table(tiny, host, engine):
    """Every row of the table that a call shows is seen the same way by the probe, which knows no class."""
    table = engine("blocks.families").FAMILIES
    probe = engine("blocks.discovery").Probe(tiny.network)
    with engine("forward_patch").swapped(probe.forwards()):
        tiny.sample(steps=1)
    for name, seen in probe.families().items():
        if name not in table:
            continue
        assert len(seen.inputs) == len(table[name].inputs)
        for (position, keyword), (known_position, known_keyword) in zip(seen.inputs, table[name].inputs, strict=True):
            assert keyword == known_keyword or (not keyword and position == known_position)
        assert seen.mutates or not table[name].mutates


def test_without_a_row_it_still_runs_and_says_why(tiny, host, engine):
    with mock.patch.dict(engine("blocks.families").FAMILIES, clear=True):
        latent, report = tiny.frdiff(schedule(host, "paper M=2"))
        assert torch.equal(flat(tiny.sample(schedule(host, interval=1))), flat(tiny.sample()))
    assert torch.isfinite(flat(latent)).all()
    assert report.counts["skip"] == 1 and report.reasons
    assert (report.counts["partial"] == 2) == (report.stages > 0)


def test_every_network_of_the_host_is_among_them(host):
    assert set(TITLES) == set(MODELS)
    import comfy.model_base

    classes = [cls for cls in vars(comfy.model_base).values() if isinstance(cls, type)]
    found = {network_of(cls) for cls in classes if issubclass(cls, comfy.model_base.BaseModel)}
    bases = [getattr(comfy.model_base, tiny.base, None) for tiny in MODELS.values()]
    missing = found - {network_of(cls) for cls in bases if cls}
    assert len(found) > 20 and {network.__name__ for network in missing} <= NO_DIFFUSION


def network_of(model):
    """The network class that a model class of the host names: the last one in its own source, or its parent's."""
    for cls in model.__mro__:
        named = re.findall(r"unet_model=(?!unet_model)([\w.]+)", inspect.getsource(cls))
        if named:
            return attrgetter(named[-1])(sys.modules[cls.__module__])
    raise AssertionError(model)
