"""Every key that the service keeps in Redis, on one page.

`TAG` is the keyed digest of a phone, `REF` a part of a verification's id, both of 16 characters, `ADDRESS` and `REQUEST` keyed digests too (app/verification/keyring.py):
none tells anything without the pepper. The braces are Redis Cluster's hash tag: all keys of one phone lie in one slot, so one script may touch
them together.

| key | type | fields | lives |
|---|---|---|---|
| `ld:v:{TAG}:REF` | hash | `c` client, `s` status, `t` created, `x` expires, `z` approved, `y` redeemed, `q` what its wrong guesses have cost, `n` reserved calls, `r` refused ones, `k` last settled call, `w` wrong guesses, `d` `e` digests of the last two codes, `u` purpose | until its call's deadline while the call is being placed; then until 10 min after its expiry; 10 min after it ended |
| `ld:p:{TAG}` | hash | `h` times of counted calls, `l` rung of the ladder, `f` `i` the call being placed, `g` what guesses have cost, in slices of 24 h | the longest per-phone limit (a day by default), counted from the last call; as long as any wrong guess counts, up to 26 h |
| `ld:k:REQUEST` | hash | `b` digest of the body, `s` seed of the id, `u` in flight until, `o` what came of it | 24 h from the first sending of a request with an idempotency key |
| `ld:a:ADDRESS` | string | calls for an address, in slices of its limits' windows (scripts/lib/window.lua) | as long as any of them counts: the longest window, and a slice at most |
| `ld:g:ADDRESS` | string | wrong guesses from an address, the same way | the same |
| `ld:c:CLIENT` | string | calls for a client that has limits of its own, the same way | the same |
| `ld:n` | string | all calls, the same way | the same |
| `ld:m`, `ld:m:client:CLIENT`, `ld:m:country:COUNTRY` | string | what calls cost, in ten-thousandths of the currency, the same way: of all, of a client's and a country's that have caps | a day, and two hours at most |

| `ld:d:COUNTRY`, `ld:d:RANGE` | hash | `t` calls to a country, or to a range of ten thousand numbers, and `g` approved ones, in slices of an hour; `u` `n` `p` `l` `q` closed until, how often in a row, probes, the last, confirmed ones (scripts/lib/guard.lua) | 4 h from the last of these, and up to 5 min more |
| `ld:closed` | sorted set | what is closed, by until when | 4 h and 5 min from the last closing |
| `ld:w` | hash | `t` verifications with a wrong code and `g` approved ones, in slices of an hour, `u` the spray alarm's end | 4 h from the last of these, and up to 5 min more |
| `ld:s:SOLUTION` | string | nothing: a solved challenge that was used (app/verification/challenge.py) | ten minutes |
| `ld:o:4`, `ld:o:5`, `ld:o:6` | string | the last 16,384 codes of so many digits, 4 bytes of keyed digest each, written when they count no more (app/verification/draws.py) | a day from the last |

A range is the first digits of its numbers, without the last four, and lies in clear: it names no phone.

Every key gets its TTL in the script that creates it. As a rule no field of a hash is longer than 64 bytes, so that Redis packs it (listpack). Those below the phone's
belong to no phone: on one server a script touches them together with a phone's; a cluster would need a script for each slot.
"""  # noqa: E501  a table's row is one line

from app.verification.guard import destination_of
from app.verification.ids import IdempotencyRef, VerificationRef
from app.verification.ports import RequestContext

CLOSED = "ld:closed"
WATCH = "ld:w"
SAMPLES = ("ld:o:4", "ld:o:5", "ld:o:6")


def keys_of(ref: VerificationRef) -> tuple[str, str]:
    """The keys of a verification and of its phone: KEYS 1 and 2 of most scripts."""
    return f"ld:v:{{{ref.tag}}}:{ref.ref}", phone_key(ref.tag)


def phone_key(tag: str) -> str:
    """The key of a phone's limits."""
    return f"ld:p:{{{tag}}}"


def request_key(idempotency: IdempotencyRef) -> str:
    """The key of what became of a request with an idempotency key."""
    return f"ld:k:{idempotency.name}"


def calling_keys(ref: VerificationRef, ask: RequestContext) -> tuple[str, ...]:
    """The keys of a call that is asked for: KEYS 1 to 12 of start.lua and resend.lua. What there is none of is the phone's key again."""
    verification, phone = keys_of(ref)
    return (
        verification,
        phone,
        request_key(ask.idempotency) if ask.idempotency else phone,
        f"ld:a:{ask.address}" if ask.address else phone,
        f"ld:c:{ask.client.id}" if ask.client.starts else phone,
        "ld:n",
        *_money_keys(ref, phone, ask),
        *_guard_keys(ref),
        CLOSED,
    )


def challenge_keys(ref: VerificationRef, ask: RequestContext) -> tuple[str, str]:
    """The keys of what a start is challenged by: KEYS 13 and 14 of start.lua."""
    return WATCH, f"ld:s:{ask.solution}" if ask.solution else phone_key(ref.tag)


def reporting_keys(ref: VerificationRef, ask: RequestContext) -> tuple[str, ...]:
    """The keys of a call that was asked for: KEYS 1 to 8 of abandon.lua, and 1 to 6 of settle.lua."""
    verification, phone = keys_of(ref)
    money = _money_keys(ref, phone, ask)
    return verification, phone, request_key(ask.idempotency) if ask.idempotency else phone, *money, *_guard_keys(ref)


def _money_keys(ref: VerificationRef, phone: str, ask: RequestContext) -> tuple[str, ...]:
    """The keys of what calls cost: of all, of the client's, of the country's."""
    return (
        "ld:m",
        f"ld:m:client:{ask.client.id}" if ask.client.spend else phone,
        f"ld:m:country:{destination_of(ref.phone).country}",
    )


def _guard_keys(ref: VerificationRef) -> tuple[str, str]:
    """The keys of what becomes of calls to the phone's country and to its range."""
    to = destination_of(ref.phone)
    return f"ld:d:{to.country}", f"ld:d:{to.range}"


def guessing_keys(ref: VerificationRef, ask: RequestContext) -> tuple[str, ...]:
    """The keys of a guess: KEYS 1 to 7 of check.lua."""
    verification, phone = keys_of(ref)
    return verification, phone, f"ld:g:{ask.address}" if ask.address else phone, *_guard_keys(ref), CLOSED, WATCH
