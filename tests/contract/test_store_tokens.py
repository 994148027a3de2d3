"""Tokens are redeemed once, in every store."""

import asyncio

from app.verification.model import Approval, Redeemed, TokenExpired, TokenRedeemed
from tests.contract.conftest import World


async def test_a_token_is_redeemed_once_of_a_hundred_times(world: World) -> None:
    ref = await world.place()
    approval = await world.right(ref)
    assert isinstance(approval, Approval)
    answers = await asyncio.gather(*(world.store.redeem(ref, approval.approved_at + 600_000) for _ in range(100)))
    assert sum(answer == Redeemed(approval) for answer in answers) == 1
    assert sum(answer == TokenRedeemed() for answer in answers) == 99


async def test_no_token_is_redeemed_that_expired_or_whose_verification_is_gone(world: World) -> None:
    ref = await world.place()
    assert await world.store.redeem(ref, 2**45) == TokenExpired(), "not approved"
    approval = await world.right(ref)
    expires_at = approval.approved_at + 600_000
    assert await world.store.redeem(ref, approval.approved_at) == TokenExpired()
    await world.travel(599)
    assert await world.store.redeem(ref, expires_at) == Redeemed(approval), "it lives as long as its token"
    await world.travel(2)
    assert await world.store.redeem(ref, 2**45) == TokenExpired()
    assert world.names.verification(ref)["verification"] not in await world.keys()
