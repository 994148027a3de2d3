"""Proofs are redeemed once, in every store."""

import asyncio
from typing import Any

import pytest

from app.store.keys import keys_of
from app.store.redis_store import RedisStore
from app.verification.client import Client
from app.verification.ids import IdCodec, VerificationRef
from app.verification.model import (
    Approval,
    Redeemed,
    TokenExpired,
    TokenRedeemed,
)
from app.verification.ports import RequestContext, Reserved
from tests.harness import fresh_phone

CLIENT = Client("web", "web")


@pytest.fixture
def ref(codec: IdCodec) -> VerificationRef:
    return codec.new(fresh_phone(), 4)


async def _reserved(store: RedisStore, ref: VerificationRef, ask: RequestContext) -> Reserved:
    call = await store.start([ref], ask, None, None)
    assert isinstance(call, Reserved), call
    return call


async def test_a_proof_is_redeemed_once_of_a_hundred_times(
    store: RedisStore, codec: IdCodec, ref: VerificationRef
) -> None:
    ask = RequestContext(CLIENT)
    await store.settle(ref, ask, await _reserved(store, ref, ask), ref.digest("0123"), None)
    approval = await store.check(ref, ask, ref.digest("0123"))
    assert isinstance(approval, Approval)
    expires_at = approval.approved_at + 600_000
    answers = await asyncio.gather(*(store.redeem(ref, expires_at) for _ in range(100)))
    assert sum(answer == Redeemed(approval) for answer in answers) == 1
    assert sum(answer == TokenRedeemed() for answer in answers) == 99


async def test_no_proof_is_redeemed_that_is_over_or_whose_verification_is_gone(
    server: Any, store: RedisStore, codec: IdCodec, ref: VerificationRef
) -> None:
    ask = RequestContext(CLIENT)
    await store.settle(ref, ask, await _reserved(store, ref, ask), ref.digest("0123"), None)
    assert await store.redeem(ref, 2**45) == TokenExpired(), "not approved"
    approval = await store.check(ref, ask, ref.digest("0123"))
    assert isinstance(approval, Approval)
    assert await store.redeem(ref, approval.approved_at) == TokenExpired()
    assert await server.pttl(keys_of(ref)[0]) > 599_000, "it lives as long as its proof"
    await server.delete(*keys_of(ref))
    assert await store.redeem(ref, approval.approved_at + 600_000) == TokenExpired()
    assert await server.exists(*keys_of(ref)) == 0
