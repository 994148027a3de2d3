"""Settings: their sources and order, their checks together, and the documents that list them."""

import os
from pathlib import Path

import pytest

from app import settings as module
from app.settings import SettingsError, load_settings
from app.settings_table import described

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("LASTDIGITS_"):
            monkeypatch.delenv(name)


def _faults(monkeypatch: pytest.MonkeyPatch, **values: str) -> list[str]:
    for name, value in values.items():
        monkeypatch.setenv(f"LASTDIGITS_{name}", value)
    with pytest.raises(SettingsError) as fault:
        load_settings(dotenv=None)
    return fault.value.faults


def test_nothing_set_is_a_sandbox_on_loopback() -> None:
    settings = load_settings(dotenv=None)
    assert settings.sandbox
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert settings.embedded == Path("data")


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "PROVIDER_API_KEY", "PEPPER", "CLIENTS_FILE", "CODE_LENGTH", "REDIS_URL", "PROVIDER_URL"):
        monkeypatch.setenv(f"LASTDIGITS_{name}", "")
    assert load_settings(dotenv=None) == load_settings(dotenv=None)
    assert load_settings(dotenv=None).sandbox


def test_the_environment_beats_dotenv_and_dotenv_beats_secret_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    monkeypatch.setattr(module, "SECRETS_DIR", secrets)
    (secrets / "lastdigits_port").write_text("1001\n")
    assert load_settings(dotenv=None).port == 1001
    dotenv = tmp_path / ".env"
    dotenv.write_text("LASTDIGITS_PORT=1002\nOTHER=1\n")
    assert load_settings(dotenv=dotenv).port == 1002
    monkeypatch.setenv("LASTDIGITS_PORT", "1003")
    assert load_settings(dotenv=dotenv).port == 1003


def test_every_fault_is_told_at_once_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = _faults(
        monkeypatch,
        PROVIDER_API_KEY="k",
        PROVIDER_LOGIN="l",
        PROVIDER_URL="ftp://x",
        REDIS_URL="redis+sentinel://x",
        PEPPER="too short",
        CODE_LENGTH="3",
        WORKERS="0",
        CALLS_PER_PHONE="many",
        ALLOWED_COUNTRIES="RU,XX",
        RESEND_COOLDOWNS="60,30",
        VERIFICATION_TTL="9999",
        VERIFICATON_TTL="300",
    )
    named = {fault.split(":")[0].split()[0].removeprefix("LASTDIGITS_") for fault in faults}
    assert named == {
        *("PROVIDER_API_KEY", "PROVIDER_PASSWORD", "PROVIDER_URL", "REDIS_URL", "PEPPER", "CODE_LENGTH", "WORKERS"),
        *(
            "CALLS_PER_PHONE",
            "ALLOWED_COUNTRIES",
            "RESEND_COOLDOWNS",
            "VERIFICATION_TTL",
            "VERIFICATON_TTL",
            "CLIENTS_FILE",
        ),
    }
    assert any("did you mean LASTDIGITS_VERIFICATION_TTL?" in fault for fault in faults)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"PROVIDER_URL": "https://provider.example/"}, "PROVIDER_URL"),
        ({"PROVIDER_LOGIN": "me"}, "PROVIDER_PASSWORD"),
        ({"PROVIDER_PASSWORD": "secret"}, "PROVIDER_LOGIN"),
        ({"PEPPER_PREVIOUS": "abcdefghijklmnopqrstuvwxyz0123456789"}, "PEPPER_PREVIOUS"),
        ({"PEPPER": "a" * 64}, "PEPPER"),
        ({"DEFAULT_REGION": "RU,KZ"}, "DEFAULT_REGION"),
        ({"REDIS_URL": "redis://"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://host:notaport/0"}, "REDIS_URL"),
        ({"REDIS_URL": "embedded://"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://host/notadb"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://host/0?decode_responses=True"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://host/0?socket_timeout=abc"}, "REDIS_URL"),
        ({"REDIS_URL": "unix://relative"}, "REDIS_URL"),
        ({"REDIS_URL": "localhost:6379"}, "REDIS_URL"),
        ({"TRUSTED_PROXIES": "10.0.0.0/8, nowhere"}, "TRUSTED_PROXIES"),
        ({"TRUSTED_PROXIES": "0.0.0.0/0"}, "TRUSTED_PROXIES"),
        ({"TRUSTED_PROXIES": "::/0"}, "TRUSTED_PROXIES"),
        ({"TEST_NUMBERS": "+79990000001"}, "TEST_NUMBERS"),
        ({"TEST_NUMBERS": "+79990000001=0000,+79990000001=1111"}, "TEST_NUMBERS"),
        ({"TEST_NUMBERS": "+7999=0000"}, "TEST_NUMBERS"),
        ({"TEST_NUMBERS": "+79990000001=0000", "CODE_LENGTH": "5"}, "TEST_NUMBERS has a code"),
        ({"SIGNING_KEYS_FILE": "/nowhere/keys.json"}, "SIGNING_KEYS_FILE"),
        ({"ISSUER": "a b"}, "ISSUER"),
        ({"APPROVAL_REPEAT_WINDOW": "600"}, "APPROVAL_REPEAT_WINDOW"),
        ({"SPEND_PER_DAY": "NaN"}, "SPEND_PER_DAY"),
        ({"SPEND_PER_HOUR": "-1"}, "SPEND_PER_HOUR"),
        ({"SPEND_PER_HOUR": "0.00001"}, "SPEND_PER_HOUR"),
        ({"SPEND_PER_COUNTRY": "KZ"}, "SPEND_PER_COUNTRY"),
        ({"SPEND_PER_COUNTRY": "KZ 5/week"}, "SPEND_PER_COUNTRY"),
        ({"SPEND_PER_COUNTRY": "KZ 5/day; KZ 6/day"}, "SPEND_PER_COUNTRY"),
        ({"EXPECTED_PRICE": "free"}, "EXPECTED_PRICE"),
        ({"CLIENTS_FILE": "/nowhere/clients.toml"}, "CLIENTS_FILE"),
        ({"PORT": "http"}, "PORT"),
    ],
)
def test_a_setting_that_cant_stand_is_named(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], named: str
) -> None:
    faults = [
        fault for fault in _faults(monkeypatch, **values) if not fault.startswith("LASTDIGITS_CLIENTS_FILE: no client")
    ]
    assert len(faults) == 1
    assert faults[0].startswith(f"LASTDIGITS_{named}")


def test_a_redis_of_ones_own_needs_a_pepper_outside_the_sandbox(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "clients.toml").write_text(f'[[client]]\nid = "a"\nkind = "secret"\nkey_sha256 = "{"ab" * 32}"\n')
    given = {"PROVIDER_API_KEY": "k", "CLIENTS_FILE": str(tmp_path / "clients.toml"), "REDIS_URL": "redis://localhost"}
    assert {fault.split(":")[0] for fault in _faults(monkeypatch, **given)} == {
        "LASTDIGITS_PEPPER",
        "LASTDIGITS_SIGNING_KEYS_FILE",
    }
    monkeypatch.setenv("LASTDIGITS_REDIS_URL", "embedded://./data")
    assert not load_settings(dotenv=None).sandbox


@pytest.mark.parametrize("document", [".env.example", "docs/settings.md"])
def test_the_documents_list_every_setting_with_its_default_and_sentence(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    for name, default, sentence in described():
        assert name in text, name
        assert sentence in text, sentence
        if document == ".env.example":
            assert f"#{name}={default}\n" in text
    assert text.count("\n#LASTDIGITS_" if document == ".env.example" else "\n| `LASTDIGITS_") == len(described())
