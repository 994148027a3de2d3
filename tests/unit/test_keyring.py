"""Ids are sealed and unguessable; digests say nothing without the pepper; rotation cuts nothing off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.verification.client import IdempotentRequest
from app.verification.ids import IdCodec

OLD, NEW, FOREIGN = b"old pepper " * 4, b"new pepper " * 4, b"foreign pepper " * 3
PHONE = "+79991234567"


def test_an_id_opens_to_what_was_sealed() -> None:
    ref = IdCodec(OLD).new(PHONE, 5)
    assert IdCodec(OLD).open(ref.id) == ref
    assert (ref.phone, ref.code_length) == (PHONE, 5)


@given(st.integers(1_000_000, 999_999_999_999_999), st.integers(4, 6))
def test_every_e164_number_survives_sealing(number: int, length: int) -> None:
    ring = IdCodec(OLD)
    opened = ring.open(ring.new(f"+{number}", length).id)
    assert opened is not None
    assert (opened.phone, opened.code_length) == (f"+{number}", length)


def test_no_changed_character_opens() -> None:
    ring = IdCodec(OLD)
    public = ring.new(PHONE, 4).id
    changed = {public[:at] + other + public[at + 1 :] for at in range(len(public)) for other in "Ax-_=é"}
    assert [text for text in changed - {public} if ring.open(text)] == []


@given(st.text(max_size=60))
def test_no_made_up_id_opens(text: str) -> None:
    ring = IdCodec(OLD)
    assert ring.open(text) is None
    assert ring.open("vrf_" + text) is None


@pytest.mark.parametrize(
    "text", ["", "vrf_", "vrf_" + "A" * 44, "VRF_" + "A" * 44, "vrf_" + "\ud800" * 44, "vrf_" + "=" * 44]
)
def test_malformed_ids_are_simply_unknown(text: str) -> None:
    assert IdCodec(OLD).open(text) is None


def test_two_verifications_of_a_phone_share_its_tag_and_nothing_else() -> None:
    ring = IdCodec(OLD)
    one, two = ring.new(PHONE, 4), ring.new(PHONE, 4)
    assert one.tag == two.tag
    assert one.ref != two.ref
    assert one.id != two.id
    assert one.digest("0123") != two.digest("0123")


def test_a_rotation_keeps_what_was_begun_under_the_old_pepper() -> None:
    begun = IdCodec(OLD).new(PHONE, 4)
    rotating = IdCodec(NEW, OLD)
    opened = rotating.open(begun.id)
    assert opened is not None
    assert opened.digest("0123") == begun.digest("0123")
    fresh = rotating.new(PHONE, 4)
    before = rotating.before(fresh)
    assert before
    assert (before.tag, before.outdated) == (begun.tag, True)
    assert fresh.tag != begun.tag
    assert IdCodec(NEW).before(fresh) is None


def test_after_a_rotation_the_old_pepper_opens_nothing() -> None:
    assert IdCodec(NEW).open(IdCodec(OLD).new(PHONE, 4).id) is None
    assert IdCodec(NEW, OLD).open(IdCodec(FOREIGN).new(PHONE, 4).id) is None


def test_no_repr_tells_a_phone_or_a_key() -> None:
    ring = IdCodec(OLD)
    told = repr(ring) + repr(ring.new(PHONE, 4))
    assert PHONE not in told
    assert PHONE[1:] not in told
    assert "pepper" not in told


def test_a_seed_makes_the_id_again_and_only_under_its_pepper() -> None:
    ring = IdCodec(OLD)
    begun = ring.new(PHONE, 6)
    assert ring.new(PHONE, 4).again(begun.seed) == begun
    assert IdCodec(NEW).new(PHONE, 6).again(begun.seed).id != begun.id
    opened = ring.open(begun.id)
    assert opened
    assert opened.seed == begun.seed


def test_a_test_numbers_verification_says_so_and_lies_apart() -> None:
    ring = IdCodec(OLD)
    test, real = ring.new(PHONE, 4, test=True), ring.new(PHONE, 4)
    opened = ring.open(test.id)
    assert opened == test
    assert (test.test, real.test) == (True, False)
    assert test.tag != real.tag


def test_receipts_differ_by_client_key_route_and_body_and_tell_none_of_them() -> None:
    ring = IdCodec(OLD)
    ref = ring.new(PHONE, 4)
    asked = [
        ("shop", "start", IdempotentRequest("key-1", b"a")),
        ("other", "start", IdempotentRequest("key-1", b"a")),
        ("shop", "start", IdempotentRequest("key-2", b"a")),
    ]
    receipts = [ring.idempotency(ref, *each) for each in asked]
    assert len({idempotency.name for idempotency in receipts}) == 3
    same_key = [
        ring.idempotency(ref, "shop", *each)
        for each in (("start", IdempotentRequest("key-1", b"b")), ("resend", IdempotentRequest("key-1", b"a")))
    ]
    assert {idempotency.name for idempotency in same_key} == {receipts[0].name}
    assert len({receipts[0].body, *(idempotency.body for idempotency in same_key)}) == 3
    assert ring.idempotency(ring.new("+79990000000", 6), *asked[0]) == receipts[0], "whatever phone the body names"
    assert "key-1" not in repr(receipts) + repr(asked)


def test_the_subject_of_proofs_names_no_key_of_the_stores() -> None:
    ring = IdCodec(OLD)
    assert ring.subject(PHONE) == ring.subject(PHONE) != IdCodec(NEW).subject(PHONE)
    assert ring.subject(PHONE)[:16] not in {ring.new(PHONE, 4).tag, ring.address(PHONE)}
