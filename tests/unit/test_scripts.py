"""The Lua scripts, as they are written: what each is sent stands in its head, arguments have names, and the only clock is the server's."""

import re
from importlib.resources import files

import pytest

from app.store.scripts import SCRIPTS, load_script

_FOLDER = files("app.store").joinpath("lua")
_PARTS = {path.name.removesuffix(".lua"): path.read_text("utf-8") for path in _FOLDER.joinpath("lib").iterdir()}
_DEFINED = re.compile(r"^local function (\w+)", re.MULTILINE)
_LIBRARY = {name for text in _PARTS.values() for name in re.findall(r"^local (?:function )?(\w+)", text, re.MULTILINE)}
_ALL = {f"lib/{name}": text for name, text in _PARTS.items()} | {
    name: _FOLDER.joinpath(f"{name}.lua").read_text("utf-8") for name in SCRIPTS
}


def code_of(text: str) -> str:
    """Without comments and strings."""
    return re.sub(r"--.*|'[^']*'", "", text)


def head_of(text: str) -> str:
    """The comment that a file begins with."""
    lines = text.splitlines()
    count = next(number for number, line in enumerate(lines) if not line.startswith(("--", "#!")))
    return "\n".join(lines[:count])


def test_every_script_is_known() -> None:
    assert {path.name for path in _FOLDER.iterdir()} == {*(f"{name}.lua" for name in SCRIPTS), "lib"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_what_it_calls_and_no_function_that_is_not_called_anywhere(name: str) -> None:
    code = code_of(load_script(name).text)
    called = set(re.findall(r"(?<![.:\w])([a-z_]+)\(", code))
    constants = set(re.findall(r"\b[A-Z_]{3,}\b", code)) & _LIBRARY
    defined = {
        word
        for line in re.findall(r"^ *local (?:function )?([\w, ]+)", code, re.MULTILINE)
        for word in re.split(r"\W+", line)
    }
    assert not (called & _LIBRARY | constants) - defined
    everywhere = " ".join(code_of(text) for text in _ALL.values())
    assert [
        function for function in _DEFINED.findall(code) if len(re.findall(rf"\b{function}\b", everywhere)) == 1
    ] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_scripts_head_names_its_keys_its_request_and_its_replies(name: str) -> None:
    text = _ALL[name]
    head, code = head_of(text), re.sub(r"--.*", "", text)
    if "as in reserve.lua" in head:
        head += head_of(_ALL["reserve"])
    for section in ("keys", "request", "reply"):
        assert re.search(rf"^-- {section}  +\S", head, re.MULTILINE), section
    assert [field for field in re.findall(r"request\.(\w+)", code) if not re.search(rf"\b{field}\b", head)] == []
    assert [outcome for outcome in re.findall(r"reply\('(\w+)'", code) if not re.search(rf"\b{outcome}\b", head)] == []
    used = set(re.findall(r"\bkeys\.(\w+)", code)) - {"verification"}
    assert [key for key in used if key not in head] == []


@pytest.mark.parametrize("name", _ALL)
def test_no_argument_has_a_number_and_no_clock_but_the_servers_is_read(name: str) -> None:
    code = re.sub(r"--.*", "", _ALL[name])
    if name != "lib/script":
        assert not re.findall(r"\b(KEYS|ARGV)\b", code)
        assert "'TIME'" not in code
    assert not re.findall(r"\bos\.|\bmath\.random", code)


@pytest.mark.parametrize("name", _PARTS)
def test_a_part_of_the_library_says_what_it_is(name: str) -> None:
    assert len(head_of(_PARTS[name])) > 60


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_uses_each_part_that_it_names(name: str) -> None:
    (uses,) = re.findall(r"^-- uses: ?(.*)$", _ALL[name], re.MULTILINE)
    used, code = uses.split(), code_of(load_script(name).text)
    for part in used:
        functions = re.findall(r"^local (?:function )?(\w+)", _PARTS[part], re.MULTILINE)
        rest = code.replace(code_of(_PARTS[part]), "")
        assert any(re.search(rf"\b{function}\b", rest) for function in functions), f"{part} is of no use to {name}"
