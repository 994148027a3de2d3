"""Packages of npm: installed into the folder that names them in its package.json, once, in just these versions."""

import fcntl
import json
import os
import subprocess
from pathlib import Path

from tests.harness import ROOT

CLIENT = ROOT / "clients" / "js"
INSTALL = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]


def install(folder: Path) -> Path:
    """Install the packages of a folder; returns the folder that they are in.

    Raises:
        AssertionError: npm failed.
    """
    modules, package = folder / "node_modules", folder / "package.json"
    named = json.loads(package.read_text("utf-8"))
    wanted: dict[str, str] = named.get("dependencies", {}) | named.get("devDependencies", {})
    with package.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests in parallel share the folder
        if not all(_version(modules / name) == version for name, version in wanted.items()):
            done = subprocess.run(INSTALL, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr
    return modules


def _version(package: Path) -> str | None:
    description = package / "package.json"
    return str(json.loads(description.read_text("utf-8"))["version"]) if description.exists() else None


def run_node(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = ["node", *arguments]
    return subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=120, check=False)
