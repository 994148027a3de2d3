"""Where settings come from: the environment, `.env`, files of secrets. What is there, what can't be read, and what is no setting.

pydantic-settings reads the values (settings.py). It ignores what it does not know and raises whatever a file makes it raise, so each source is looked
at before. Only names leave this file, never a value.
"""

import difflib
import io
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import Binding, parse_stream

PREFIX = "LASTDIGITS_"

INJECTED_URL = re.compile(r"(?:tcp|udp|sctp)://")
_INJECTED_NAME = re.compile(
    rf"{PREFIX}(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
    rf"|{PREFIX}(?:\w+_)?ENV_\w+"
)
"""What Kubernetes adds for a Service called `lastdigits` or `lastdigits-…`, and Docker for a link to such a container."""


@dataclass(frozen=True, slots=True)
class Source:
    """One place where settings are read."""

    label: str  # names it to a person
    given: frozenset[str] = frozenset()  # the names that have a value there, in capitals, with the prefix
    blank: frozenset[str] = frozenset()  # the names that are there without one
    problems: tuple[str, ...] = ()  # what is wrong with it, a sentence each
    readable: bool = True  # False where a value may be missing because it could not be read

    def __str__(self) -> str:
        """Return the place and the names that it gives a value, for a person."""
        return f"{self.label}: {', '.join(sorted(self.given)) or 'nothing'}"


def is_injected(name: str, value: str) -> bool:
    """Whether Kubernetes or Docker put a variable into the environment: by its shape, never because it is unknown."""
    address = name.endswith("_PORT") and INJECTED_URL.match(value)
    link = name.endswith("_NAME") and re.fullmatch(r"/\S+/\S+", value)
    return bool(_INJECTED_NAME.fullmatch(name) or address or link)


def environment() -> Source:
    """The environment of this process."""
    ours = {name.upper(): value for name, value in os.environ.items() if name.upper().startswith(PREFIX)}
    # Python keeps bytes that are no UTF-8 as surrogates, which nothing can be made of later.
    wrong = [name for name, value in ours.items() if re.search("[\ud800-\udfff]", value)]
    problems = [f"{name}: it is not UTF-8 text: set it in UTF-8" for name in wrong]
    given = {name: value for name, value in ours.items() if not is_injected(name, value)}
    return _source("environment", given, problems)


def dotenv_file(path: Path) -> Source:
    """A `.env` file; it may be absent, and may begin with a byte order mark."""
    label = str(path.absolute())
    try:
        bindings = list(parse_stream(io.StringIO(_text(path))))
    except FileNotFoundError:
        return Source(f"{label} (not there)")
    except ValueError as error:
        return Source(label, problems=(f"{path}: {error}",), readable=False)
    wrong = [_line(binding) for binding in bindings if binding.error or (_is_ours(binding) and not _is_pair(binding))]
    pairs = {(each.key or "").upper(): each.value or "" for each in bindings if _is_ours(each) and _is_pair(each)}
    fix = "is not NAME=value: correct it, or put # before it"
    problems = [f"{path}: line {line} {fix}" for line in wrong]
    # The library replaces it by a variable: by nothing where there is none, and an empty key would be none.
    replaced = [_line(binding) for binding in bindings if _is_ours(binding) and "${" in (binding.value or "")]
    fix = "has ${…}, and no variable is put in there: write the value itself, or set it in the environment or a file of secrets"
    return _source(label, pairs, problems + [f"{path}: line {line} {fix}" for line in replaced])


def secret_files(directory: Path) -> Source:
    """A directory with one file for each secret, named like the setting: `lastdigits_pepper`. It may be absent."""
    texts, problems = {}, []
    try:
        files = [file for file in sorted(directory.iterdir()) if file.name.upper().startswith(PREFIX)]
    except (FileNotFoundError, NotADirectoryError):
        return Source(f"{directory} (not there)")
    except OSError as error:
        return Source(str(directory), problems=(f"{directory} can't be read ({error.strerror})",), readable=False)
    for file in files:
        try:
            texts[file.name.upper()] = _text(file)
            if not file.resolve().is_relative_to(directory.resolve()):
                problems.append(f"{file}: it is a link out of the directory: put the file itself there")
        except (FileNotFoundError, ValueError) as error:
            problems.append(f"{file}: {error if isinstance(error, ValueError) else 'it is a link to nothing'}")
    return _source(str(directory), texts, problems, readable=not problems)


def unknown_names(sources: Iterable[Source], known: set[str]) -> list[str]:
    """A sentence for each name with our prefix that is no setting."""
    sentences = []
    for source in sources:
        for name in sorted((source.given | source.blank) - known):
            # What is no name at all may hold a value: `LASTDIGITS_PEPPER:…`.
            shown = name if re.fullmatch(r"\w+", name, re.ASCII) else re.split(r"\W", name, maxsplit=1)[0] + "…"
            near = difflib.get_close_matches(name, known, 1)
            fix = f"; did you mean {near[0]}?" if near else ": remove it"
            sentences.append(f"{shown}: no setting has this name ({source.label}){fix}")
    return sentences


def _source(label: str, texts: dict[str, str], problems: Iterable[str] = (), *, readable: bool = True) -> Source:
    blank = frozenset(name for name, text in texts.items() if not text.strip(" \t\r\n\ufeff\"'"))
    return Source(label, frozenset(texts) - blank, blank, tuple(problems), readable)


def _text(file: Path) -> str:
    """The file's text.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it can't be read; the message names the fix.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"it can't be read ({error.strerror}): check its owner and mode") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError("it is not UTF-8 text: save it as UTF-8")
    return text


def _is_ours(binding: Binding) -> bool:
    return (binding.key or "").upper().startswith(PREFIX)


def _is_pair(binding: Binding) -> bool:
    return binding.value is not None and bool(re.fullmatch(r"\w+", binding.key or "", re.ASCII))


def _line(binding: Binding) -> int:
    """The number of a binding's line: the parser counts the blank lines before it to the binding."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
