"""The code for apps of docs/guides/en/app-code.md: Kotlin and React Native run against a sandbox that challenges each start; Swift and Dart name what the
OpenAPI document names. The steps of the challenge are run as docs/challenges.md has them."""

import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.challenges.altcha import Altcha
from app.main import create_app
from app.settings import load_settings
from tests.consumers.page import GUIDES, marked
from tests.consumers.sandbox import Sandbox, as_served, sandboxed
from tests.harness import ROOT, fresh_phone, wrong
from tests.npm import CLIENT, install

SHOWN = marked(GUIDES / "en" / "app-code.md")
HERE = ROOT / "tests" / "consumers"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandboxed(tmp_path_factory.mktemp("sandbox"), CHALLENGE="always") as running:
        yield running


def run(*command: object, cwd: Path) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


# ---- the challenge, step by step


@pytest.mark.parametrize("level", [0, 1])
async def test_the_steps_in_words_solve_a_challenge(level: int) -> None:
    steps: dict[str, Any] = {}
    exec(marked(ROOT / "docs" / "challenges.md")["challenge-steps"], steps)
    altcha = Altcha(b"k" * 32)
    solved = await altcha.verify(steps["solve"](altcha.challenge("app", level)), "app", None)
    assert solved is not None
    assert solved.level == level


# ---- what a sample names is what the service names


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(load_settings(dotenv=None)).openapi()


@pytest.mark.parametrize("sample", ["app-kotlin", "app-swift", "app-dart"])
def test_a_sample_sends_and_reads_what_the_document_names(sample: str, document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    requests = {*schemas["StartRequest"]["properties"], *schemas["CheckRequest"]["properties"]}
    problems = {*schemas["Problem"]["properties"], *schemas["ProblemCode"]["enum"]}
    challenges = {*schemas["Challenge"]["properties"], *schemas["ChallengeParameters"]["properties"]}
    solution = {"solution", "counter", "derivedKey"}
    named = set(re.findall(r"""["']([a-z][A-Za-z_]+)["']""", SHOWN[sample]))
    assert named <= requests | problems | challenges | solution | {"login"}
    assert named >= {"phone", "purpose", "device", "id", "code", "challenge", "challenge_required"} | solution
    assert named >= {"parameters", "nonce", "salt", "cost", "keyPrefix"}
    assert {f"/{path}" for path in re.findall(r"verify/\w+", SHOWN[sample])} == {"/verify/start", "/verify/check"}
    assert {"/verify/start", "/verify/check"} <= set(document["paths"])
    assert all(header in SHOWN[sample] for header in ("Authorization", "Bearer", "Idempotency-Key", "Content-Type"))


# ---- Kotlin

ANDROID_JSON = Path("/usr/share/java/com.android.json.jar")
"""org.json, as Android has it: Debian's libandroid-json-java."""


@pytest.mark.kotlin
def test_kotlin(sandbox: Sandbox, tmp_path: Path) -> None:
    library = install(HERE / "kotlin") / "kotlin-compiler" / "lib"
    (tmp_path / "Verify.kt").write_text(SHOWN["app-kotlin"], "utf-8")
    preloader = ["java", "-cp", library / "kotlin-preloader.jar", "org.jetbrains.kotlin.preloading.Preloader"]
    compiler = ["-cp", library / "kotlin-compiler.jar", "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"]
    sources = ["Verify.kt", HERE / "kotlin" / "Main.kt"]
    run(*preloader, *compiler, "-no-reflect", "-cp", ANDROID_JSON, "-d", "out", *sources, cwd=tmp_path)
    path = f"out:{library / 'kotlin-stdlib.jar'}:{ANDROID_JSON}"

    def ask(*arguments: str) -> str:
        return run("java", "-cp", path, "MainKt", sandbox.url, sandbox.public_key, *arguments, cwd=tmp_path)

    phone, action = fresh_phone(), str(uuid.uuid4())
    verification = ask("start", phone, action)
    assert ask("start", phone, action) == verification
    assert len(sandbox.calls(phone)) == 1
    assert ask("start", "12", str(uuid.uuid4())) == "This is not a phone number"
    assert ask("check", verification, wrong(sandbox.code(phone))) == "The code is wrong"
    assert ask("check", verification, sandbox.code(phone)) == phone


# ---- React Native

NATIVE = ["node", str(HERE / "node" / "react_native.mjs"), "bundle.js"]


@pytest.mark.node
def test_react_native(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "app.js").write_text(as_served(SHOWN["app-react-native"], sandbox), "utf-8")
    run("bash", "-euc", as_served(SHOWN["app-react-native-file"], sandbox), cwd=tmp_path)
    esbuild = install(CLIENT) / "esbuild" / "bin" / "esbuild"
    external = ("--external:react-native-*", "--external:@react-native-async-storage/*")
    run(
        esbuild,
        "app.js",
        "--bundle",
        "--format=cjs",
        *external,
        "--outfile=bundle.js",
        "--log-level=warning",
        cwd=tmp_path,
    )
    phone = fresh_phone()
    with subprocess.Popen(NATIVE, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdin
        assert app.stdout
        told, answers = app.stdin, app.stdout

        def ask(*call: str) -> dict[str, Any]:
            told.write(json.dumps(call) + "\n")
            told.flush()
            state: dict[str, Any] = json.loads(answers.readline())
            assert state["touched"] == []
            return state

        try:
            assert ask("start", phone)["step"] == "code"
            assert len(sandbox.calls(phone)) == 1
            assert ask("check", wrong(sandbox.code(phone)))["problem"] == "code_incorrect"
            approved = ask("check", sandbox.code(phone))
        finally:
            told.close()
    assert (approved["step"], approved["phone"]) == ("approved", phone)
    assert approved["kept"] >= 1, "the device token is kept in AsyncStorage"


@pytest.mark.node
def test_a_bundle_that_touches_a_browsers_globals_is_seen(tmp_path: Path) -> None:
    bundle = "exports.verification = { start: async () => void document, dispose() {}, state: {} }"
    (tmp_path / "bundle.js").write_text(bundle, "utf-8")
    done = subprocess.run(
        NATIVE, cwd=tmp_path, input='["start"]\n', capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout)["touched"] == ["document"]
