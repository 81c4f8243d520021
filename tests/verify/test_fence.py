"""Behind the fence nothing can be read, written, sent, started or run; what was refused is remembered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mixray.verify.pool import Child

ATTEMPTS = {
    "write": "open('canary', 'w')",
    "append": "open('canary', 'a')",
    "read_and_write": "open('/etc/hostname', 'r+')",
    "make": "os.open('canary', os.O_CREAT | os.O_RDONLY)",
    "make_folder": "os.mkdir('canary')",
    "link": "os.symlink('/etc/passwd', 'canary')",
    "remove": "os.remove('keep')",
    "rename": "os.rename('keep', 'canary')",
    "read": "open('/etc/passwd').read()",
    "read_own_memory": "open('/proc/self/mem', 'rb')",
    "list": "os.listdir('/etc')",
    "connect": "socket.socket().connect(('127.0.0.1', 9))",
    "listen": "socket.create_server(('127.0.0.1', 0))",
    "look_up": "socket.getaddrinfo('localhost', 80)",
    "run": "subprocess.run(['touch', 'canary'])",
    "system": "os.system('touch canary')",
    "fork": "os.fork()",
    "exec_process": "os.execv('/bin/sh', ['sh', '-c', 'touch canary'])",
    "spawn": "os.posix_spawn('/bin/touch', ['touch', 'canary'], {})",
    "kill": "os.kill(os.getppid(), 0)",
    "load_library": "ctypes.CDLL('libm.so.6')",
    "call_library": "ctypes.CDLL(None).system(b'touch canary')",
    "peek": "ctypes.string_at(id(5), 1)",
    "compile": "compile('1+1', '<text>', 'eval')",
    "eval": "eval('1+1')",
    "exec": "exec('x = 1')",
    "pose_as_installed": "exec(compile('1+1', os.__file__ + 'x', 'eval'))",
    "unpickle": "pickle.loads(b'cos\\nsystem\\n(S\"touch canary\"\\ntR.')",
    "write_bytecode": "py_compile.compile('keep', 'canary', doraise=True)",
}
NOT_THERE = {"much_memory": "bytearray(3 << 30)", "module_in_cwd": "sys.path.insert(0, ''); import_module('planted')"}
ALLOWED = {"arithmetic": "3**1000", "late_import": "import_module('sympy.series.limits')", "sieve": "list(sympy.primerange(10, 20_000))"}

PROGRAM = """
import ctypes, json, os, pickle, py_compile, socket, subprocess, sys
from importlib import import_module
import sympy
from mixray.verify import fence
attempts = json.loads(sys.stdin.read())
works = {name: compile(source, fence.__file__, "exec") for name, source in attempts.items()}
fence.put_up(2 << 30)
for name, work in works.items():
    fence.refused.clear()
    try:
        exec(work, globals())
        ended = "done"
    except BaseException as error:
        ended = type(error).__name__
    sys.stdout.write(json.dumps([name, ended, fence.refused]) + "\\n")
    sys.stdout.flush()
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, list[str]]]:
    """How each attempt ended in a process behind the fence, and which events were refused."""
    folder = tmp_path_factory.mktemp("cwd")
    (folder / "keep").write_text("x = 1\n")
    (folder / "planted.py").write_text("open('canary', 'w')\n")
    told = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM],
        input=json.dumps(ATTEMPTS | NOT_THERE | ALLOWED),
        cwd=folder,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert sorted(path.name for path in folder.iterdir()) == ["keep", "planted.py"]
    return {name: (ended, refused) for name, ended, refused in map(json.loads, told.splitlines())}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_it_is_refused_and_remembered(seen: dict[str, tuple[str, list[str]]], name: str) -> None:
    ended, refused = seen[name]
    assert ended != "done", ATTEMPTS[name]
    assert refused, ATTEMPTS[name]


@pytest.mark.parametrize(("name", "error"), [("much_memory", "MemoryError"), ("module_in_cwd", "ModuleNotFoundError")])
def test_memory_ends_where_it_is_said_to_and_modules_outside_the_installation_are_not_there(
    seen: dict[str, tuple[str, list[str]]], name: str, error: str
) -> None:
    assert seen[name][0] == error


@pytest.mark.parametrize("name", ALLOWED)
def test_what_algebra_needs_is_allowed(seen: dict[str, tuple[str, list[str]]], name: str) -> None:
    assert seen[name] == ("done", [])


def test_a_child_imports_nothing_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sympy.py").write_text("open('canary', 'w')\n")
    (tmp_path / "json.py").write_text("open('canary', 'w')\n")
    monkeypatch.chdir(tmp_path)
    child = Child()
    assert child.ask("x+1", "1+x", seconds=30).verdict == "right"
    child.kill()
    assert not (tmp_path / "canary").exists()


def test_neither_keeper_nor_worker_sees_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXRAY_API_KEY", "secret")
    child = Child()
    child.ask("x+1", "1+x", seconds=30)
    keeper = psutil.Process(child.process.pid)
    environments = [process.environ() for process in (keeper, *keeper.children())]
    assert len(environments) == 2
    assert all(set(environment) == {"PYTHONPATH", "PYTHONHASHSEED"} for environment in environments)
    child.kill()
