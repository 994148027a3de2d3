"""The tools of clients/js: installed by npm into its own folder, once, in the versions that its package.json names."""

import json
import os
import subprocess
from pathlib import Path

from tests.harness import ROOT

CLIENT = ROOT / "clients" / "js"
INSTALL = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]


def install_tools() -> Path:
    """The folder of the installed packages.

    Raises:
        AssertionError: npm failed.
    """
    modules = CLIENT / "node_modules"
    wanted: dict[str, str] = json.loads((CLIENT / "package.json").read_text("utf-8"))["devDependencies"]
    if not all(_version(modules / name) == version for name, version in wanted.items()):
        done = subprocess.run(INSTALL, cwd=CLIENT, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    return modules


def _version(package: Path) -> str | None:
    description = package / "package.json"
    return str(json.loads(description.read_text("utf-8"))["version"]) if description.exists() else None


def run_node(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = ["node", *arguments]
    return subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=120, check=False)
