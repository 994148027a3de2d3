"""The Lua scripts, as they are written: what each is sent stands in its head, arguments have names, and the only clock is the server's."""

import re
from importlib.resources import files

import pytest

from app.store.scripts import SCRIPTS, load_script

_FOLDER = files("app.store").joinpath("lua")
_PARTS = {path.name.removesuffix(".lua"): path.read_text("utf-8") for path in _FOLDER.joinpath("lib").iterdir()}
_LOCAL = re.compile(r"^local (?:function )?(\w+)", re.MULTILINE)
_LIBRARY = {name for text in _PARTS.values() for name in _LOCAL.findall(text)}
_ALL = {f"lib/{name}": text for name, text in _PARTS.items()} | {
    name: _FOLDER.joinpath(f"{name}.lua").read_text("utf-8") for name in SCRIPTS
}


def code_of(text: str) -> str:
    """Without comments and strings."""
    return re.sub(r"--.*|'[^']*'", "", text)


def head_of(text: str) -> str:
    """The comment that a file begins with."""
    found = re.match(r"(?:(?:--|#!).*\n)*", text)
    return found[0] if found else ""


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_what_it_calls_and_uses_each_part_that_it_names(name: str) -> None:
    code = code_of(load_script(name).text)
    words = set(re.findall(r"(?<![.:\w])([a-z_]+)(?=\()|\b([A-Z_]{3,})\b", code))
    defined = {
        word
        for line in re.findall(r"^ *local (?:function )?([\w, ]+)", code, re.MULTILINE)
        for word in re.split(r"\W+", line)
    }
    assert {word for pair in words for word in pair} & _LIBRARY <= defined
    for part in head_of(_ALL[name]).partition("-- uses:")[2].partition("\n")[0].split():
        rest = code.replace(code_of(_PARTS[part]), "")
        assert set(_LOCAL.findall(_PARTS[part])) & set(re.findall(r"\w+", rest)), f"{part} is of no use to {name}"


@pytest.mark.parametrize("part", _PARTS)
def test_a_part_of_the_library_says_what_it_is_and_is_used(part: str) -> None:
    assert len(head_of(_PARTS[part])) > 60
    everywhere = re.findall(r"\w+", code_of(" ".join(_ALL.values())))
    assert [name for name in _LOCAL.findall(_PARTS[part]) if everywhere.count(name) == 1] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_scripts_head_names_its_keys_its_request_and_its_replies(name: str) -> None:
    head, code = head_of(_ALL[name]), re.sub(r"--.*", "", _ALL[name])
    for section in ("keys", "request", "reply"):
        assert re.search(rf"^-- {section}  +\S", head, re.MULTILINE), section
    used = set(re.findall(r"request\.(\w+)|reply\('(\w+)'|\bkeys\.(\w+)", code))
    assert {word for found in used for word in found if word} <= set(re.findall(r"\w+", head))


@pytest.mark.parametrize("name", _ALL)
def test_no_argument_has_a_number_and_no_clock_but_the_servers_is_read(name: str) -> None:
    code = re.sub(r"--.*", "", _ALL[name])
    if name != "lib/script":
        assert not re.findall(r"\b(KEYS|ARGV)\b|'TIME'", code)
    assert not re.findall(r"\bos\.|\bmath\.random", code)
