"""Settings: where they come from, what is refused and how it is said, which mode follows, and the documents that list them."""

import os
import re
from codecs import BOM_UTF8
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app import settings as module
from app.api.clients import Kind, clients_entry, new_key
from app.settings import Settings, SettingsError, Values, described, load_settings, unquoted
from app.verification.limits import Rate
from app.verification.signing_keys import new_signing_key, write_signing_keys

ROOT = Path(__file__).parents[2]
PEPPER = "pepper-of-the-tests-0123456789abcdef"
API_KEY = "Pa5s-key-7d1f9c"

Load = Callable[..., Settings]
Refused = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.upper().startswith("LASTDIGITS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "SECRETS_DIR", tmp_path / "secrets")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load the settings, with these in the environment."""

    def load(**values: str) -> Settings:
        for name, value in values.items():
            monkeypatch.setenv(f"LASTDIGITS_{name}", value)
        return load_settings()

    return load


@pytest.fixture
def refused(load: Load) -> Refused:
    """What is said of settings that are refused."""

    def refused(**values: str) -> list[str]:
        with pytest.raises(SettingsError) as error:
            load(**values)
        return error.value.problems

    return refused


@pytest.fixture
def live(tmp_path: Path) -> dict[str, str]:
    """All that real calls need with a Redis of one's own; it is not set yet."""
    (tmp_path / "clients.toml").write_text(clients_entry("a", Kind.SECRET, new_key(Kind.SECRET)))
    (tmp_path / "keys.json").write_text(write_signing_keys((new_signing_key(),)))
    own = {"CLIENTS_FILE": "clients.toml", "SIGNING_KEYS_FILE": "keys.json", "REDIS_URL": "redis://localhost"}
    return own | {"PROVIDER_API_KEY": API_KEY, "PEPPER": PEPPER}


def _named(problems: list[str]) -> set[str]:
    return {problem.partition(":")[0].partition(" ")[0].removeprefix("LASTDIGITS_") for problem in problems}


def _secret(name: str, content: bytes) -> None:
    Path("secrets").mkdir(exist_ok=True)
    Path("secrets", name).write_bytes(content)


# ---- sources


def test_the_environment_wins_over_dotenv_and_dotenv_over_secret_files(load: Load) -> None:
    _secret("lastdigits_port", b"\xef\xbb\xbf1001\n")
    assert load().port == 1001
    Path(".env").write_bytes(b"\xef\xbb\xbfLASTDIGITS_PORT=1002\r\nOTHER=1\nexport lastdigits_workers='2' # two\n")
    settings = load(PORT="")
    assert (settings.port, settings.workers) == (1002, 2)
    settings = load(PORT="1003", LOG_LEVEL="")
    assert settings.port == 1003
    assert settings.sources == (
        "environment: LASTDIGITS_PORT",
        f"{Path.cwd()}/.env: LASTDIGITS_PORT, LASTDIGITS_WORKERS",
        f"{Path.cwd()}/secrets: LASTDIGITS_PORT",
    )


@pytest.mark.parametrize("blank", ["", "  ", '""', "''", "\ufeff"])
def test_an_empty_value_counts_as_unset(load: Load, blank: str) -> None:
    names = [name.removeprefix("LASTDIGITS_") for name, _, _ in described() if "PROVIDER" not in name]
    settings = load(**dict.fromkeys(names, blank))
    assert settings.sandbox
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert settings.embedded == Path("data/sandbox")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        *((text, API_KEY) for text in (API_KEY, f"'{API_KEY}'", f'  "{API_KEY}" \n', f'" {API_KEY}"')),
        *(("", ""), ('"', '"'), ('""', ""), ('"a', '"a'), ("\"a'", "\"a'"), ('""a""', '"a"')),
    ],
)
def test_one_pair_of_quotes_is_removed_and_nothing_else(text: str, key: str) -> None:
    assert unquoted(text) == key


ISSUER = "LASTDIGITS_ISSUER=сервис"


@pytest.mark.parametrize("content", [*map(ISSUER.encode, ("cp1251", "utf-16", "utf-16-le")), b"LASTDIGITS_PORT=\xff\n"])
def test_a_file_that_is_not_utf8_is_a_problem_with_its_name(refused: Refused, content: bytes) -> None:
    Path(".env").write_bytes(content)
    assert refused() == [".env: it is not UTF-8 text: save it as UTF-8"]
    Path(".env").unlink()
    _secret("lastdigits_pepper", content)
    assert refused() == [f"{Path.cwd()}/secrets/lastdigits_pepper: it is not UTF-8 text: save it as UTF-8"]


def test_a_variable_that_is_not_utf8_is_a_problem_with_its_name(refused: Refused) -> None:
    for name in ("PEPPER", "PEPPER_PREVIOUS"):
        assert refused(**{"PEPPER": PEPPER, name: f"{PEPPER}\udcff"}, SANDBOX="true") == [
            f"LASTDIGITS_{name}: it is not UTF-8 text: set it in UTF-8"
        ]


def test_a_byte_order_mark_before_a_files_text_is_skipped(load: Load, live: dict[str, str]) -> None:
    for name in ("clients.toml", "keys.json"):
        Path(name).write_bytes(BOM_UTF8 + Path(name).read_bytes())
    settings = load(**live)
    assert settings.clients
    assert settings.signing_keys


def test_a_directory_a_dead_link_and_a_link_out_are_problems_and_not_tracebacks(refused: Refused) -> None:
    Path(".env").mkdir()
    Path("outside").write_text(PEPPER)
    Path("secrets", "lastdigits_pepper").mkdir(parents=True)
    Path("secrets", "lastdigits_pepper_previous").symlink_to("nowhere")
    Path("secrets", "lastdigits_issuer").symlink_to(Path("outside").absolute())
    problems = refused(PORT="http")
    unreadable = [
        ".env: it can't be read (Is a directory)",
        "lastdigits_pepper: it can't",
        "link to nothing",
        "out of the directory",
    ]
    for named in (*unreadable, "LASTDIGITS_PORT"):
        assert any(named in problem for problem in problems), named
    assert len(problems) == 5, "what could not be read is not also missing"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("LASTDIGITS_CODE_LENGTH: 9-SeCrEt", 1),
        ("\n\n# note\n\nLASTDIGITS_CODE_LENGTH 9-SeCrEt\n", 5),
        ("A=1\nLASTDIGITS_PEPPER:SeCrEt\n", 2),
        ("A=1\nLASTDIGITS_PEPPER:SeCrEt=x\n", 2),
        ("LASTDIGITS_PEPPER='SeCrEt\n", 1),
        ("LASTDIGITS_PEPPER\n", 1),
        ("some SeCrEt words\n", 1),
    ],
)
def test_a_line_of_dotenv_that_does_not_parse_is_named_by_its_number(
    refused: Refused, capfd: pytest.CaptureFixture[str], text: str, line: int
) -> None:
    Path(".env").write_text(text)
    (problem,) = refused()
    assert problem.startswith(f".env: line {line} is not NAME=value")
    assert "SeCrEt" not in problem + "".join(capfd.readouterr())


@pytest.mark.parametrize("value", ["${ABSENT}", '"${ABSENT:-}"', "'pa${ABSENT}ss-SeCrEt'"])
def test_a_line_of_dotenv_with_a_variable_in_it_is_neither_a_sandbox_nor_another_key(
    refused: Refused, value: str
) -> None:
    Path(".env").write_text(f"\nLASTDIGITS_PROVIDER_API_KEY={value}\n")
    problem = refused()[0]
    assert problem.startswith(".env: line 2 has ${…}")
    assert "SeCrEt" not in problem


def test_an_unknown_name_is_refused_wherever_it_stands_and_one_that_is_near_is_named(refused: Refused) -> None:
    Path(".env").write_text("LASTDIGITS_VERIFICATON_TTL=300\nlastdigits_wrong_guesses_per_ip=\n")
    _secret("lastdigits_peper", PEPPER.encode())
    problems = refused(**{"PORT:SeCrEt": "x", "CALS_TOTAL": "SeCrEt"})
    assert len(problems) == 5
    listed = "\n".join(problems)
    for near in ("CALLS_TOTAL", "VERIFICATION_TTL", "CALLS_PER_IP", "PEPPER"):
        assert f"did you mean LASTDIGITS_{near}?" in listed
    assert "SeCrEt" not in listed


INJECTED = {
    "SERVICE_HOST": "10.96.0.12",
    "SERVICE_PORT": "8000",
    "SERVICE_PORT_HTTP": "8000",
    "PORT": "tcp://10.96.0.12:8000",
    "PORT_8000_TCP": "tcp://10.96.0.12:8000",
    "PORT_8000_TCP_PROTO": "tcp",
    "PORT_8000_TCP_PORT": "8000",
    "PORT_8000_TCP_ADDR": "10.96.0.12",
    "REDIS_SERVICE_HOST": "10.96.0.13",
    "SIMULATOR_PORT": "tcp://10.96.0.14:8001",
    "WEB_PORT_53_UDP": "udp://10.96.0.14:53",
    "NAME": "/app/lastdigits",
    "ENV_PATH": "/usr/bin",
}


def test_what_kubernetes_and_docker_inject_is_ignored(load: Load) -> None:
    settings = load(**INJECTED)
    assert (settings.port, settings.simulator_port) == (8000, 8001)
    assert settings.sandbox, "none of them configures anything"
    Path(".env").write_text("LASTDIGITS_PORT=9000\n")
    assert load().port == 9000


def test_a_name_that_only_resembles_an_injected_one_or_stands_in_a_file_is_refused(refused: Refused) -> None:
    names = ["PORTT", "REDIS_PORT", "NAME", "SERVICE", "SERVICE_HOSTS"]
    assert _named(refused(**dict.fromkeys(names, "6379"))) == set(names)
    Path(".env").write_text("LASTDIGITS_SERVICE_HOST=1\nLASTDIGITS_PORT=tcp://1:2\n")
    assert _named(refused()) == {*names, "SERVICE_HOST", "PORT"}


# ---- values


WRONG = {
    "HOST": ["127.0.0.1:8000", "http://localhost", "999.1.1.1", "a b"],
    "PORT": ["http", "65536"],
    "WORKERS": ["many", "257"],
    "LOG_LEVEL": ["loud"],
    "PROVIDER_URL": [
        *("ftp://x", "https://user:pw@provider.example/", "https://[::zz]/", "https://host:port/"),
        *("https://256.1.1.1/", "https://a..b/"),
    ],
    "PROVIDER_PROXY": ["socks5://proxy:1080", "http://256.1.1.1:3128"],
    "PROVIDER_CONNECT_TIMEOUT": ["0"],
    "PROVIDER_READ_TIMEOUT": ["nan"],
    "REDIS_URL": ["mysql://x", "redis://", "redis://:a?b@host/0"],
    "REDIS_WAIT_REPLICAS": ["1"],
    "KEY_PREFIX": ["lastdigits:", "{}:", "{a b}:", "{a*}:", "{" + "a" * 64 + "}"],
    "PEPPER": ["too short", "a" * 64],
    "PEPPER_PREVIOUS": [PEPPER],
    "DEFAULT_REGION": ["RU,KZ", "ZZ"],
    "ALLOWED_COUNTRIES": ["RU,XX"],
    "TRUSTED_PROXIES": ["10.0.0.0/8, nowhere", "0.0.0.0/0"],
    "TEST_NUMBERS": ["+79990000001"],
    "SIGNING_KEYS_FILE": ["nowhere.json"],
    "CLIENTS_FILE": ["nowhere.toml"],
    "ISSUER": ["a b"],
    "CODE_LENGTH": ["3"],
    "APPROVAL_REPEAT_WINDOW": ["600"],
    "MAX_ATTEMPTS": ["11"],
    "VERIFICATION_TTL": ["601"],
    "RESEND_COOLDOWNS": ["30;60", "60,30"],
    "MAX_GUESS_PROBABILITY": ["0.00005"],
    "PUBLIC_SHARE": ["1.5"],
    "CALLS_PER_PHONE": ["many"],
    "SPEND_PER_DAY": ["NaN"],
    "SPEND_PER_HOUR": ["-1", "0.00001"],
    "SPEND_PER_COUNTRY": ["KZ", "XX 5/day", "KZ 5/week", "KZ 5/day; kz 6/day"],
    "EXPECTED_PRICE": ["free"],
    "CHALLENGE": ["alarm"],
    "CHALLENGE_PROVIDER": ["recaptcha"],
    "CHALLENGE_SITE_KEY": ["x"],
    "CHALLENGE_SECRET_KEY": ["x"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_an_invalid_value_is_named(refused: Refused, name: str, value: str) -> None:
    (problem,) = refused(**{name: value}, SANDBOX="true")
    assert re.match(rf"LASTDIGITS_{name}\b", problem)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"SANDBOX": "maybe"}, "SANDBOX"),
        ({"PROVIDER_URL": "https://provider.example/", "SANDBOX": "false"}, "PROVIDER_API_KEY"),
        ({"PROVIDER_API_KEY": "ключ", "SANDBOX": "false"}, "PROVIDER_API_KEY"),
        ({"REDIS_WAIT_REPLICAS": "1", "REDIS_URL": "redis://h", "REDIS_WAIT_TIMEOUT": "1"}, "REDIS_WAIT_TIMEOUT"),
        ({"TEST_NUMBERS": "+79990000001=0000", "CODE_LENGTH": "5"}, "TEST_NUMBERS"),
        ({"PEPPER": PEPPER, "PEPPER_PREVIOUS": PEPPER}, "PEPPER"),
        (
            {"PEPPER": PEPPER, "PEPPER_PREVIOUS": "another-pepper-of-the-tests-00000024"},
            "PEPPER",
        ),  # the same fingerprint
        ({"CHALLENGE_PROVIDER": "turnstile", "CHALLENGE_SITE_KEY": "x"}, "CHALLENGE_SECRET_KEY"),
        ({"CHALLENGE_PROVIDER": "hcaptcha", "CHALLENGE_SECRET_KEY": "x"}, "CHALLENGE_SITE_KEY"),
    ],
)
def test_values_that_are_invalid_together_are_named(refused: Refused, values: dict[str, str], named: str) -> None:
    assert _named(refused(**{"SANDBOX": "true"} | values)) - {"CLIENTS_FILE"} == {named}


@pytest.mark.parametrize(
    ("values", "name", "read"),
    [
        ({"HOST": "[::]"}, "host", "::"),
        ({"HOST": "LOCALHOST"}, "host", "LOCALHOST"),
        ({"HOST": "fe80::1%eth0"}, "host", "fe80::1%eth0"),
        ({"WORKERS": "AUTO"}, "workers", len(os.sched_getaffinity(0))),
        ({"LOG_LEVEL": "INFO"}, "log_level", "info"),
        ({"LOG_FORMAT": "JSON"}, "log_format", "json"),
        ({"CHALLENGE_PROVIDER": "ALTCHA"}, "challenge_provider", "altcha"),
        ({"KEY_PREFIX": "eu.{shop-1}:"}, "key_prefix", "eu.{shop-1}:sandbox:"),
    ],
)
def test_other_spellings_are_read(load: Load, values: dict[str, str], name: str, read: object) -> None:
    assert getattr(load(**values), name) == read


def test_countries_are_read_in_either_case(load: Load) -> None:
    policy = load(SPEND_PER_COUNTRY="kz 50/hour; BY 20/day", ALLOWED_COUNTRIES="ru, kz", DEFAULT_REGION="kz").policy
    assert policy.spending.by_country == {"KZ": (Rate(500_000, 3600),), "BY": (Rate(200_000, 86400),)}
    assert (policy.phones.allowed_countries, policy.phones.default_region) == (frozenset({"RU", "KZ"}), "KZ")


def test_a_call_blocks_the_next_one_for_longer_than_it_can_last(load: Load) -> None:
    times = {"PROVIDER_POOL_TIMEOUT": "20", "PROVIDER_CONNECT_TIMEOUT": "5", "PROVIDER_READ_TIMEOUT": "30"}
    assert load(**times, REDIS_TIMEOUT="2").policy.call_deadline >= 20 + 2 * 5 + 30 + 4 * 2, "and be recorded"


def test_a_warning_says_that_codes_are_longer_than_the_setting(load: Load) -> None:
    (warning,) = load(MAX_ATTEMPTS="5").warnings
    assert "codes have 5 digits from the start" in warning


# ---- the mode


def test_nothing_of_production_is_a_sandbox_with_a_store_and_keys_of_its_own(load: Load) -> None:
    settings = load(PROVIDER_READ_TIMEOUT="3", WORKERS="2", TEST_NUMBERS="+79990000001=0000")
    assert settings.sandbox
    assert (settings.embedded, settings.keys) == (Path("data/sandbox"), Path("data/sandbox/keys"))
    assert settings.key_prefix == "{lastdigits}:sandbox:"
    assert (settings.provider.url, settings.provider.api_key) == ("", None)
    assert settings.provider.read_timeout == 3, "the simulator has the provider's time limits"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("CLIENTS_FILE", "clients.toml"), ("SIGNING_KEYS_FILE", "keys.json"), ("PEPPER", PEPPER)),
        *(("REDIS_URL", url) for url in ("redis://localhost", "embedded:///var/lib/x", "rediss://:broken?@h")),
        *(("PROVIDER_URL", "https://provider.example/"), ("PROVIDER_PROXY", "http://proxy:3128")),
        *(("PROVIDER_API_KEY", ""), ("PROVIDER_API_KEY", '""'), ("PROVIDER_LOGIN", ""), ("PROVIDER_PASSWORD", " ")),
        ("SANDBOX", "false"),
    ],
)
def test_anything_of_production_without_a_provider_is_refused(
    refused: Refused, live: dict[str, str], name: str, value: str
) -> None:
    (problem,) = [each for each in refused(**{name: value}) if "PROVIDER_API_KEY: it is missing" in each]
    assert f"LASTDIGITS_{name} is" in problem
    assert "LASTDIGITS_SANDBOX=true" in problem


def test_an_empty_key_beside_production_is_refused_from_each_source(refused: Refused, live: dict[str, str]) -> None:
    del live["PROVIDER_API_KEY"]
    Path(".env").write_text("LASTDIGITS_PROVIDER_API_KEY=\n")
    assert _named(refused(**live)) == {"PROVIDER_API_KEY"}
    Path(".env").unlink()
    _secret("lastdigits_provider_api_key", b"\n")
    assert _named(refused()) == {"PROVIDER_API_KEY"}


def test_a_sandbox_beside_production_needs_the_word(load: Load, live: dict[str, str]) -> None:
    given = {"PROVIDER_API_KEY": "", "SANDBOX": "true", "PROVIDER_URL": "https://p.example/"}
    settings = load(**live | given)
    assert settings.sandbox
    assert settings.keys == Path("data/sandbox/keys")
    assert settings.key_prefix == "{lastdigits}:sandbox:"
    assert settings.warnings == ("LASTDIGITS_PROVIDER_URL has no effect in a sandbox",)


def test_a_provider_makes_it_live(load: Load, live: dict[str, str]) -> None:
    settings = load(**live)
    assert not settings.sandbox
    assert (settings.key_prefix, settings.keys, settings.embedded) == ("{lastdigits}:", None, None)
    settings = load(REDIS_URL="", PEPPER="", SIGNING_KEYS_FILE="", SANDBOX="false")
    assert (settings.embedded, settings.keys) == (Path("data"), Path("data/keys"))


def test_a_redis_of_ones_own_needs_what_every_instance_must_share(refused: Refused, live: dict[str, str]) -> None:
    problems = refused(**{name: live[name] for name in ("PROVIDER_API_KEY", "REDIS_URL")})
    assert _named(problems) == {"PEPPER", "SIGNING_KEYS_FILE", "CLIENTS_FILE"}
    assert any("`lastdigits keys new" in problem for problem in problems)


def test_a_sandbox_that_is_neither_true_nor_false_is_not_also_said_to_be_true(refused: Refused) -> None:
    (problem,) = refused(SANDBOX="maybe", PROVIDER_API_KEY="k")
    assert "LASTDIGITS_SANDBOX: it should be a valid boolean" in problem


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"PROVIDER_API_KEY": "k", "SANDBOX": "true"}, "SANDBOX"),
        ({"PROVIDER_LOGIN": "me"}, "PROVIDER_PASSWORD"),
        ({"PROVIDER_PASSWORD": "x"}, "PROVIDER_LOGIN"),
        ({"PROVIDER_API_KEY": "k", "PROVIDER_LOGIN": "me", "PROVIDER_PASSWORD": "x"}, "PROVIDER_API_KEY"),
    ],
)
def test_credentials_are_whole_and_of_one_kind_and_never_a_sandboxs(
    refused: Refused, live: dict[str, str], given: dict[str, str], named: str
) -> None:
    assert _named(refused(**live | {"PROVIDER_API_KEY": ""} | given)) == {named}


# ---- leaks


SECRET = "Zq7-Zx9-Zw"
SENSITIVE = [
    name
    for name, field in Values.model_fields.items()
    if "SecretStr" in str(field.annotation) or name.endswith("_url") or name in {"provider_proxy", "provider_login"}
]


def test_the_settings_that_may_hold_a_secret_are_the_ones_that_are_tried() -> None:
    some = {"redis_url", "provider_url", "provider_proxy", "pepper", "provider_password", "challenge_secret_key"}
    assert some <= set(SENSITIVE)


BEGINNINGS = [
    "",
    "redis://",
    "rediss://:",
    "redis://:p@",
    "https://",
    "http://user:",
    "redis+sentinel://h/",
    "\ufeff",
    '"',
]
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@given(st.sampled_from(SENSITIVE), st.sampled_from(BEGINNINGS), TEXT, TEXT)
@example("redis_url", "redis://:a?", "", "@host/0")
@example("redis_url", "redis://:ab[", "", "@h/0")
@example("provider_url", "https://", "[", "]")
def test_no_message_and_no_repr_holds_a_secret_or_a_url(name: str, before: str, left: str, right: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"LASTDIGITS_{name.upper()}", f"{before}{left}{SECRET}{right}")
        try:
            shown = repr(load_settings())
        except SettingsError as error:
            shown = f"{error}{error!r}{error.problems}{error.sources}"
    assert SECRET not in shown


LISTS = ("COUNTR", "REGION", "CALLS", "PROXIES", "COOLDOWNS", "NUMBERS", "FILE")
"""Settings whose wrong part is repeated: a country, a limit, a network, a path."""


@pytest.mark.parametrize("name", [name for name, _, _ in described() if not any(word in name for word in LISTS)])
def test_a_secret_pasted_into_another_setting_is_not_repeated(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, SECRET)
    shown = ""
    try:
        load_settings()
    except SettingsError as error:
        shown = str(error)
    assert SECRET not in shown


# ---- documents


@pytest.mark.parametrize("document", [".env.example", "docs/settings.md"])
def test_the_documents_list_every_setting_once_with_its_default_and_sentence(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    for name, default, sentence in described():
        row = f"| `{name}` | {f'`{default}`' if default else ''} | {sentence} |\n"
        if document == ".env.example":
            row = f"# {sentence}\n#{name}={default}\n"
        assert text.count(row) == 1, name
    assert len(re.findall(r"^(?:#|\| `)LASTDIGITS_", text, re.MULTILINE)) == len(described())


def test_the_example_begins_with_what_going_live_needs() -> None:
    names: list[Any] = re.findall(r"^#LASTDIGITS_(\w+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE)
    assert {"PROVIDER_API_KEY", "CLIENTS_FILE", "REDIS_URL", "PEPPER", "SIGNING_KEYS_FILE"} <= set(names[:9])


def test_the_example_as_it_stands_changes_nothing_and_uncommented_neither() -> None:
    text = (ROOT / ".env.example").read_text("utf-8")
    defaults = load_settings().policy
    commented = re.compile(r"^#(LASTDIGITS_(?!PROVIDER_(?:API_KEY|LOGIN|PASSWORD))\w+=)", re.MULTILINE)
    Path(".env").write_text(commented.sub(r"\1", text))
    assert load_settings().sandbox
    assert load_settings().policy == defaults
