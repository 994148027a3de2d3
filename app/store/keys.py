"""Every key that the service keeps in Redis, on one page.

`TAG` is the keyed digest of a phone, `REF` a part of a verification's id (app/verification/keyring.py): neither tells anything without
the pepper. The braces are Redis Cluster's hash tag: all keys of one phone lie in one slot, so one script may touch them together.

| key | type | fields | lives |
|---|---|---|---|
| `ld:v:{TAG}:REF` | hash | `c` client, `s` status, `t` created, `x` expires, `z` approved, `n` reserved calls, `r` refused ones, `k` last settled call, `w` wrong guesses, `d` `e` digests of the last two codes, `u` purpose | until its call's deadline while the call is being placed; then until 10 min after its expiry; 10 min after it ended |
| `ld:p:{TAG}` | hash | `h` times of counted calls, `l` rung of the ladder, `f` `i` the call being placed | the longest per-phone limit (a day by default), counted from the last call |

Every key gets its TTL in the script that creates it. Hashes stay under 64 bytes a field, so that Redis packs them (listpack).
"""  # noqa: E501  a table's row is one line

from app.verification.keyring import Handle


def keys_of(handle: Handle) -> tuple[str, str]:
    """The keys of a verification and of its phone: KEYS 1 and 2 of every script."""
    return f"ld:v:{{{handle.tag}}}:{handle.ref}", phone_key(handle.tag)


def phone_key(tag: str) -> str:
    """The key of a phone's limits."""
    return f"ld:p:{{{tag}}}"
