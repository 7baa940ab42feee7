"""ComfyUI Manager, comfy-cli and comfy-test do with the pack what they do for users, in a copy of ComfyUI."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from setup.host import Host
from setup.server import comfyui

pytestmark = pytest.mark.manager

ROOT = Path(__file__).resolve().parent.parent.parent
PACK = "comfyui-frdiff"
# Manager wants a full address; git takes the bare repository instead.
ADDRESS = f"https://git.invalid/{PACK}.git"
NODES = {path.stem for path in (ROOT / "web" / "docs").glob("*.md")}
NOT_THE_PACK = (".git", ".host", "output", "__pycache__", ".pytest_cache", ".ruff_cache", "node_modules")
NOT_THE_HOST = (".git", ".venv", "venv", "models", "input", "output", "temp", "user", "custom_nodes")
WHAT_RUNS = {
    "CHANGELOG.md", "LICENSE", "README.md", "__init__.py", "frdiff", "locales", "nodes", "pyproject.toml",
    "subgraphs", "web", "workflows",
}  # fmt: skip


@pytest.fixture
def tools():
    """The environment in which both programs run."""
    folder = Host(Path(), Path(sys.executable), Path(), Path(pytest.__file__).parent.parent).manager_tools
    if not folder.is_dir():
        pytest.skip("ComfyUI Manager is not installed. Run python scripts/test.py -m manager.")
    return {**os.environ, "PYTHONPATH": str(folder), "COMFY_NO_TELEMETRY": "1"}


@pytest.fixture
def checkout(tmp_path):
    """A repository of the files as they are."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_THE_PACK))
    git(folder, "init", "--quiet")
    commit(folder, "As it is")
    return folder


def git(folder, *arguments):
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder, what):
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", what)


def ran(environment, folder, *command):
    """What a program wrote, and that it ended well."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def comfy(tmp_path):
    """A copy of ComfyUI, without models and other packs."""
    source = Path(importlib.util.find_spec("folder_paths").origin).parent

    def left_out(folder, names):
        return [name for name in names if name == "__pycache__" or (Path(folder) == source and name in NOT_THE_HOST)]

    shutil.copytree(source, tmp_path / "ComfyUI", ignore=left_out)
    for name in ("models", "custom_nodes"):
        (tmp_path / "ComfyUI" / name).mkdir()
    return tmp_path / "ComfyUI"


@contextmanager
def restarted(comfy):
    """ComfyUI, started again; gives the pack's nodes by id."""
    with comfyui(Host(comfy, Path(sys.executable), comfy, Path(pytest.__file__).parent.parent), True) as client:
        yield {name: node for name, node in client.object_info().items() if name.startswith("FRDiff")}


def test_manager_installs_lists_disables_enables_updates_and_uninstalls(tools, checkout, comfy, tmp_path):
    bare = tmp_path / f"{PACK}.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(checkout), str(bare))
    git(checkout, "remote", "add", "origin", str(bare))
    setting = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{bare}.insteadOf", "GIT_CONFIG_VALUE_0": ADDRESS}
    environment = {**tools, **setting, "COMFYUI_PATH": str(comfy)}

    def manager(*arguments):
        return ran(environment, comfy, "cm_cli", *arguments)

    def listed():
        manager("save-snapshot", "--output", str(tmp_path / "snapshot.json"))
        return json.loads((tmp_path / "snapshot.json").read_text())["git_custom_nodes"]

    assert "[INSTALLED]" in manager("install", ADDRESS)
    with restarted(comfy) as nodes:
        assert set(nodes) == NODES
    assert [(url, entry["disabled"]) for url, entry in listed().items()] == [(ADDRESS, False)]

    assert "[DISABLED]" in manager("disable", PACK)
    with restarted(comfy) as nodes:
        assert not nodes
    assert listed()[ADDRESS]["disabled"]

    assert "[ENABLED]" in manager("enable", PACK)
    with restarted(comfy) as nodes:
        assert set(nodes) == NODES

    analysis = checkout / "nodes" / "analysis.py"
    said = "Shows what an FRDiff sampler computed"
    analysis.write_text(analysis.read_text().replace(said, "Newer: shows what it did"))
    commit(checkout, "Something new")
    git(checkout, "push", "--quiet", "origin", "HEAD")
    assert "UPDATED" in manager("update", PACK)
    with restarted(comfy) as nodes:
        assert nodes["FRDiffReport"]["description"].startswith("Newer: ") and set(nodes) == NODES

    assert "[UNINSTALLED]" in manager("uninstall", PACK)
    with restarted(comfy) as nodes:
        assert not nodes
    assert not listed() and not list(comfy.glob(f"custom_nodes/**/{PACK}"))


def test_the_registry_takes_the_pack(tools, checkout):
    """comfy-cli's checks before publishing, and the archive that it would send."""
    path = os.pathsep.join([tools["PYTHONPATH"] + "/bin", tools["PATH"]])
    environment = {**tools, "HOME": str(checkout.parent), "PATH": path}
    checked = ran(environment, checkout, "comfy_cli", "--skip-prompt", "node", "validate")
    assert "All validation checks passed" in checked
    ran(environment, checkout, "comfy_cli", "--skip-prompt", "node", "pack")
    (archive,) = checkout.glob("*.zip")
    assert archive.stat().st_size < 2_000_000
    with zipfile.ZipFile(archive) as packed:
        names = {name.split("/")[0] for name in packed.namelist()}
    assert names - {".comfyignore"} == WHAT_RUNS


def test_the_page_touches_nothing_that_is_not_its_own(tools, checkout):
    """comfy-test's lint of the page's scripts: no globals, no patches of what is shared, names of its own."""
    ran(tools, checkout, "comfy_test", "lint", "--strict", ".")
