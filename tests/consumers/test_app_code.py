"""Code for apps and for pages that draw by themselves, against a sandbox that challenges each start: docs/guides/en/app-code.md, docs/clients.md and
docs/challenges.md. Kotlin and React Native run; Swift and Dart name what the OpenAPI document names."""

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
from tests.consumers.page import GUIDES, Sandbox, as_served, marked, run, sandboxed, shell, snippet
from tests.harness import ROOT, fresh_phone, wrong
from tests.npm import CLIENT, install

SHOWN = marked(GUIDES / "en" / "app-code.md")
CHALLENGES = ROOT / "docs" / "challenges.md"
HERE = ROOT / "tests" / "consumers"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandboxed(tmp_path_factory.mktemp("sandbox"), CHALLENGE="always") as running:
        yield running


# ---- challenges


async def proves(level: int, altcha: Altcha, solution: str) -> bool:
    solved = await altcha.verify(solution, "web", None)
    return solved is not None and solved.level == level


@pytest.mark.parametrize("level", [0, 1])
async def test_the_steps_in_words_solve_a_challenge(level: int) -> None:
    steps: dict[str, Any] = {}
    exec(marked(CHALLENGES)["challenge-steps"], steps)
    altcha = Altcha(b"k" * 32)
    assert await proves(level, altcha, steps["solve"](altcha.challenge("web", level)))


def run_module(code: str, modules: Path, directory: Path, *arguments: str) -> str:
    (directory / "page.mjs").write_text(code, "utf-8")
    (directory / "node_modules").symlink_to(modules)
    return run("node", "page.mjs", *arguments, cwd=directory)


@pytest.mark.node
@pytest.mark.parametrize("level", [0, 2])
async def test_altchas_own_library_solves_a_challenge(level: int, modules: Path, tmp_path: Path) -> None:
    altcha = Altcha(b"k" * 32)
    code = snippet("ALTCHA in a page", CHALLENGES) + "console.log(await solve(JSON.parse(process.argv[2])))"
    solution = run_module(code, modules, tmp_path, json.dumps(altcha.challenge("web", level)))
    assert await proves(level, altcha, solution)


@pytest.mark.node
def test_a_page_solves_the_challenge_of_its_start(sandbox: Sandbox, modules: Path, tmp_path: Path) -> None:
    phone = fresh_phone()
    ask = """
const [url, key, phone] = process.argv.slice(2)
const answer = await start(url, key, { phone })
console.log(JSON.stringify({ status: answer.status, body: await answer.json() }))
"""
    code = snippet("Pages: challenges", ROOT / "docs" / "clients.md") + ask
    answered = json.loads(run_module(code, modules, tmp_path, sandbox.url, sandbox.public_key, phone))
    assert (answered["status"], answered["body"]["status"]) == (201, "pending")
    assert len(sandbox.calls(phone)) == 1


# ---- what a sample names is what the service names


@pytest.mark.parametrize("sample", ["app-kotlin", "app-swift", "app-dart"])
def test_a_sample_sends_and_reads_what_the_document_names(sample: str) -> None:
    document = create_app(load_settings(dotenv=None)).openapi()
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
    shell(as_served(SHOWN["app-react-native-file"], sandbox), tmp_path)
    esbuild = install(CLIENT) / "esbuild" / "bin" / "esbuild"
    external = ("--external:react-native-*", "--external:@react-native-async-storage/*")
    options = ("--bundle", "--format=cjs", *external, "--outfile=bundle.js", "--log-level=warning")
    run(esbuild, "app.js", *options, cwd=tmp_path)
    phone = fresh_phone()
    with subprocess.Popen(NATIVE, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdin
        assert app.stdout
        calls, states = app.stdin, app.stdout

        def ask(*call: str) -> dict[str, Any]:
            print(json.dumps(call), file=calls, flush=True)
            state: dict[str, Any] = json.loads(states.readline())
            assert state["touched"] == []
            return state

        try:
            assert ask("start", phone)["step"] == "code"
            assert len(sandbox.calls(phone)) == 1
            assert ask("check", wrong(sandbox.code(phone)))["problem"] == "code_incorrect"
            approved = ask("check", sandbox.code(phone))
        finally:
            calls.close()
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
