"""The table of all settings: name, default, unit, check, and the sentence that the documents show.

`settings.py` reads them, checks them against each other, and hands them on.
"""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import phonenumbers
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from app.api.address import TrustedProxies
from app.store.urls import url_problem as url_fault
from app.verification.challenge import When
from app.verification.ids import MIN_PEPPER_BYTES
from app.verification.money import MAX_CAP, parse_country_caps
from app.verification.phone import parse_test_numbers
from app.verification.rates import parse_rates

PREFIX = "LASTDIGITS_"
PROVIDER_URL = "https://voice.mobilgroup.ru/api/call-password/send/"


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
    if parts.username is not None:
        return "it holds a user or password: leave them out, and set PROVIDER_LOGIN and PROVIDER_PASSWORD"
    whole = parts.scheme in {"http", "https"} and parts.hostname
    return None if whole else "write it like https://voice.mobilgroup.ru/api/call-password/send/"


def _pepper(secret: SecretStr) -> SecretStr:
    raw = secret.get_secret_value().encode()
    if len(raw) < MIN_PEPPER_BYTES or len(set(raw)) < 8:  # noqa: PLR2004  fewer different characters were typed, not drawn
        msg = f"it must have at least {MIN_PEPPER_BYTES} random bytes: python3 -c 'import secrets; print(secrets.token_hex(32))'"
        raise ValueError(msg)
    return secret


def _header_safe(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise ValueError("it must be printable ASCII without spaces around it: copy it again")
    return secret


def parse_cooldowns(text: str) -> tuple[int, ...]:
    """Read a ladder of whole seconds: `30,60,300`.

    Raises:
        ValueError: it is not that; the message names the mend.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts):  # noqa: PLR2004  nine digits are thirty years
        raise ValueError("write whole seconds with commas: 30,60,300")
    return tuple(int(part) for part in parts)


def parse_regions(text: str) -> frozenset[str]:
    """Read countries as ISO 3166-1 alpha-2 codes: `RU,KZ`.

    Raises:
        ValueError: one is no country; the message names the mend.
    """
    regions = frozenset(part.strip().upper() for part in text.split(",") if part.strip())
    unknown = sorted(regions - phonenumbers.SUPPORTED_REGIONS)
    if unknown or not regions:
        raise ValueError(f"{', '.join(unknown) or 'nothing'} is no country: write ISO 3166-1 codes like RU,KZ")
    return regions


Rates = Annotated[str, _parses(parse_rates)]
Money = Annotated[Decimal, Field(ge=0, le=MAX_CAP, decimal_places=4, allow_inf_nan=False)]


class Values(BaseModel):
    """Every setting, its default and its check. The description is its sentence in `.env.example` and docs/settings.md."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    host: Annotated[str, Field(description="Address to listen on. A container sets 0.0.0.0.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port to listen on; 0 takes a free one.")] = 8000
    workers: Annotated[int, Field(ge=1, le=256, description="Processes that answer requests.")] = 1
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Field(description="How logs look: json, console, or auto: console on a terminal."),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="The quietest level that is still logged.")
    ] = "info"

    provider_url: Annotated[str, _checked(_http_fault), Field(description="Where the provider takes calls.")] = (
        PROVIDER_URL
    )
    provider_api_key: Annotated[
        Annotated[SecretStr, AfterValidator(_header_safe)] | None,
        Field(description="The provider's API key. Without it or a login the service runs as a sandbox."),
    ] = None
    provider_login: Annotated[str | None, Field(description="The provider's login, instead of an API key.")] = None
    provider_password: Annotated[SecretStr | None, Field(description="The password of that login.")] = None
    provider_auth: Annotated[
        Literal["header", "body"],
        Field(description="Where the API key goes. Login and password always go in the body."),
    ] = "header"
    provider_connect_timeout: Annotated[
        float, Field(gt=0, le=30, description="Seconds to connect to the provider.")
    ] = 2.0
    provider_read_timeout: Annotated[
        float, Field(gt=0, le=60, description="Seconds for the provider's whole answer.")
    ] = 10.0
    provider_pool_size: Annotated[int, Field(ge=1, le=10000, description="Calls that a worker places at once.")] = 100
    provider_pool_timeout: Annotated[
        float,
        Field(
            gt=0, le=30, description="Seconds to wait for one of these to be free, before a start is answered with 503."
        ),
    ] = 2.0

    redis_url: Annotated[
        str,
        _checked(url_fault),
        Field(description="redis://, rediss://, unix:// or embedded://PATH, a private Valkey server."),
    ] = "embedded://./data"
    redis_timeout: Annotated[float, Field(gt=0, le=30, description="Seconds for Redis to connect, and to answer.")] = (
        1.0
    )
    pepper: Annotated[
        Annotated[SecretStr, AfterValidator(_pepper)] | None,
        Field(
            description="The digest key: at least 32 random bytes. Made and kept beside the embedded store; else required."
        ),
    ] = None
    pepper_previous: Annotated[
        Annotated[SecretStr, AfterValidator(_pepper)] | None,
        Field(description="The digest key before this one, while rotating: keep it set for a day."),
    ] = None
    clients_file: Annotated[
        Path | None, Field(description="TOML file of the clients that may call. Required outside the sandbox.")
    ] = None

    trusted_proxies: Annotated[
        Annotated[str, _parses(TrustedProxies.parse)] | None,
        Field(description="Addresses and networks whose forwarding headers count: your proxies, and nobody else."),
    ] = None
    issuer: Annotated[
        str,
        Field(
            pattern=r"^[!-~]{1,200}$",
            description="The iss of proofs. The service's public URL is a good one; every verifier must know it.",
        ),
    ] = "lastdigits"
    signing_keys_file: Annotated[
        Path | None,
        Field(
            description="JWK set or PEM file of the keys that sign proofs. Made and kept beside the embedded store; else required."
        ),
    ] = None

    code_length: Annotated[
        int, Field(ge=4, le=6, description="Fewest digits of a code, 4 to 6; more while a phone is guessed at.")
    ] = 4
    verification_ttl: Annotated[int, Field(description="Seconds that a code is taken, 30 to 600.")] = 300
    max_attempts: Annotated[int, Field(description="Wrong codes that one verification bears, 1 to 10.")] = 3
    approval_repeat_window: Annotated[
        int, Field(ge=0, le=300, description="Seconds in which the right code is told its approval again.")
    ] = 60
    max_guess_probability: Annotated[
        float,
        Field(
            ge=0.00001,
            lt=1,
            description="Chance that all guesses against one phone in 24 hours may add up to. As it fills, codes grow to 6 digits.",
        ),
    ] = 0.001
    resend_cooldowns: Annotated[
        str,
        _parses(parse_cooldowns),
        Field(description="Seconds until a phone may be called again: after the first call, the second, …"),
    ] = "30,60,300"
    calls_per_phone: Annotated[Rates, Field(description="Limits on calls to one phone.")] = "5/hour, 10/day"
    calls_per_ip: Annotated[Rates, Field(description="Limits on calls for one address, an IPv6 /64 being one.")] = (
        "20/hour"
    )
    public_share: Annotated[float, Field(ge=0, le=1, description="Share.")] = 0.5
    key_prefix: str = "{lastdigits}:"
    wrong_guesses_per_ip: Annotated[Rates, Field(description="Limits on wrong codes from one address.")] = "30/hour"
    calls_total: Annotated[Rates, Field(description="Limits on calls of all clients together.")] = "100/second"
    fraud_min_conversion: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Least share of the calls to a country or range that must be confirmed, else it closes for a while; 0: never.",
        ),
    ] = 0.2
    fraud_calls_per_range: Annotated[
        int, Field(ge=1, le=10**6, description="Calls an hour to ten thousand numbers before that share is asked for.")
    ] = 50
    fraud_calls_per_country: Annotated[
        int, Field(ge=1, le=10**9, description="Calls an hour to a country before that share is asked for.")
    ] = 1000
    spray_alert: Annotated[
        int,
        Field(
            ge=0,
            le=10**9,
            description="Verifications an hour with a wrong code that raise the alarm, if they are over half of the approved ones; 0: never.",
        ),
    ] = 100
    challenge: Annotated[
        When,
        Field(
            description="When a start with a public key must bring a solved challenge: never, auto (while codes are sprayed), always."
        ),
    ] = When.AUTO
    spend_per_hour: Annotated[
        Money, Field(description="Most money that all calls cost in any hour, in the provider's currency.")
    ] = Decimal(100)
    spend_per_day: Annotated[Money, Field(description="Most money that all calls cost in any 24 hours.")] = Decimal(
        1000
    )
    spend_per_country: Annotated[
        Annotated[str, _parses(parse_country_caps)] | None,
        Field(description="Caps by country, besides those of all: KZ 50/hour, 200/day; BY 20/day"),
    ] = None
    expected_price: Annotated[
        Money,
        Field(
            description="What a call is expected to cost: reserved before it is placed, and settled at the provider's answer."
        ),
    ] = Decimal("0.35")
    test_numbers: Annotated[
        Annotated[str, _parses(parse_test_numbers)] | None,
        Field(description="Numbers with fixed codes that are never called: +79990000001=0000,+79990000002=1234"),
    ] = None
    allowed_countries: Annotated[
        str, _parses(parse_regions), Field(description="Countries that are called, as ISO 3166-1 codes.")
    ] = "RU"
    default_region: Annotated[
        str, _parses(parse_regions), Field(description="The country whose national spelling is understood.")
    ] = "RU"

    simulator_host: Annotated[str, Field(description="Sandbox: address of the simulator and its page.")] = "127.0.0.1"
    simulator_port: Annotated[
        int, Field(ge=0, le=65535, description="Sandbox: port of the simulator; 0 takes a free one.")
    ] = 8001


def described() -> list[tuple[str, str, str]]:
    """Each setting's name, default as text, and sentence: what `.env.example` and the documents are held against."""
    return [
        (PREFIX + name.upper(), "" if info.default is None else str(info.default), info.description or "")
        for name, info in Values.model_fields.items()
    ]
