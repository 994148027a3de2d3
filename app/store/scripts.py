"""The Lua scripts, one per operation: each file's head says what it does, its keys, its arguments, its replies, and why it must be atomic."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

SCRIPTS = (
    "reserve",
    "reserve_resend",
    "recall",
    "settle",
    "cancel_reservation",
    "check",
    "read",
    "cancel",
    "redeem",
    "sample",
    "status",
    "adopt",
)


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text with the library parts that it uses, and the SHA-1 that EVALSHA calls it by."""

    name: str
    text: str
    sha: str


def load_script(name: str) -> Script:
    """Read a script, and put the library parts of its `-- uses:` line before it.

    A first line `#!lua` makes Redis 7 judge the script as a whole before it runs: it is refused as a whole on a read-only replica and, unless its flags say
    otherwise, in a full store. So no script stops half-way.

    Raises:
        ValueError: the script has no `-- uses:` line.
    """
    folder = files(__package__).joinpath("lua")
    body = folder.joinpath(f"{name}.lua").read_text("utf-8")
    head, body = body.split("\n", 1) if body.startswith("#!") else ("#!lua", body)
    uses, found, rest = body.removeprefix("-- uses:").partition("\n")
    if not found or uses == body:
        raise ValueError(f"{name}.lua must begin with '-- uses:' and the parts of lib/ that it needs")
    parts = [folder.joinpath("lib", f"{part}.lua").read_text("utf-8") for part in ("script", *uses.split())]
    text = "\n".join([head, *parts, rest])
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
