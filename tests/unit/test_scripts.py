"""What the server is given of scripts/lib: all that a script calls, and nothing else."""

import re
from importlib.resources import files

import pytest

from app.store.scripts import load_script

_FOLDER = files("app.store.scripts")
_SCRIPTS = sorted(path.name.removesuffix(".lua") for path in _FOLDER.iterdir() if path.name.endswith(".lua"))
_DEFINED = re.compile(r"^local function (\w+)", re.MULTILINE)
_LIBRARY = {
    name
    for path in _FOLDER.joinpath("lib").iterdir()
    for name in re.findall(r"^local (?:function )?(\w+)", path.read_text("utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("name", _SCRIPTS)
def test_a_script_has_what_it_calls_and_no_function_that_nobody_calls(name: str) -> None:
    code = re.sub(r"--.*|'[^']*'", "", load_script(name).text)
    functions = _DEFINED.findall(code)
    unused = [function for function in functions if len(re.findall(rf"\b{function}\b", code)) == 1]
    called = set(re.findall(r"(?<![.:\w])([a-z_]+)\(", code))
    constants = set(re.findall(r"\b[A-Z_]{3,}\b", code)) & _LIBRARY
    defined = {
        word
        for line in re.findall(r"^ *local (?:function )?([\w, ]+)", code, re.MULTILINE)
        for word in re.split(r"\W+", line)
    }
    assert not unused
    assert not (called & _LIBRARY | constants) - defined
