"""Settings: read from the environment (prefix `LASTDIGITS_`), `.env`, and files of secrets (`/run/secrets/lastdigits_pepper`), in this order.

What is wrong is told in one list, each with its mend. An empty variable counts as unset. `load_settings` yields frozen values; nothing below
main.py imports this file.
"""

import difflib
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError, create_model
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.api.address import TrustedProxies
from app.api.clients import Clients, ClientsError, load_clients
from app.settings_table import PREFIX, Values, parse_cooldowns, parse_regions
from app.store.connection import embedded_path
from app.verification.guard import Guard
from app.verification.guess_budget import GuessBudget
from app.verification.money import Spending, cap_units, parse_country_caps, price_units
from app.verification.phone import PhoneRules, parse_test_numbers
from app.verification.policy import Policy
from app.verification.rates import Rate, parse_rates
from app.verification.signing_keys import SigningKeyError, parse_signing_keys
from app.web import DemoContext

SECRETS_DIR = Path("/run/secrets")


class SettingsError(Exception):
    """Settings that can't stand: every fault, a sentence with its mend each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


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
        clients_file: where they were read, and are read again on SIGHUP.
        signing_keys: the text of the keys that sign proofs; None where they are still to be made, like the pepper.
        signing_keys_file: where they were read, and are read again on SIGHUP.
        pepper: None where it is still to be made: beside the embedded store, or in the sandbox.
        sandbox: whether calls go to the simulator: no phone rings.
        demo: what the demo page needs; None outside the sandbox.
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
    clients_file: Path | None
    proxies: TrustedProxies
    issuer: str
    signing_keys: SecretStr | None
    signing_keys_file: Path | None
    policy: Policy
    simulator_host: str
    simulator_port: int
    sandbox: bool
    demo: DemoContext | None = None
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


class _Sources(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )


_Raw = create_model("_Raw", __base__=_Sources, **dict.fromkeys(Values.model_fields, (str | None, None)))  # type: ignore[call-overload]  # mypy can't see that the names are fields
"""The same settings as plain texts: pydantic-settings finds them, `Values` judges them all at once."""


def _read(dotenv: Path | None) -> tuple[dict[str, str], list[str]]:
    """What is set, by field; and a fault for each name with our prefix that is no setting."""
    raw = _Raw(_env_file=dotenv, _secrets_dir=SECRETS_DIR if SECRETS_DIR.is_dir() else None)
    found = {name: value for name, value in raw.model_dump().items() if value is not None and value.strip()}
    named = {*os.environ, *(dotenv_values(dotenv) if dotenv else ())}
    known = {PREFIX + name.upper() for name in Values.model_fields}
    faults = []
    for name in sorted({name.upper() for name in named if name.upper().startswith(PREFIX)} - known):
        near = difflib.get_close_matches(name, known, 1)
        faults.append(f"{name}: there is no such setting{f': did you mean {near[0]}?' if near else ''}")
    return found, faults


def _validate(raw: dict[str, str]) -> tuple[Values, dict[str, str]]:
    """The values, with defaults in place of those that can't stand; and these fields' faults."""
    try:
        return Values.model_validate(raw), {}
    except ValidationError as fault:
        errors = fault.errors(include_url=False, include_input=False, include_context=False)
    bad = {
        str(error["loc"][0]): f"{PREFIX}{str(error['loc'][0]).upper()}: {error['msg'].removeprefix('Value error, ')}"
        for error in errors
    }
    return Values.model_validate({name: value for name, value in raw.items() if name not in bad}), bad


def _combine(values: Values, raw: dict[str, str], bad: Collection[str]) -> tuple[Settings, list[str]]:
    """Check the settings against each other, and build what the program is given."""
    provider, faults = _provider(values, raw)
    clients, more = _clients(values, sandbox=provider is None)
    embedded = embedded_path(values.redis_url) is not None
    policy = _policy(values)
    faults += more + [f"{PREFIX}{sentence}" for sentence in policy.faults()]
    signing_keys, more = _signing_keys(values, made=embedded or provider is None)
    faults += more
    if values.pepper is None and "pepper" not in bad and not embedded and provider is not None:
        faults.append(
            f"{PREFIX}PEPPER: it is needed with a Redis of your own: python3 -c 'import secrets; print(secrets.token_hex(32))' makes one"
        )
    if values.pepper_previous and values.pepper is None and "pepper" not in bad:
        faults.append(f"{PREFIX}PEPPER_PREVIOUS: it is set, but {PREFIX}PEPPER is not: set the new one beside it")
    if len(parse_regions(values.default_region)) != 1:
        faults.append(f"{PREFIX}DEFAULT_REGION: name one country")
    settings = Settings(
        host=values.host,
        port=values.port,
        workers=values.workers,
        log_format=values.log_format,
        log_level=values.log_level,
        provider=provider,
        redis_url=values.redis_url,
        redis_timeout=values.redis_timeout,
        pepper=values.pepper,
        pepper_previous=values.pepper_previous,
        clients=clients,
        clients_file=values.clients_file,
        proxies=TrustedProxies.parse(values.trusted_proxies),
        issuer=values.issuer,
        signing_keys=signing_keys,
        signing_keys_file=values.signing_keys_file,
        policy=policy,
        simulator_host=values.simulator_host,
        simulator_port=values.simulator_port,
        sandbox=provider is None,
        warnings=tuple(_longer_codes(policy)),
    )
    return settings, faults


def _longer_codes(policy: Policy) -> list[str]:
    """What an operator should know if the policy's own code length is never used."""
    first = policy.guesses.first_length(policy.code_length)
    warning = (
        f"{PREFIX}CODE_LENGTH is {policy.code_length}, but codes have {first} digits from the start: MAX_ATTEMPTS guesses at the codes of two "
        "calls do not fit under MAX_GUESS_PROBABILITY with fewer; `lastdigits policy` shows the sum"
    )
    return [] if first == policy.code_length else [warning]


def _provider(values: Values, raw: dict[str, str]) -> tuple[ProviderSettings | None, list[str]]:
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


def _clients(values: Values, *, sandbox: bool) -> tuple[Clients | None, list[str]]:
    if values.clients_file is None:
        if sandbox:
            return None, []
        mend = (
            f"lastdigits keys new --id backend --kind secret >> clients.toml, and set {PREFIX}CLIENTS_FILE=clients.toml"
        )
        return None, [f"{PREFIX}CLIENTS_FILE: no client may call: {mend}"]
    try:
        return load_clients(values.clients_file), []
    except ClientsError as fault:
        return None, [f"{PREFIX}CLIENTS_FILE: {fault}"]


def _signing_keys(values: Values, *, made: bool) -> tuple[SecretStr | None, list[str]]:
    if values.signing_keys_file is None:
        mend = f"`lastdigits keys signing signing-keys.json` makes them, then set {PREFIX}SIGNING_KEYS_FILE=signing-keys.json"
        return None, [] if made else [f"{PREFIX}SIGNING_KEYS_FILE: proofs need keys that every instance has: {mend}"]
    try:
        return read_signing_keys(values.signing_keys_file), []
    except SigningKeyError as fault:
        return None, [f"{PREFIX}SIGNING_KEYS_FILE: {fault}"]


def read_signing_keys(path: Path) -> SecretStr:
    """The text of a file of signing keys, which `parse_signing_keys` finds no fault with.

    Raises:
        SigningKeyError: it can't be read, or its keys can't stand; the message names the file and the mend.
    """
    try:
        text = path.read_text("utf-8")
        parse_signing_keys(text)
    except (OSError, UnicodeDecodeError) as fault:
        reason = getattr(fault, "strerror", None) or "it is not UTF-8"
        raise SigningKeyError(f"{path} can't be read: {reason}") from fault
    except SigningKeyError as fault:
        raise SigningKeyError(f"{path}: {fault}") from None
    return SecretStr(text)


def _spending(values: Values) -> Spending:
    caps = (Rate(cap_units(values.spend_per_hour), 3600), Rate(cap_units(values.spend_per_day), 86400))
    by_country = parse_country_caps(values.spend_per_country) if values.spend_per_country else {}
    return Spending(price_units(values.expected_price), caps, by_country)


def _policy(values: Values) -> Policy:
    longest_call = values.provider_pool_timeout + 2 * values.provider_connect_timeout + values.provider_read_timeout
    calls_per_phone = parse_rates(values.calls_per_phone)
    test_numbers = parse_test_numbers(values.test_numbers) if values.test_numbers else {}
    return Policy(
        phones=PhoneRules(
            min(parse_regions(values.default_region)), parse_regions(values.allowed_countries), frozenset(test_numbers)
        ),
        code_length=values.code_length,
        ttl=values.verification_ttl,
        max_attempts=values.max_attempts,
        cooldowns=parse_cooldowns(values.resend_cooldowns),
        calls_per_phone=calls_per_phone,
        calls_per_ip=parse_rates(values.calls_per_ip),
        calls_total=parse_rates(values.calls_total),
        wrong_guesses_per_ip=parse_rates(values.wrong_guesses_per_ip),
        guesses=GuessBudget.of(values.max_guess_probability, values.max_attempts, calls_per_phone),
        spending=_spending(values),
        challenge=values.challenge,
        guard=Guard.of(
            values.fraud_min_conversion,
            values.fraud_calls_per_country,
            values.fraud_calls_per_range,
            values.spray_alert,
        ),
        test_numbers=test_numbers,
        approval_repeat_window=values.approval_repeat_window,
        call_deadline=int(longest_call + 4 * values.redis_timeout) + 5,
    )
