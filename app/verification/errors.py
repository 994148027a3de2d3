"""What an operation can't go on from; what a caller must handle is an outcome (model.py), not an exception.

Exception
 └─ LastdigitsError
     └─ StoreUnavailable    Redis is down, slow, full, read-only or loading: nothing was decided
"""


class LastdigitsError(Exception):
    """Anything this service raises on purpose."""


class StoreUnavailable(LastdigitsError):  # noqa: N818  a state of the world, not a mistake of somebody's
    """The store did not answer, or refused to write.

    The operation may or may not have been carried out; no right follows from it: nothing is approved, and nothing called.
    """
