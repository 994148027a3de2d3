"""Ids are sealed and unguessable; digests say nothing without the pepper; a rotation cuts nothing off."""

import time

from hypothesis import example, given
from hypothesis import strategies as st

from app.verification.client import IdempotentRequest
from app.verification.ids import DEVICE_LIFETIME, IdCodec

OLD, NEW, FOREIGN = b"old pepper " * 4, b"new pepper " * 4, b"foreign pepper " * 3
PHONE = "+79991234567"


@given(st.integers(1_000_000, 999_999_999_999_999), st.booleans())
def test_every_e164_number_survives_sealing(number: int, test: bool) -> None:
    ref = IdCodec(OLD).new(f"+{number}", test=test)
    assert (ref.phone, ref.test) == (f"+{number}", test)
    assert IdCodec(OLD).open(ref.id) == ref, "in any worker"


def test_no_changed_character_opens() -> None:
    codec = IdCodec(OLD)
    public = codec.new(PHONE).id
    changed = {public[:at] + other + public[at + 1 :] for at in range(len(public)) for other in "Ax-_=é"}
    changed |= {public[:at] + "." + public[at:] for at in range(len(public) + 1)}
    assert [text for text in changed - {public} if codec.open(text)] == []


@given(st.text(max_size=60))
@example("A" * 44)
@example("\ud800" * 44)
@example("=" * 44)
def test_no_made_up_id_opens(text: str) -> None:
    codec = IdCodec(OLD)
    assert [made_up for made_up in (text, "vrf_" + text, "VRF_" + text) if codec.open(made_up)] == []


def test_two_verifications_of_a_phone_share_nothing_readable() -> None:
    codec = IdCodec(OLD)
    one, two = codec.new(PHONE), codec.new(PHONE)
    assert one.name != two.name
    assert one.id != two.id
    assert one.digest("0123") != two.digest("0123")
    assert one.name not in one.id


def test_the_last_digits_that_were_typed_have_a_digest_by_their_number() -> None:
    ref = IdCodec(OLD).new(PHONE)
    of_each = {"4": ref.digest("0123"), "5": ref.digest("50123"), "6": ref.digest("950123")}
    assert ref.digests("4950123", (4, 5, 6)) == of_each
    assert ref.digests("01234", (4, 5, 6)).keys() == {"4", "5"}
    assert ref.digests("012", (4, 5, 6)) == {}


def test_a_rotation_keeps_what_was_begun_under_the_old_pepper() -> None:
    begun = IdCodec(OLD).new(PHONE)
    rotating = IdCodec(NEW, OLD)
    opened = rotating.open(begun.id)
    assert opened == begun
    assert opened.digest("0123") == begun.digest("0123")
    assert rotating.again(rotating.new(PHONE), begun.seed) == begun
    assert rotating.unseal_text(IdCodec(OLD).seal_text("login")) == "login"
    assert rotating.knows_device(IdCodec(OLD).device(PHONE, "web"), PHONE, "web")
    assert rotating.pepper.digest("phone", PHONE) != IdCodec(OLD).pepper.digest("phone", PHONE)


def test_after_a_rotation_the_old_pepper_opens_nothing() -> None:
    assert IdCodec(NEW).open(IdCodec(OLD).new(PHONE).id) is None
    assert IdCodec(NEW, OLD).open(IdCodec(FOREIGN).new(PHONE).id) is None
    assert IdCodec(NEW).unseal_text(IdCodec(OLD).seal_text("login")) is None
    assert not IdCodec(NEW).knows_device(IdCodec(OLD).device(PHONE, "web"), PHONE, "web")


def test_no_repr_shows_a_phone_or_a_key() -> None:
    codec = IdCodec(OLD)
    shown = repr(codec) + repr(codec.new(PHONE))
    assert PHONE[1:] not in shown
    assert "pepper" not in shown


def test_a_seed_makes_the_id_again_and_only_under_its_pepper() -> None:
    codec = IdCodec(OLD)
    begun = codec.new(PHONE)
    assert codec.again(codec.new(PHONE), begun.seed) == begun
    assert IdCodec(NEW).again(IdCodec(NEW).new(PHONE), begun.seed).id != begun.id
    assert codec.again(codec.new("+79990000000"), begun.seed).id != begun.id


def test_idempotency_refs_differ_by_client_key_operation_and_body_and_show_none_of_them() -> None:
    codec = IdCodec(OLD)
    requests = [
        ("shop", "start", IdempotentRequest("key-1", b"a")),
        ("other", "start", IdempotentRequest("key-1", b"a")),
        ("shop", "start", IdempotentRequest("key-2", b"a")),
        ("shop", "start", IdempotentRequest("key-1", b"b")),
        ("shop", "resend", IdempotentRequest("key-1", b"a")),
    ]
    refs = [codec.idempotency(*each) for each in requests]
    assert len({ref.bodies for ref in refs}) == 5
    assert codec.idempotency(*requests[0]) == refs[0]
    assert "key-" not in repr(refs) + repr(requests)


def test_while_rotating_a_request_has_the_old_digest_too() -> None:
    once = IdempotentRequest("key-1", b"a")
    (old,) = IdCodec(OLD).idempotency("shop", "start", once).bodies
    new, before = IdCodec(NEW, OLD).idempotency("shop", "start", once).bodies
    assert (before, new != old) == (old, True)


def test_what_two_digests_are_for_never_makes_them_equal() -> None:
    codec = IdCodec(OLD)
    purposes = ("phone", "code", "request", "address", "subject", "challenge", "recurrence", "client", "destination")
    assert len({codec.pepper.digest(purpose, PHONE) for purpose in purposes}) == len(purposes)
    assert codec.subject(PHONE) == codec.subject(PHONE) != IdCodec(NEW).subject(PHONE)
    assert codec.pepper.digest("phone", "", PHONE) != codec.pepper.digest("phone", "test", PHONE)
    assert codec.pepper.digest("request", "web", "1-key") != codec.pepper.digest("request", "web1", "-key")


def test_a_device_is_known_for_its_phone_and_client_until_it_is_too_old() -> None:
    codec, now = IdCodec(OLD), time.time()
    token = codec.device(PHONE, "web")
    assert codec.knows_device(token, PHONE, "web")
    assert codec.knows_device(codec.device(PHONE, "web", now - DEVICE_LIFETIME + 60), PHONE, "web")
    assert not codec.knows_device(codec.device(PHONE, "web", now - DEVICE_LIFETIME - 1), PHONE, "web")
    assert not codec.knows_device(token, "+79990000000", "web")
    assert not codec.knows_device(token, PHONE, "app")
    for other in (codec.new(PHONE).id, token[:-1], token + "A", "", None):
        assert not codec.knows_device(other, PHONE, "web")
    assert codec.open(token.replace("dev_", "vrf_")) is None


@given(st.text(max_size=80).filter(lambda text: text.isprintable()))
def test_a_sealed_text_is_read_back_and_no_other(text: str) -> None:
    codec = IdCodec(OLD)
    sealed = codec.seal_text(text)
    assert codec.unseal_text(sealed) == text
    assert codec.seal_text(text) == sealed
    assert codec.unseal_text(sealed[:-4] + "AAA=") is None
    assert codec.unseal_text(None) is None
