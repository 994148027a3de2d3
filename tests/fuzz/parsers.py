"""What strangers and the provider write, read as bytes that a coverage-guided fuzzer makes up (atheris, libFuzzer): `make fuzz`.

python -m tests.fuzz.parsers [response] [forwarding] [phone] [code] --seconds 60

Each parser has a process of its own. It ends with 1 for an input that raises, takes five seconds, or breaks what must hold; libFuzzer prints the input. The
short tests of the same are in tests/unit, with hypothesis.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["app"]):
    from app.api.address import TrustedProxies, normalized
    from app.provider.responses import read_response
    from app.verification.code import typed_digits
    from app.verification.model import PhoneRejected
    from app.verification.phone import PhoneRules, parse_phone
    from app.verification.ports import Placed

MAX_SECONDS, MAX_MEMORY, MAX_BYTES = 5, 512, 70_000
"""For one input; MiB for the process; bytes of an input: more than the service reads of an answer."""

SEEDS = {
    "response": [
        b'\xc8{"result": "ok", "id": "1234", "number": "79999999999", "price": "0.35", "code": "0123"}',
        b'\xc8{"result": "error", "error_code": "not_enough_money"}',
        b'\xc8{"result": "ok", "code": 123, "price": "1 234,50 RUB"}',
        b"\xff<html><body>502 Bad Gateway</body></html>",
    ],
    "forwarding": [b"203.0.113.7, 10.0.0.2", b"[2001:db8::7]:443,10.0.0.2", b"::ffff:203.0.113.7", b"fe80::1%eth0"],
    "phone": [b"+7 (999) 999-99-99", b"8 999 999 99 99 ext. 5", "٧٩٩٩٩٩٩٩٩٩٩".encode(), b"tel:+79999999999;ext=1"],
    "code": [b"1234", b"+7 916 123-12-34", "１２３４".encode()],
}
_PROXIES = TrustedProxies.parse("10.0.0.0/8, fd00::/8")
_RULES = PhoneRules("RU", frozenset({"RU", "KZ"}), frozenset())
_SECRETS = ("provider-key-7d1f9c",)


def response(data: bytes) -> None:
    """The provider's answer: the first byte makes its status."""
    status, body = 100 + 2 * (data[0] if data else 0), data[1:]
    outcome = read_response(status, body, 4, _SECRETS)
    if isinstance(outcome, Placed):
        assert re.fullmatch("[0-9]{4}", outcome.code, re.ASCII)
        assert 200 <= status < 300
    else:
        assert outcome.detail.isprintable()
        assert _SECRETS[0] not in outcome.detail


def forwarding(data: bytes) -> None:
    """The forwarding header, from a proxy and from a stranger."""
    headers = [(b"x-forwarded-for", line) for line in data.split(b"\n")]
    address = _PROXIES.address_of("10.0.0.1", headers)
    assert address is not None
    assert normalized(address) == address
    assert _PROXIES.address_of("198.51.100.1", headers) == "198.51.100.1"


def phone(data: bytes) -> None:
    """A phone in any spelling."""
    found = parse_phone(data.decode("utf-8", "replace")[:100], _RULES)
    if not isinstance(found, PhoneRejected):
        assert re.fullmatch(r"\+7[0-9]{10}", found, re.ASCII)
        assert parse_phone(found, _RULES) == found


def code(data: bytes) -> None:
    """What a person types."""
    assert re.fullmatch("[0-9]*", typed_digits(data.decode("utf-8", "replace")), re.ASCII)


PARSERS: dict[str, Callable[[bytes], None]] = {of.__name__: of for of in (response, forwarding, phone, code)}


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one parser in this process, which ends with it."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS[name]):
            Path(corpus, str(number)).write_bytes(seed)
        bounds = [f"-timeout={MAX_SECONDS}", f"-rss_limit_mb={MAX_MEMORY}", f"-max_len={MAX_BYTES}"]
        options = [f"-max_total_time={seconds}", "-print_final_stats=1", *bounds]
        atheris.Setup([sys.argv[0], corpus, *options], PARSERS[name])
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*PARSERS, []])
    parser.add_argument("--seconds", type=int, default=60, help="for each")
    parser.add_argument("--only", choices=PARSERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        fuzz(given.only, given.seconds)
        return
    failed = False
    for name in given.names or PARSERS:
        command = [sys.executable, "-m", "tests.fuzz.parsers", "--only", name, "--seconds", str(given.seconds)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        stats = dict(re.findall(r"^stat::(\w+):\s+(\d+)", done.stderr, re.MULTILINE))
        inputs, peak = (stats.get(stat, "?") for stat in ("number_of_executed_units", "peak_rss_mb"))
        print(f"{name}: {inputs} inputs in {given.seconds} s, peak {peak} MiB, exit {done.returncode}", flush=True)
        if done.returncode:
            failed = True
            print(done.stderr[-4000:])
    sys.exit(failed)


if __name__ == "__main__":
    main()
