"""What an operation can't go on from. What a caller must handle is an outcome (model.py), not an exception.

Exception
 └─ LastdigitsError
     ├─ StoreUnavailable        Redis is down, slow, full, read-only or loading: nothing was decided
     └─ ChallengeUnavailable    a remote captcha service did not answer (challenge.py)
"""


class LastdigitsError(Exception):
    """Anything this service raises on purpose."""


class StoreUnavailable(LastdigitsError):  # noqa: N818  a state of the world, not somebody's mistake
    """The store did not answer, or refused to write.

    No right follows from it: nothing is approved, and nothing called. A step whose time limit passed does nothing later either (store/redis_store.py).
    """
