"""Every setting: its default, unit, check and sentence. What is wrong is told in one list, each with its mend.

Read from the environment (prefix `LASTDIGITS_`), `.env`, and files of secrets (`/run/secrets/lastdigits_pepper`), in this order. An empty variable
counts as unset. `load_settings` yields frozen values; nothing below main.py imports this file.
"""

import difflib
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import phonenumbers
from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, create_model
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.api.clients import Clients, ClientsError, load_clients
from app.store.connect import embedded_path, url_fault
from app.verification.keyring import LEAST_PEPPER_BYTES
from app.verification.phone import PhoneRules
from app.verification.policy import Policy, parse_rates

PREFIX = "LASTDIGITS_"
PROVIDER_URL = "https://voice.mobilgroup.ru/api/call-password/send/"
SECRETS_DIR = Path("/run/secrets")

NOT_IN_FORCE = (
    *("SIGNING_KEYS_FILE", "GUESS_BOUND", "SPEND_PER_HOUR", "SPEND_PER_DAY", "EXPECTED_PRICE"),
    *("STARTS_PER_IP", "WRONG_GUESSES_PER_IP", "TRUSTED_PROXIES", "TEST_NUMBERS"),
)
"""Settings of the contract that this version reads and checks but does not act on yet. Setting one is answered with a warning at start-up."""


class SettingsError(Exception):
    """Settings that can't stand: every fault, a sentence with its mend each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


# ---- checks of single values


def _checked(fault: Callable[[str], str | None]) -> AfterValidator:
    def check(text: str) -> str:
        if sentence := fault(text):
            raise ValueError(sentence)
        return text

    return AfterValidator(check)


def _parses(parse: Callable[[str], object]) -> AfterValidator:
    """Check that a text can be parsed, and leave it a text."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def _http_fault(url: str) -> str | None:
    parts = urlsplit(url)
    whole = parts.scheme in {"http", "https"} and parts.hostname
    return None if whole else "write it like https://voice.mobilgroup.ru/api/call-password/send/"


def _pepper(secret: SecretStr) -> SecretStr:
    raw = secret.get_secret_value().encode()
    if len(raw) < LEAST_PEPPER_BYTES or len(set(raw)) < 8:  # noqa: PLR2004  fewer different characters were typed, not drawn
        msg = f"it must have at least {LEAST_PEPPER_BYTES} random bytes: python3 -c 'import secrets; print(secrets.token_hex(32))'"
        raise ValueError(msg)
    return secret


def _header_safe(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise ValueError("it must be printable ASCII without spaces around it: copy it again")
    return secret


def _ladder(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts):  # noqa: PLR2004  nine digits are thirty years
        raise ValueError("write whole seconds with commas: 30,60,300")
    return tuple(int(part) for part in parts)


def _regions(text: str) -> frozenset[str]:
    regions = frozenset(part.strip().upper() for part in text.split(",") if part.strip())
    unknown = sorted(regions - phonenumbers.SUPPORTED_REGIONS)
    if unknown or not regions:
        raise ValueError(f"{', '.join(unknown) or 'nothing'} is no country: write ISO 3166-1 codes like RU,KZ")
    return regions


def _networks_fault(text: str) -> str | None:
    for part in text.split(","):
        try:
            ip_network(part.strip(), strict=False)
        except ValueError:
            return f"{part.strip()!r} is no address or network: write them like 10.0.0.0/8, 2001:db8::/32"
    return None


def _test_numbers_fault(text: str) -> str | None:
    pairs = [part.strip().partition("=") for part in text.split(",")]
    whole = all(phone.startswith("+") and phone[1:].isdecimal() and code.isdecimal() and 4 <= len(code) <= 6 for phone, _, code in pairs)  # noqa: PLR2004  a code's digits
    return None if whole else "write numbers with their codes: +79990000001=0000,+79990000002=1234"


Rates = Annotated[str, _parses(parse_rates)]
Cap = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class _Values(BaseModel):
    """Every setting, its default and its check. The description is its sentence in `.env.example` and docs/settings.md."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    host: Annotated[str, Field(description="Address to listen on. A container sets 0.0.0.0.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port to listen on; 0 takes a free one.")] = 8000
    workers: Annotated[int, Field(ge=1, le=256, description="Processes that answer requests.")] = 1
    log_format: Annotated[
        Literal["auto", "json", "console"], Field(description="How logs look: json, console, or auto: console on a terminal.")
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="The quietest level that is still logged.")
    ] = "info"

    provider_url: Annotated[
        str, _checked(_http_fault), Field(description="Where the provider takes calls.")
    ] = PROVIDER_URL
    provider_api_key: Annotated[
        Annotated[SecretStr, AfterValidator(_header_safe)] | None,
        Field(description="The provider's API key. Without it or a login the service runs as a sandbox."),
    ] = None
    provider_login: Annotated[str | None, Field(description="The provider's login, instead of an API key.")] = None
    provider_password: Annotated[SecretStr | None, Field(description="The password of that login.")] = None
    provider_auth: Annotated[
        Literal["header", "body"], Field(description="Where the API key goes. Login and password always go in the body.")
    ] = "header"
    provider_connect_timeout: Annotated[float, Field(gt=0, le=30, description="Seconds to connect to the provider.")] = 2.0
    provider_read_timeout: Annotated[float, Field(gt=0, le=60, description="Seconds for the provider's whole answer.")] = 10.0
    provider_pool_size: Annotated[int, Field(ge=1, le=10000, description="Calls that a worker places at once.")] = 100
    provider_pool_timeout: Annotated[
        float, Field(gt=0, le=30, description="Seconds to wait for one of these to be free, before a start is answered with 503.")
    ] = 2.0

    redis_url: Annotated[
        str, _checked(url_fault), Field(description="redis://, rediss:// or embedded://PATH, a private Valkey server.")
    ] = "embedded://./data"
    redis_timeout: Annotated[float, Field(gt=0, le=30, description="Seconds for Redis to connect, and to answer.")] = 1.0
    pepper: Annotated[
        Annotated[SecretStr, AfterValidator(_pepper)] | None,
        Field(description="The digest key: at least 32 random bytes. Made and kept beside the embedded store; else required."),
    ] = None
    pepper_previous: Annotated[
        Annotated[SecretStr, AfterValidator(_pepper)] | None,
        Field(description="The digest key before this one, while rotating: keep it set for a day."),
    ] = None
    clients_file: Annotated[
        Path | None, Field(description="TOML file of the clients that may call. Required outside the sandbox.")
    ] = None

    code_length: Annotated[int, Field(ge=4, le=6, description="Digits of a code, 4 to 6.")] = 4
    verification_ttl: Annotated[int, Field(description="Seconds that a code is taken, 30 to 600.")] = 300
    max_attempts: Annotated[int, Field(description="Wrong codes that one verification bears, 1 to 10.")] = 3
    approval_grace: Annotated[
        int, Field(ge=0, le=600, description="Seconds in which the right code is told its approval again.")
    ] = 60
    resend_ladder: Annotated[
        str, _parses(_ladder), Field(description="Seconds until a phone may be called again: after the first call, the second, …")
    ] = "30,60,300"
    starts_per_phone: Annotated[Rates, Field(description="Limits on calls to one phone.")] = "5/hour, 10/day"
    allowed_countries: Annotated[
        str, _parses(_regions), Field(description="Countries that are called, as ISO 3166-1 codes.")
    ] = "RU"
    default_region: Annotated[
        str, _parses(_regions), Field(description="The country whose national spelling is understood.")
    ] = "RU"

    simulator_host: Annotated[str, Field(description="Sandbox: address of the simulator and its page.")] = "127.0.0.1"
    simulator_port: Annotated[int, Field(ge=0, le=65535, description="Sandbox: port of the simulator; 0 takes a free one.")] = 8001

    signing_keys_file: Annotated[Path | None, Field(description="Keys that sign proofs.")] = None
    guess_bound: Annotated[float, Field(gt=0, lt=1, description="Chance per phone and day that all guesses may add up to.")] = 0.001
    spend_per_hour: Annotated[Cap, Field(description="Most money for calls in an hour, in the provider's currency.")] = Decimal(100)
    spend_per_day: Annotated[Cap, Field(description="Most money for calls in a day.")] = Decimal(1000)
    expected_price: Annotated[Cap, Field(description="What a call is expected to cost.")] = Decimal("0.35")
    starts_per_ip: Annotated[Rates, Field(description="Limits on starts from one address.")] = "20/hour"
    wrong_guesses_per_ip: Annotated[Rates, Field(description="Limits on wrong codes from one address.")] = "30/hour"
    trusted_proxies: Annotated[
        Annotated[str, _checked(_networks_fault)] | None,
        Field(description="Addresses and networks whose forwarding headers count."),
    ] = None
    test_numbers: Annotated[
        Annotated[str, _checked(_test_numbers_fault)] | None,
        Field(description="Numbers with fixed codes that are never called."),
    ] = None


# ---- what the rest of the program is given


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """How to reach the provider and prove who we are."""

    url: str
    api_key: SecretStr | None
    login: str | None
    password: SecretStr | None
    key_in_body: bool
    connect_timeout: float
    read_timeout: float
    pool_size: int
    pool_timeout: float


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked together.

    Attributes:
        provider: None in the sandbox until its simulator has an address.
        clients: None in the sandbox without a clients file: keys are made.
        pepper: None where it is still to be made: beside the embedded store, or in the sandbox.
        sandbox: whether calls go to the simulator: no phone rings.
        warnings: what an operator should know though the service starts.
    """

    host: str
    port: int
    workers: int
    log_format: str
    log_level: str
    provider: ProviderSettings | None
    redis_url: str = field(repr=False)  # it may carry a password
    redis_timeout: float
    pepper: SecretStr | None
    pepper_previous: SecretStr | None
    clients: Clients | None
    policy: Policy
    simulator_host: str
    simulator_port: int
    sandbox: bool
    warnings: tuple[str, ...] = ()

    @property
    def embedded(self) -> Path | None:
        """The embedded store's directory; None for a server of the operator's."""
        return embedded_path(self.redis_url)


def load_settings(dotenv: Path | None = Path(".env")) -> Settings:
    """Read and check all settings together.

    Args:
        dotenv: the file beside the environment; None for none.

    Raises:
        SettingsError: with every fault there is.
    """
    raw, faults = _read(dotenv)
    values, bad = _validate(raw)
    settings, rest = _combine(values, raw, bad.keys())
    if faults := [*faults, *bad.values(), *rest]:
        raise SettingsError(faults)
    return settings


def described() -> list[tuple[str, str, str]]:
    """Each setting's name, default as text, and sentence: what `.env.example` and the documents are held against."""
    return [
        (PREFIX + name.upper(), "" if info.default is None else str(info.default), info.description or "")
        for name, info in _Values.model_fields.items()
    ]


class _Sources(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)


_Raw = create_model("_Raw", __base__=_Sources, **{name: (str | None, None) for name in _Values.model_fields})  # type: ignore[call-overload]  # mypy can't see that the names are fields
"""The same settings as plain texts: pydantic-settings finds them, `_Values` judges them all at once."""


def _read(dotenv: Path | None) -> tuple[dict[str, str], list[str]]:
    """What is set, by field; and a fault for each name with our prefix that is no setting."""
    raw = _Raw(_env_file=dotenv, _secrets_dir=SECRETS_DIR if SECRETS_DIR.is_dir() else None)
    found = {name: value for name, value in raw.model_dump().items() if value is not None and value.strip()}
    named = {*os.environ, *(dotenv_values(dotenv) if dotenv else ())}
    known = {PREFIX + name.upper() for name in _Values.model_fields}
    faults = []
    for name in sorted({name.upper() for name in named if name.upper().startswith(PREFIX)} - known):
        near = difflib.get_close_matches(name, known, 1)
        faults.append(f"{name}: there is no such setting{f': did you mean {near[0]}?' if near else ''}")
    return found, faults


def _validate(raw: dict[str, str]) -> tuple[_Values, dict[str, str]]:
    """The values, with defaults in place of those that can't stand; and these fields' faults."""
    try:
        return _Values.model_validate(raw), {}
    except ValidationError as fault:
        errors = fault.errors(include_url=False, include_input=False, include_context=False)
    bad = {
        str(error["loc"][0]): f"{PREFIX}{str(error['loc'][0]).upper()}: {error['msg'].removeprefix('Value error, ')}"
        for error in errors
    }
    return _Values.model_validate({name: value for name, value in raw.items() if name not in bad}), bad


def _combine(values: _Values, raw: dict[str, str], bad: Collection[str]) -> tuple[Settings, list[str]]:
    """Check the settings against each other, and build what the program is given."""
    provider, faults = _provider(values, raw)
    clients, more = _clients(values, sandbox=provider is None)
    embedded = embedded_path(values.redis_url) is not None
    policy = _policy(values)
    faults += more + [f"{PREFIX}{sentence}" for sentence in policy.faults()]
    if values.pepper is None and "pepper" not in bad and not embedded and provider is not None:
        faults.append(
            f"{PREFIX}PEPPER: it is needed with a Redis of your own: python3 -c 'import secrets; print(secrets.token_hex(32))' makes one"
        )
    if values.pepper_previous and values.pepper is None and "pepper" not in bad:
        faults.append(f"{PREFIX}PEPPER_PREVIOUS: it is set, but {PREFIX}PEPPER is not: set the new one beside it")
    if len(_regions(values.default_region)) != 1:
        faults.append(f"{PREFIX}DEFAULT_REGION: name one country")
    settings = Settings(
        values.host, values.port, values.workers, values.log_format, values.log_level, provider, values.redis_url,
        values.redis_timeout, values.pepper, values.pepper_previous, clients, policy, values.simulator_host, values.simulator_port, provider is None,
        tuple(
            f"{PREFIX}{name} is set, but this version does not act on it yet" for name in NOT_IN_FORCE if name.lower() in raw
        ),
    )  # fmt: skip
    return settings, faults


def _provider(values: _Values, raw: dict[str, str]) -> tuple[ProviderSettings | None, list[str]]:
    key, login, password = values.provider_api_key, values.provider_login, values.provider_password
    faults = []
    if key and (login or password):
        faults.append(f"{PREFIX}PROVIDER_API_KEY: a login or password is set too: keep one of the two ways")
    if bool(login) != bool(password):
        missing = "PROVIDER_PASSWORD" if login else "PROVIDER_LOGIN"
        faults.append(f"{PREFIX}{missing}: login and password go together: set it too")
    if not (key or login or password):
        if "provider_url" in raw and "provider_api_key" not in raw:
            faults.append(
                f"{PREFIX}PROVIDER_URL: it is set without credentials: set {PREFIX}PROVIDER_API_KEY, or unset it for the sandbox"
            )
        return None, faults
    return ProviderSettings(
        values.provider_url, key, login, password, values.provider_auth == "body", values.provider_connect_timeout,
        values.provider_read_timeout, values.provider_pool_size, values.provider_pool_timeout,
    ), faults  # fmt: skip


def _clients(values: _Values, *, sandbox: bool) -> tuple[Clients | None, list[str]]:
    if values.clients_file is None:
        if sandbox:
            return None, []
        return None, [
            f"{PREFIX}CLIENTS_FILE: no client may call: lastdigits keys new --id backend --kind secret >> clients.toml, and set "
            f"{PREFIX}CLIENTS_FILE=clients.toml"
        ]
    try:
        return load_clients(values.clients_file), []
    except ClientsError as fault:
        return None, [f"{PREFIX}CLIENTS_FILE: {fault}"]


def _policy(values: _Values) -> Policy:
    longest_call = values.provider_pool_timeout + 2 * values.provider_connect_timeout + values.provider_read_timeout
    return Policy(
        phones=PhoneRules(min(_regions(values.default_region)), _regions(values.allowed_countries)),
        code_length=values.code_length,
        ttl=values.verification_ttl,
        max_attempts=values.max_attempts,
        ladder=_ladder(values.resend_ladder),
        starts_per_phone=parse_rates(values.starts_per_phone),
        approval_grace=values.approval_grace,
        call_deadline=int(longest_call + 4 * values.redis_timeout) + 5,
    )
