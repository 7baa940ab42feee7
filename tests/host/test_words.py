"""Nothing that people read is missing: tooltips, help pages, translations, shared workflows."""

import json
import re
import warnings
from pathlib import Path

import pytest

from docs import icon, locales, marks, memory, module_map, usual
from setup import ROOT

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
# Nodes that load files which a workflow's reader may not have.
LOADERS = {"CheckpointLoaderSimple", "UNETLoader", "CLIPLoader", "VAELoader"}
VIRTUAL = {"MarkdownNote", "Note"}
# Nodes that the host loads from files of its own; the tests load only its main file.
EXTRA = {
    "BasicGuider", "BasicScheduler", "CreateVideo", "EmptyHunyuanLatentVideo", "EmptySD3LatentImage", "FluxGuidance",
    "KSamplerSelect", "ModelSamplingSD3", "RandomNoise", "SamplerCustomAdvanced", "SaveVideo",
}  # fmt: skip


@pytest.fixture
def nodes(host):
    return locales.pack_nodes(host)


def test_every_input_and_output_has_a_tooltip(nodes):
    for name, node in nodes.items():
        schema = node.define_schema()
        assert schema.description.endswith("."), name
        for part in [*schema.inputs, *schema.outputs]:
            assert part.tooltip and part.tooltip.endswith("."), f"{name}: {getattr(part, 'id', part.display_name)}"


def test_the_source_says_the_id_of_every_node(nodes):
    """ComfyUI Manager reads it there, without importing it."""
    source = "".join(path.read_text(encoding="ascii") for path in (ROOT / "nodes").glob("*.py"))
    classes = re.findall(r"^class (\w+)\(io\.ComfyNode\):", source, re.M)
    assert sorted(classes) == sorted(re.findall(r'node_id="(\w+)"', source)) == sorted(nodes)


def test_every_node_has_a_help_page_and_a_row_in_the_readme(nodes):
    rows = re.findall(r"^\| `(FRDiff\w+)` \|", (ROOT / "README.md").read_text(encoding="ascii"), re.M)
    assert sorted(rows) == sorted(nodes) == sorted(path.stem for path in (ROOT / "web" / "docs").glob("*.md"))
    for name, node in nodes.items():
        page = (ROOT / "web" / "docs" / f"{name}.md").read_text(encoding="ascii")
        assert page.startswith(f"# {node.define_schema().display_name}\n")
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", "".join(p.read_text() for p in ROOT.glob("web/docs/*.md"))):
        assert (ROOT / "web" / "docs" / Path(picture).name).is_file()


def test_the_locales_are_made_from_the_nodes(nodes):
    texts = {name: locales.texts_of(node) for name, node in nodes.items()}
    assert {language: locales.unused(texts, language) for language in locales.LANGUAGES} == {
        language: [] for language in locales.LANGUAGES
    }
    # Without a translation a text is shown in English.
    for language in locales.LANGUAGES:
        for text in locales.missing(texts, language):
            warnings.warn(f"{language} has no translation of {text!r}.", stacklevel=1)
    made = locales.files(texts)
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, f"Run python scripts/make.py locales: {path} is out of date."
    assert {path.parent.name for path in made} == {path.name for path in (ROOT / "locales").iterdir()}


def test_a_text_without_a_translation_is_english():
    node = {"FRDiffNew": {"display_name": "A name that nobody translated", "inputs": {}, "outputs": {}}}
    assert "A name that nobody translated" in locales.missing(node, "de")
    made = {path.parent.name: text for path, text in locales.files(node).items() if path.name == "nodeDefs.json"}
    assert all("A name that nobody translated" in text for text in made.values())


def test_the_map_of_the_modules_is_what_they_say():
    assert module_map.PAGE.read_text(encoding="ascii") == module_map.page(), "Run python scripts/make.py map."


def test_translations_keep_their_values():
    for language in locales.LANGUAGES:
        for english, other in locales.translations(language).items():
            assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", other)), (language, english)
            assert other.strip() == other != ""


def test_the_step_map_knows_the_words_that_are_translated():
    source = (ROOT / "web" / "js" / "words.js").read_text(encoding="ascii")
    words = dict(re.findall(r'^  (\w+): "(.*)",?$', source, re.M))
    assert words == locales.step_words()
    code = "".join(path.read_text() for path in (ROOT / "web" / "js").glob("*.js") if path.name != "words.js")
    assert set(re.findall(r'say\("(\w+)"', code)) <= set(words)
    # Some words are chosen by a value.
    assert all(f'"{word}"' in code or f"  {word}:" in code for word in words)


def test_a_blueprint_has_no_workflows_name():
    """The frontend would open the workflow of its name as a blueprint, which cannot be saved."""
    assert not {path.stem for path in (ROOT / "subgraphs").glob("*.json")} & {path.stem for path in WORKFLOWS}


def test_every_node_is_in_a_workflow(nodes):
    used = {node["type"] for path in WORKFLOWS for node in json.loads(path.read_text())["nodes"]}
    assert set(nodes) <= used


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_names_what_it_needs(path, host):
    workflow = json.loads(path.read_text())
    assert path.with_suffix(".jpg").is_file()
    assert any(node["type"] == "MarkdownNote" for node in workflow["nodes"])
    for node in workflow["nodes"]:
        assert node["type"] in host.NODE_CLASS_MAPPINGS or node["type"] in VIRTUAL or node["type"] in EXTRA
        if node["type"] in LOADERS:
            (model,) = node["properties"]["models"]
            assert model["name"] in node["widgets_values"] and model["url"].startswith("https://huggingface.co/")
            assert model["url"].endswith("/" + model["name"]) and model["directory"]


def test_every_reason_is_explained(engine):
    """Sentences that a report can give are in the troubleshooting, at least their telling part."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="ascii")
    quoted = [part.replace("...", "{}") for part in re.findall(r"^\| `([^`]+)`", page, re.M)]
    patterns = [re.compile(".*".join(map(re.escape, part.split("{}")))) for part in quoted]
    reasons = engine("reasons").REASONS
    assert len(reasons) >= 25
    plain = {code: re.sub(r"\{[^}]*\}", "{}", reason.sentence) for code, reason in reasons.items()}
    assert [code for code, sentence in plain.items() if not any(pattern.search(sentence) for pattern in patterns)] == []


def test_reasons_have_codes_of_their_own(engine):
    table = vars(engine("reasons"))
    reasons = [each for each in table.values() if isinstance(each, table["Reason"])]
    assert len({reason.code for reason in reasons}) == len({reason.sentence for reason in reasons}) == len(reasons)
    assert all(re.fullmatch(r"[a-z][a-z-]+", reason.code) and reason.sentence[-1] in ".}" for reason in reasons)


def test_the_package_has_what_runs_and_nothing_else():
    patterns = (ROOT / ".comfyignore").read_text(encoding="ascii").split()
    # A name without a slash would leave out folders of this name anywhere, the help pages in web/docs among them.
    assert all(pattern.startswith("/") for pattern in patterns)
    tracked = {path.name for path in ROOT.iterdir() if path.name != ".git"}
    packed = {name for name in tracked if f"/{name}" not in patterns and not name.endswith("_cache")}
    assert packed >= {"__init__.py", "frdiff", "locales", "nodes", "subgraphs", "web", "workflows"}
    assert not packed & {"docs", "schedules", "scripts", "tests"}


def test_what_is_said_of_the_benchmark_is_what_it_says():
    for path, text in usual.files().items():
        assert path.read_text(encoding="ascii") == text, "Run python scripts/make.py usual."


def test_the_chart_has_every_row_of_the_benchmark():
    page = usual.SOURCE.read_text(encoding="ascii")
    table = page[page.index("## The settings that people use") : page.index("### At other dials")]
    settings = re.findall(r"^\| (?:unet|dit|rough) .* cfg ", table, re.M)
    assert len(usual.rows(page)) == len(settings) > 20


def test_the_memory_in_the_readme_is_what_runs_keep(host):
    from docs.memory_runs import SIZES, counted

    told = marks.part(memory.PAGE.read_text(encoding="ascii"), memory.MARK).splitlines()
    assert told[:2] == memory.HEAD.splitlines() and len(told) == 2 + len(SIZES)
    # The larger ones take long, and are counted alike.
    for size, line in zip(SIZES[:4], told[2:], strict=False):
        assert line == memory.line(host, size, counted)


def test_the_readme_calls_models_supported_that_are_tested():
    readme, models = ((ROOT / name).read_text(encoding="ascii") for name in ("README.md", "docs/models.md"))
    named = re.search(r"\*\*Yes\*\*: (.*?)\n\n", readme, re.S).group(1).replace("\n", " ")
    tested = " ".join(re.findall(r"^\| ([^|]+) \| \w+ \| \w+ \| [\d.]+ \| identical", models, re.M))
    for name in re.split(r"[,;] ", named.rstrip(".")):
        assert name in tested, name


def test_the_icon_and_the_banner_are_what_the_script_draws():
    for path, text in icon.files().items():
        assert path.read_text(encoding="ascii") == text
