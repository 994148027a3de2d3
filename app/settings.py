"""Settings: every one with its default, unit, check and sentence; all are checked together.

They are read from the environment (prefix `LASTDIGITS_`), `.env`, and files of secrets (`/run/secrets/lastdigits_pepper`), in this order. What is wrong
is reported in one list, each with the setting's name and the fix; no message repeats a secret or a URL. `load_settings` yields frozen values; nothing
below main.py imports this file. It is long because every setting stands here, and only here.
"""

import logging
import math
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_origin
from urllib.parse import urlsplit

import httpx2
import phonenumbers
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from app.api.address import TrustedProxies
from app.api.clients import Clients, ClientsError, load_clients
from app.settings_sources import INJECTED_URL, PREFIX, Source, dotenv_file, environment, secret_files, unknown_names
from app.store.connection import parse_url
from app.store.embedded import keys_directory
from app.store.pipelines import Replication
from app.verification.challenge import When
from app.verification.errors import LastdigitsError
from app.verification.guess_budget import GuessBudget
from app.verification.ids import MIN_PEPPER_BYTES, Pepper
from app.verification.limits import MAX_CAP, Rate, Spending, cap_units, parse_country_caps, parse_rates, price_units
from app.verification.phone import PhoneRules, parse_test_numbers
from app.verification.policy import MAX_LIFETIME, Guard, Policy
from app.verification.signing_keys import SigningKeyError, parse_signing_keys
from app.web import DemoContext

SECRETS_DIR = Path("/run/secrets")
PROVIDER_URL = "https://voice.mobilgroup.ru/api/call-password/send/"
_NEW_PEPPER = "python3 -c 'import secrets; print(secrets.token_hex(32))' makes one"


# ---- checks of single values: each raises ValueError with a sentence that names the fix


def _key_prefix(text: str) -> str:
    if not re.fullmatch(r"(?=.{1,64}$)[\w.:/-]*\{[\w.:/-]+\}[\w.:/-]*", text, re.ASCII):
        raise ValueError("it needs a name in braces, as {lastdigits}: has")
    return text


def _issuer(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,200}", text):
        raise ValueError("write up to 200 ASCII characters without spaces")
    return text


def _host(text: str) -> str:
    """An address or a host name; `[::]` is `::`."""
    host = text[1:-1] if text[:1] + text[-1:] == "[]" else text
    if re.fullmatch(r"[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*\.?", host) and not re.fullmatch(r"[\d.]+", host):
        return host
    try:
        return str(ip_address(host))
    except ValueError:
        raise ValueError(
            "write an address or a host name, without a scheme and a port: 127.0.0.1, ::, localhost"
        ) from None


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port)
        # The HTTP client and the resolver must read it too: no host like 256.1.1.1 or a..b.
        httpx2.URL(url).host.encode("idna")
    except (ValueError, httpx2.InvalidURL):
        whole = False
    if not whole or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("write a whole URL: https://host/path; percent-encode what a URL reserves")
    return url


def _provider_url(url: str) -> str:
    if "@" in urlsplit(_http_url(url)).netloc:
        raise ValueError("it holds a user or password: leave them out, and set PROVIDER_LOGIN and PROVIDER_PASSWORD")
    return url


def _store_url(url: str) -> str:
    parse_url(url)
    return url


def _pepper(secret: SecretStr) -> SecretStr:
    raw = secret.get_secret_value().encode("utf-8", "surrogateescape")
    if len(raw) < MIN_PEPPER_BYTES or len(set(raw)) < 8:  # noqa: PLR2004  fewer different characters were typed, not drawn
        raise ValueError(f"it must have at least {MIN_PEPPER_BYTES} random bytes: {_NEW_PEPPER}")
    return secret


def _header_safe(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().isascii() or not secret.get_secret_value().isprintable():
        raise ValueError("it must be printable ASCII: copy it again")
    return secret


def _cooldowns(text: str) -> tuple[int, ...]:
    """Whole seconds: `30,60,300`."""
    if not re.fullmatch(r"\s*[0-9]{1,8}\s*(,\s*[0-9]{1,8}\s*)*", text):
        raise ValueError("write whole seconds with commas: 30,60,300")
    return tuple(map(int, text.split(",")))


def _countries(text: str) -> frozenset[str]:
    """ISO 3166-1 alpha-2 codes: `RU,KZ`."""
    countries = frozenset(part.strip().upper() for part in text.split(",") if part.strip())
    unknown = sorted(countries - phonenumbers.SUPPORTED_REGIONS)
    if unknown or not countries:
        raise ValueError(f"{', '.join(unknown) or 'it'} names no country: write ISO 3166-1 codes like RU,KZ")
    return countries


def _country(text: str) -> str:
    (country, *more) = _countries(text)
    if more:
        raise ValueError("name one country")
    return country


def _country_caps(text: str) -> Mapping[str, tuple[Rate, ...]]:
    if not text:
        return {}
    caps = parse_country_caps(re.sub(r"(?:^|;)\s*\w+", lambda country: country[0].upper(), text))
    _countries(",".join(caps))
    return caps


def _workers(text: object) -> object:
    """`auto` is one for each core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if isinstance(text, str) and text.lower() == "auto" else text


def _test_numbers(text: str) -> Mapping[str, str]:
    return parse_test_numbers(text) if text else {}


Rates = Annotated[tuple[Rate, ...], PlainValidator(parse_rates)]
Money = Annotated[Decimal, Field(ge=0, le=MAX_CAP, decimal_places=4, allow_inf_nan=False)]
PepperText = Annotated[SecretStr, AfterValidator(_pepper)]
Host = Annotated[str, AfterValidator(_host)]
Workers = Annotated[int, BeforeValidator(_workers)]


def _setting(default: object, sentence: str, **limits: float) -> Any:  # noqa: ANN401  a field of any type
    """A setting: its default as a person writes it, its sentence in `.env.example` and docs/settings.md, and its limits."""
    return Field(default, description=sentence, validate_default=True, **limits)  # type: ignore[call-overload]  # limits are its own keywords


class _Environment(EnvSettingsSource):
    """The environment, without what Kubernetes puts in the place of a port: `LASTDIGITS_PORT=tcp://10.96.0.12:8000`."""

    def __call__(self) -> dict[str, Any]:
        found = super().__call__().items()
        return {name: value for name, value in found if not (name.endswith("port") and INJECTED_URL.match(value))}


class Values(BaseSettings):
    """Every setting: its default, its sentence, its limits."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, env_file_encoding="utf-8-sig", enable_decoding=False, extra="ignore", hide_input_in_errors=True
    )  # fmt: skip

    # A table, a setting a line.
    # fmt: off
    host: Host = _setting("127.0.0.1", "Address to listen on. A container sets 0.0.0.0; :: takes IPv6 and IPv4.")
    port: int = _setting(8000, "Port to listen on; 0 takes a free one.", ge=0, le=65535)
    workers: Workers = _setting(1, "Processes that answer requests; auto: one for each core.", ge=1, le=256)
    log_format: Literal["auto", "json", "console"] = _setting("auto", "How logs look: json, console, or auto: console on a terminal.")
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "The lowest level that is logged: debug, info, warning, error.")
    sandbox: bool | None = _setting(
        None, "true: a simulator instead of the provider, no phone rings. false: never. Unset: only while nothing of production is configured.")

    provider_url: Annotated[str, AfterValidator(_provider_url)] = _setting(PROVIDER_URL, "Where the provider takes calls.")
    provider_proxy: Annotated[str, AfterValidator(_http_url)] | None = _setting(
        None, "HTTP proxy on the way to the provider: http://proxy:3128. Proxies that the environment names are not used.")
    provider_api_key: Annotated[SecretStr, AfterValidator(_header_safe)] | None = _setting(
        None, "The provider's API key. It, or a login and password, is needed for real calls.")
    provider_login: str | None = _setting(None, "The provider's login, instead of an API key.")
    provider_password: SecretStr | None = _setting(None, "The password of that login.")
    provider_auth: Literal["header", "body"] = _setting(
        "header", "Where the API key goes: header or body. Login and password always go in the body.")
    provider_connect_timeout: float = _setting(2.0, "Seconds to connect to the provider.", gt=0, le=30)
    provider_read_timeout: float = _setting(10.0, "Seconds that the provider may send nothing, once it was asked.", gt=0, le=60)
    provider_pool_size: int = _setting(
        100, "Calls that a worker places at the same time. As many more wait; beyond that the answer is 503 at once.", ge=1, le=10_000)
    provider_pool_timeout: float = _setting(2.0, "Seconds that a start waits while so many calls are being placed; then 503.", gt=0, le=30)
    provider_breaker_failures: int = _setting(
        5, "Calls in a row that fail until a worker places none for a while. 0: it goes on, as a sandbox does unless this is set.", ge=0, le=1000)
    provider_breaker_pause: float = _setting(
        15.0, "Seconds until one call finds out whether the provider works again. Doubled with each one that fails, up to 8 times.", gt=0, le=600)

    redis_url: Annotated[str, AfterValidator(_store_url)] = _setting(
        "embedded://./data", "redis://, rediss://, unix://, redis+sentinel://, redis+cluster://, or embedded://PATH, a private Valkey server.")
    redis_timeout: float = _setting(1.0, "Seconds for Redis to connect, and to answer.", gt=0, le=30)
    redis_start_wait: float = _setting(
        10.0, "Seconds that a start waits for a Redis that is down or loading. Then the service starts all the same, and is not ready.", ge=0, le=300)
    redis_wait_replicas: int = _setting(
        0, "Replicas that must have a reservation before its call is placed, and an attempt before it is answered; 0: none.", ge=0, le=10)
    redis_wait_timeout: float = _setting(0.3, "Seconds that these replicas have for that; then 503. Less than REDIS_TIMEOUT.", ge=0.001, le=30)
    key_prefix: Annotated[str, AfterValidator(_key_prefix)] = _setting(
        "{lastdigits}:", "What all keys in Redis begin with, a name in braces. Deployments that share a Redis need one each.")
    pepper: PepperText | None = _setting(
        None, "The digest key: at least 32 random bytes. Made and kept beside the embedded store; else required.")
    pepper_previous: PepperText | None = _setting(None, "The digest key before this one, during a rotation: leave it set for a day.")

    clients_file: Path | None = _setting(None, "TOML file of the clients that may call. Required outside the sandbox.")
    trusted_proxies: Annotated[TrustedProxies, PlainValidator(TrustedProxies.parse)] = _setting(
        "", "Addresses and networks of your own proxies: only from these a forwarding header counts.")
    issuer: Annotated[str, AfterValidator(_issuer)] = _setting(
        "lastdigits", "The iss of verification tokens. Take the service's public URL; every verifier must know it.")
    signing_keys_file: Path | None = _setting(
        None, "JWK set or PEM file of the keys that sign verification tokens. Made and kept beside the embedded store; else required.")

    code_length: int = _setting(4, "Fewest digits of a code, 4 to 6. Codes get longer while someone guesses at a phone.", ge=4, le=6)
    verification_ttl: int = _setting(300, "Seconds that a code is valid, 30 to 600.", ge=30, le=MAX_LIFETIME)
    max_attempts: int = _setting(3, "Wrong codes that one verification allows, 1 to 10.", ge=1, le=10)
    approval_repeat_window: int = _setting(60, "Seconds in which the right code gets the same approval again.", ge=0, le=300)
    max_guess_probability: float = _setting(
        0.001, "Probability that all guesses at one phone in 24 hours may add up to. As it fills, codes grow to 6 digits.", ge=0.00001, lt=1)
    resend_cooldowns: Annotated[tuple[int, ...], PlainValidator(_cooldowns)] = _setting(
        "30,60,300", "Seconds until a phone may be called again: after the first call, the second, …")
    calls_per_phone: Rates = _setting("5/hour, 10/day", "Limits on calls to one phone, starts and resends.")
    calls_per_ip: Rates = _setting("20/hour", "Limits on calls for one address that no approval followed. An IPv6 /64 is one address.")
    calls_total: Rates = _setting("100/second", "Limits on calls of all clients together.")
    public_share: float = _setting(0.5, "Share of every common budget that requests with a public key may use, 0 to 1.", ge=0, le=1)
    challenge: Literal["never", "auto", "always"] = _setting(
        "auto", "When a start with a public key must bring a solved challenge: never, auto (while there are signs of abuse), always.")
    challenge_provider: Literal["altcha", "smartcaptcha", "turnstile", "hcaptcha"] = _setting(
        "altcha", "Who makes challenges: altcha (built in, no third party), smartcaptcha, turnstile, hcaptcha.")
    challenge_site_key: str | None = _setting(None, "The site key at a challenge provider other than altcha.")
    challenge_secret_key: SecretStr | None = _setting(None, "The secret key at that provider.")
    allowed_countries: Annotated[frozenset[str], PlainValidator(_countries)] = _setting(
        "RU", "Countries that are called, as ISO 3166-1 codes: RU,KZ")
    default_region: Annotated[str, AfterValidator(_country)] = _setting(
        "RU", "The country whose national spelling of numbers is understood.")
    test_numbers: Annotated[Mapping[str, str], PlainValidator(_test_numbers)] = _setting(
        "", "Numbers with fixed codes that are never called: +79990000001=0000,+79990000002=1234")

    spend_per_hour: Money = _setting("100", "Money that all calls may cost in any hour, in the provider's currency.")
    spend_per_day: Money = _setting("1000", "Money that all calls may cost in any 24 hours.")
    spend_per_country: Annotated[Mapping[str, tuple[Rate, ...]], PlainValidator(_country_caps)] = _setting(
        "", "Caps by country, besides those of all calls: KZ 50/hour, 200/day; BY 20/day")
    expected_price: Money = _setting(
        "0.35", "What a call is expected to cost: reserved before the call, corrected by the provider's answer.")
    fraud_min_conversion: float = _setting(
        0.2, "Share of calls to a country or range that must lead to an approval, else it is suspended for a while; 0: never.", ge=0, le=1)
    fraud_calls_per_range: int = _setting(50, "Calls an hour to ten thousand numbers before that share is required.", ge=1, le=10**6)
    fraud_calls_per_country: int = _setting(1000, "Calls an hour to a country before that share is required.", ge=1, le=10**9)
    spray_alert: int = _setting(
        100, "Verifications an hour with a wrong code that raise an alert, if more than half of the approved ones; 0: never.", ge=0, le=10**9)

    simulator_host: Host = _setting("127.0.0.1", "Sandbox: address of the simulator and its page.")
    simulator_port: int = _setting(8001, "Sandbox: port of the simulator; 0 takes a free one.", ge=0, le=65535)
    # fmt: on

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as of BaseSettings
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """See pydantic-settings: the sources, the first one that has a value wins."""
        return init_settings, _Environment(settings_cls), dotenv_settings, file_secret_settings

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, given: object, info: Any) -> object:  # noqa: ANN401  pydantic's own, generic in its context
        """A text without the spaces and the one pair of quotes around it, which `docker --env-file` hands on; the default for an empty one."""
        if not isinstance(given, str):
            return given
        text = unquoted(given)
        field = cls.model_fields[info.field_name]
        return (text.lower() if get_origin(field.annotation) is Literal else text) or field.default


def unquoted(text: str) -> str:
    """A text without the white space, the byte order mark and the one pair of quotes around it: people copy them with it."""
    text = text.strip().strip("\ufeff")
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1].strip() if quoted else text


def described() -> list[tuple[str, str, str]]:
    """Each setting's name, default as text, and sentence: what `.env.example` and docs/settings.md are held against."""
    return [
        (PREFIX + name.upper(), "" if info.default is None else str(info.default), info.description or "")
        for name, info in Values.model_fields.items()
    ]


# ---- what the program is given


Read = TypeVar("Read")


class SettingsError(LastdigitsError):
    """Invalid settings.

    `problems` has all of them, a sentence with its fix each, and `sources` where settings were read.
    """

    def __init__(self, problems: list[str], sources: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join(("invalid configuration:", *(f"  - {problem}" for problem in problems))))
        self.problems, self.sources = problems, sources


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """How to reach the provider and prove who we are. Times in seconds."""

    url: str = field(repr=False)
    proxy: str | None = field(repr=False)
    api_key: SecretStr | None
    login: str | None = field(repr=False)
    password: SecretStr | None
    key_in_body: bool
    connect_timeout: float
    read_timeout: float
    pool_size: int
    pool_timeout: float
    breaker_failures: int
    breaker_pause: float


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked together. Those without a comment are described in `Values`.

    A sandbox has a store and keys of its own, and its simulator for a provider. What the service makes for itself at its start is None until then:
    the pepper, signing keys and, in a sandbox, clients.
    """

    host: str
    port: int
    workers: int
    log_format: str
    log_level: str
    sandbox: bool  # whether calls go to the simulator: no phone rings
    provider: ProviderSettings  # in a sandbox without an address and a key until the simulator runs
    simulator_host: str
    simulator_port: int
    redis_url: str = field(repr=False)
    redis_timeout: float
    redis_start_wait: float
    replication: Replication
    key_prefix: str
    pepper: SecretStr | None
    pepper_previous: SecretStr | None
    clients: Clients | None
    clients_file: Path | None
    proxies: TrustedProxies
    issuer: str
    signing_keys: SecretStr | None  # the text of the file
    signing_keys_file: Path | None
    keys: Path | None  # the directory of the keys that the service makes for itself; None where all are given
    policy: Policy
    challenge_provider: str
    challenge_site_key: str | None
    challenge_secret_key: SecretStr | None
    sources: tuple[str, ...] = ()  # where settings were read and which, for a person
    warnings: tuple[str, ...] = ()  # what an operator should know though the service starts
    demo: DemoContext | None = None  # in a sandbox, what its demo page needs

    @property
    def embedded(self) -> Path | None:
        """The embedded store's directory; None for a server of the operator's."""
        return _embedded(self.redis_url)


def load_settings(dotenv: Path | None = Path(".env")) -> Settings:
    """Read and check all settings together.

    Args:
        dotenv: the file beside the environment; None for none.

    Raises:
        SettingsError: with every problem there is.
    """
    secrets, file = secret_files(SECRETS_DIR), dotenv_file(dotenv) if dotenv else None
    sources = [source for source in (environment(), file, secrets) if source]
    problems = [problem for source in sources for problem in source.problems]
    problems += unknown_names(sources, {name for name, _, _ in described()})
    given_by = {
        "_env_file": dotenv if file and file.readable else None,
        "_secrets_dir": SECRETS_DIR if secrets.readable and secrets.given else None,
    }
    values, bad = _values(given_by)
    problems += bad.values()
    settings, combined = _combine(values, bad.keys(), sources)
    if all(source.readable for source in sources):
        # What could not be read may be what seems to be missing.
        problems += combined
    if problems:
        raise SettingsError(problems, settings.sources)
    return settings


def _values(given_by: dict[str, Any]) -> tuple[Values, dict[str, str]]:
    """The values, with the defaults in place of those that are invalid; and these fields' problems."""
    logging.getLogger("dotenv").setLevel(logging.ERROR)  # it warns of lines that `dotenv_file` has reported
    try:
        return Values(**given_by), {}
    except ValidationError as error:
        bad = {str(each["loc"][0]): each["msg"] for each in error.errors(include_url=False, include_input=False)}
    for name, message in bad.items():
        bad[name] = _named(name, message.removeprefix("Value error, ").replace("Input should", "it should"))
    return Values(**given_by, **{name: Values.model_fields[name].default for name in bad}), bad


def _named(name: str, sentence: str) -> str:
    return f"{PREFIX}{name.upper()}: {sentence}"


# ---- settings against each other


_MISSING = {
    "clients_file": "no client may call: `lastdigits keys new --id backend --kind secret >> clients.toml` makes one; set it to clients.toml",
    "signing_keys_file": "every instance needs the same: `lastdigits keys signing signing-keys.json` makes it; set it to signing-keys.json",
    "pepper": f"every instance needs the same: {_NEW_PEPPER}",
}


def _combine(values: Values, bad: Collection[str], sources: list[Source]) -> tuple[Settings, list[str]]:
    """Check the settings against each other, and build what the program is given."""
    sandbox, problems = _mode(values, bad, sources)
    directory, policy = _embedded(values.redis_url), _policy(values)
    required = [] if sandbox else ["clients_file"] if directory else list(_MISSING)
    missing = [name for name in required if getattr(values, name) is None and name not in bad]
    problems += [_named(name, f"it is missing; {_MISSING[name]}") for name in missing]
    if values.pepper_previous and values.pepper is None and "pepper" not in bad:
        problems.append(_named("pepper_previous", f"it is set, but {PREFIX}PEPPER is not: set the new one too"))
    if values.pepper and values.pepper_previous and _fingerprint(values.pepper) == _fingerprint(values.pepper_previous):
        problems.append(
            _named("pepper", f"it has the same fingerprint as PEPPER_PREVIOUS, as one in 256 has: {_NEW_PEPPER}")
        )
    clients = _read(values.clients_file, lambda path: load_clients(path, policy), "clients_file", problems)
    signing_keys = _read(values.signing_keys_file, read_signing_keys, "signing_keys_file", problems)
    problems += _challenge(values) + _replication(values, embedded=directory is not None)
    problems += [PREFIX + sentence for sentence in policy.problems()]
    root = (directory or Path("data")) / "sandbox" if sandbox else directory
    own = {
        "sandbox": sandbox,
        "provider": _provider(values, sandbox=sandbox),
        "redis_url": f"embedded://{root}" if directory else values.redis_url,
        "key_prefix": values.key_prefix + ("sandbox:" if sandbox else ""),
        "keys": keys_directory(root) if root else None,
        "clients": clients,
        "proxies": values.trusted_proxies,
        "signing_keys": signing_keys,
        "policy": policy,
        "replication": Replication(values.redis_wait_replicas, values.redis_wait_timeout),
        "sources": tuple(map(str, sources)),
        "warnings": tuple(_warnings(values, policy, sandbox=sandbox)),
    }
    same = {each.name: getattr(values, each.name) for each in fields(Settings) if each.name in Values.model_fields}
    return Settings(**same | own), problems


def _fingerprint(pepper: SecretStr) -> bytes:
    return Pepper(pepper.get_secret_value().encode("utf-8", "surrogateescape")).fingerprint


def _read(path: Path | None, read: Callable[[Path], Read], name: str, problems: list[str]) -> Read | None:
    try:
        return read(path) if path else None
    except (ClientsError, SigningKeyError) as error:
        problems.append(_named(name, str(error)))
        return None


def read_signing_keys(path: Path) -> SecretStr:
    """The text of a file of signing keys, which `parse_signing_keys` accepts.

    Raises:
        SigningKeyError: it can't be read, or its keys are invalid; the message names the file and the fix.
    """
    try:
        text = path.read_text("utf-8-sig")
        parse_signing_keys(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise SigningKeyError(f"{path} can't be read: {reason}") from error
    except SigningKeyError as error:
        raise SigningKeyError(f"{path}: {error}") from None
    return SecretStr(text)


_PRODUCTION = [
    "provider_url", "provider_proxy", "clients_file", "redis_url", "pepper", "pepper_previous", "signing_keys_file", "challenge_secret_key",
]  # fmt: skip
"""With any of these set, and no provider, it takes a word of the operator's to be a sandbox."""

_CREDENTIALS = ("provider_api_key", "provider_login", "provider_password")


def _mode(values: Values, bad: Collection[str], sources: list[Source]) -> tuple[bool, list[str]]:
    """Whether this is a sandbox; and what is wrong with the provider's credentials."""
    given = [name for name in _CREDENTIALS if getattr(values, name) or name in bad]
    if values.sandbox or "sandbox" in bad:
        fix = f"unset it, or set {PREFIX}SANDBOX=false for real calls"
        problem = _named("sandbox", f"it is true, but {_these(given, 'set')}: {fix}")
        return True, [problem] if values.sandbox and given else []
    if given:
        return False, _credentials(given)
    marks = [name for name in _PRODUCTION if name in bad or getattr(values, name) != Values.model_fields[name].default]
    blank = [name for name in _CREDENTIALS if any(PREFIX + name.upper() in source.blank for source in sources)]
    if values.sandbox is None and not marks and not blank:
        return True, []
    why = f"{PREFIX}SANDBOX is false" if values.sandbox is False else _these(marks, "set") or _these(blank, "empty")
    fix = f"set it (or PROVIDER_LOGIN and PROVIDER_PASSWORD), or set {PREFIX}SANDBOX=true to call no phone"
    return False, [_named("provider_api_key", f"it is missing, and {why}: {fix}")]


def _credentials(given: list[str]) -> list[str]:
    if given in (["provider_api_key"], ["provider_login", "provider_password"]):
        return []
    if "provider_api_key" in given:
        return [_named("provider_api_key", f"{_these(given[1:], 'set')} too: choose one of the two ways")]
    missing = "provider_password" if "provider_login" in given else "provider_login"
    return [_named(missing, "login and password go together: set it too")]


def _these(names: list[str], what: str) -> str:
    """`LASTDIGITS_PEPPER is set`, `LASTDIGITS_PEPPER and LASTDIGITS_REDIS_URL are set`; nothing for none."""
    listed = " and ".join(PREFIX + name.upper() for name in names)
    return listed and f"{listed} {'is' if len(names) == 1 else 'are'} {what}"


def _provider(values: Values, *, sandbox: bool) -> ProviderSettings:
    same = {each.name for each in fields(ProviderSettings)} - {"key_in_body"}
    given = {name: getattr(values, f"provider_{name}") for name in same}
    provider = ProviderSettings(key_in_body=values.provider_auth == "body", **given)
    if not sandbox:
        return provider
    # The simulator has the time limits that were set, and nothing that belongs to the real provider. Who tries its misbehaviour, one number after the
    # other, expects each call to be placed: so no breaker, unless one was asked for.
    failures = values.provider_breaker_failures if "provider_breaker_failures" in values.model_fields_set else 0
    plain = replace(provider, url="", proxy=None, api_key=None, login=None, password=None, key_in_body=False)
    return replace(plain, breaker_failures=failures)


def _challenge(values: Values) -> list[str]:
    """The keys of a challenge provider: for one that is remote, and for no other."""
    remote = values.challenge_provider != "altcha"
    wrong = [name for name in ("challenge_site_key", "challenge_secret_key") if bool(getattr(values, name)) != remote]
    fix = "set it, or choose altcha" if remote else "unset it, or set CHALLENGE_PROVIDER"
    needs = "needs it" if remote else "needs no key"
    return [_named(name, f"CHALLENGE_PROVIDER is {values.challenge_provider}, which {needs}: {fix}") for name in wrong]


def _replication(values: Values, *, embedded: bool) -> list[str]:
    """Replicas to wait for: of a server that can have some, and within the time that the server has to answer."""
    if not values.redis_wait_replicas:
        return []
    if embedded:
        return [_named("redis_wait_replicas", "the embedded store has no replicas: unset it, or set REDIS_URL")]
    if values.redis_wait_timeout >= values.redis_timeout:
        return [_named("redis_wait_timeout", "it must be less than REDIS_TIMEOUT: set a smaller one")]
    return []


def _embedded(url: str) -> Path | None:
    where = parse_url(url)
    return where.path if where.kind == "embedded" else None


def _warnings(values: Values, policy: Policy, *, sandbox: bool) -> list[str]:
    """What an operator should know though the settings are valid."""
    warnings = [
        f"{PREFIX}{name.upper()} has no effect in a sandbox"
        for name in ("provider_url", "provider_proxy")
        if sandbox and getattr(values, name) != Values.model_fields[name].default
    ]
    for lane in ("public", "trusted"):
        first = policy.guesses.first_length(policy.code_length, public=lane == "public")
        if first != policy.code_length:
            warnings.append(
                f"{PREFIX}CODE_LENGTH is {policy.code_length}, but in the {lane} lane codes have {first} digits from the start: MAX_ATTEMPTS guesses at "
                "one code do not fit under MAX_GUESS_PROBABILITY with fewer; `lastdigits policy` shows the sum"
            )
    return warnings


def _policy(values: Values) -> Policy:
    longest_call = values.provider_pool_timeout + 2 * values.provider_connect_timeout + values.provider_read_timeout
    caps = (Rate(cap_units(values.spend_per_hour), 3600), Rate(cap_units(values.spend_per_day), 86400))
    return Policy(
        phones=PhoneRules(values.default_region, values.allowed_countries, frozenset(values.test_numbers)),
        code_length=values.code_length,
        ttl=values.verification_ttl,
        max_attempts=values.max_attempts,
        cooldowns=values.resend_cooldowns,
        calls_per_phone=values.calls_per_phone,
        calls_per_ip=values.calls_per_ip,
        calls_total=values.calls_total,
        public_share=values.public_share,
        guesses=GuessBudget.of(
            values.max_guess_probability, values.max_attempts, values.calls_per_phone, values.public_share
        ),
        spending=Spending(price_units(values.expected_price), caps, values.spend_per_country),
        challenge=When(values.challenge),
        guard=Guard(
            min_conversion=math.ceil(values.fraud_min_conversion * 1000),
            calls_per_country=values.fraud_calls_per_country,
            calls_per_range=values.fraud_calls_per_range,
            public_share=values.public_share,
            spray=values.spray_alert,
        ),
        test_numbers=values.test_numbers,
        approval_repeat_window=values.approval_repeat_window,
        call_deadline=int(longest_call + 4 * values.redis_timeout) + 5,
    )
