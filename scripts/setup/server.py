"""Start ComfyUI headless and talk to its HTTP API, with the standard library only."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import HOST_DIR, ScriptError
from .host import Host

START_SECONDS = 180
LOG = HOST_DIR / "comfyui.log"
ACCELERATOR = (
    "import torch; "
    "print(torch.cuda.is_available() or torch.backends.mps.is_available() "
    "or (hasattr(torch, 'xpu') and torch.xpu.is_available()))"
)


class ServerError(ScriptError):
    """What ComfyUI refused or failed to do, as a sentence."""


@dataclass(frozen=True)
class Client:
    """The part of ComfyUI's HTTP API that the demo and the tests need."""

    address: str

    def queue(self, prompt: dict[str, Any]) -> str:
        """Queue an API-format graph and return its prompt id."""
        body = json.dumps({"prompt": prompt}).encode()
        return json.loads(self._request("/prompt", body))["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = 600) -> dict[str, Any]:
        """Return the history entry of a prompt once it has ended well."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            entry = self.json(f"/history/{prompt_id}").get(prompt_id)
            if entry is not None and entry.get("status"):
                return _succeeded(entry)
            time.sleep(0.1)
        raise ServerError(f"ComfyUI did not finish a prompt within {seconds:.0f} seconds.")

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """Queue a graph, wait for it and return its history entry."""
        return self.wait(self.queue(prompt))

    def view(self, filename: str, subfolder: str = "", type: str = "output") -> bytes:
        """Return a file that ComfyUI wrote."""
        query = urllib.parse.urlencode({"filename": filename, "subfolder": subfolder, "type": type})
        return self._request(f"/view?{query}")

    def object_info(self) -> dict[str, Any]:
        """Return the description of every node that ComfyUI loaded, by node id."""
        return self.json("/object_info")

    def json(self, path: str) -> dict[str, Any]:
        """Return what a GET request answers."""
        return json.loads(self._request(path))

    def post(self, path: str, body: bytes) -> bytes:
        """Return what a POST request answers."""
        return self._request(path, body)

    def _request(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.address + path, body, {"Content-Type": "application/json"})
        # A proxy that is set for the network must not be asked for this machine's own server.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise ServerError(_refusal(path, error.code, error.read())) from error
        except OSError as error:
            raise ServerError(f"ComfyUI does not answer at {self.address} ({error}). Its log is {LOG}.") from error


def prompt_seconds(entry: dict[str, Any]) -> float:
    """The time between a prompt's start and its end, by ComfyUI's own clock."""
    times = {name: data["timestamp"] for name, data in entry["status"]["messages"]}
    return (times["execution_success"] - times["execution_start"]) / 1000


def uses_cpu(host: Host, device: str) -> bool:
    """Whether ComfyUI has to run on the CPU for the `device` that was asked for: auto, cpu or cuda."""
    if device == "cpu":
        return True
    found = subprocess.run(host.command("-c", ACCELERATOR), env=host.environment(), capture_output=True, text=True)
    if found.returncode != 0:
        last = found.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise ScriptError(f"torch does not start in {host.python}: {last[0]}")
    available = found.stdout.strip().endswith("True")
    if device == "cuda" and not available:
        raise ScriptError("torch finds no GPU here. Use --device auto or --device cpu.")
    return not available


@contextmanager
def comfyui(host: Host, cpu: bool, *options: str) -> Iterator[Client]:
    """Run ComfyUI on a free port, with further command line options, and stop it at the end."""
    port = _free_port()
    client = Client(f"http://127.0.0.1:{port}")
    with LOG.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*_command(host, port, cpu), *options],
            cwd=host.comfyui,
            env={**host.environment(), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_ready(process, client)
        yield client
    finally:
        _stop(process)


def _command(host: Host, port: int, cpu: bool) -> list[str]:
    arguments = [str(host.comfyui / "main.py"), "--base-directory", str(host.base), "--listen", "127.0.0.1"]
    arguments += ["--port", str(port), "--disable-auto-launch"]
    return host.command(*arguments, *(["--cpu"] if cpu else []))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_ready(process: subprocess.Popen, client: Client) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ScriptError(f"ComfyUI ended while it was starting (exit code {process.returncode}).{_log_tail(LOG)}")
        try:
            client.json("/system_stats")
            return
        except ServerError:
            time.sleep(0.2)
    raise ScriptError(f"ComfyUI did not answer within {START_SECONDS} seconds.{_log_tail(LOG)}")


def _stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _log_tail(log: Path, lines: int = 12) -> str:
    last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return os.linesep.join([f" The last lines of {log}:", *last])


def _succeeded(entry: dict[str, Any]) -> dict[str, Any]:
    for name, data in entry["status"]["messages"]:
        if name == "execution_error":
            node = f"{data.get('node_type')} (node {data.get('node_id')})"
            raise ServerError(f"{node} failed: {str(data.get('exception_message')).strip()} The log is {LOG}.")
        if name == "execution_interrupted":
            raise ServerError("The prompt was interrupted.")
    return entry


def _refusal(path: str, code: int, body: bytes) -> str:
    try:
        answer = json.loads(body)
        reasons = _reasons(answer)
    except (ValueError, AttributeError, KeyError, TypeError):
        reasons = []
    return f"ComfyUI refused {path.split('?')[0]} (HTTP {code}): {'; '.join(reasons) or 'no reason given'}."


def _reasons(answer: dict[str, Any]) -> list[str]:
    error = answer.get("error") or {}
    reasons = [error if isinstance(error, str) else _joined(error)]
    for node_id, node in (answer.get("node_errors") or {}).items():
        reasons += [f"{node['class_type']} (node {node_id}): {_joined(one)}" for one in node["errors"]]
    return [reason for reason in reasons if reason]


def _joined(error: dict[str, Any]) -> str:
    parts = (error.get("message", ""), error.get("details", ""))
    return ": ".join(part.strip().rstrip(".") for part in parts if part)
