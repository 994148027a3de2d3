"""How the simulator answers: as documented, or in any of the ways that clients of the provider have met (docs/provider.md)."""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, field_validator, model_validator

SPECIAL_PREFIX = "7999000"
"""Numbers with this prefix and four more digits may misbehave without any control request: see `SPECIAL`."""

PRICE = "0.35"
"""The price of a call in the provider's document."""

_BODILESS = {204, 304}
"""Statuses whose answers have no body (RFC 9110, sections 15.3.5 and 15.4.5)."""


class Behaviour(BaseModel):
    """One way to answer. The defaults are the provider's document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answer: Annotated[
        Literal["ok", "error", "html", "empty", "truncated", "not_json"], Field(description="What the body is.")
    ] = "ok"
    error_code: Annotated[str, StringConstraints(max_length=500), Field(description="For `error`.")] = "unknown_request"
    status: Annotated[int, Field(ge=200, le=599, description="HTTP status.")] = 200
    code: Annotated[
        Literal["string", "number", "short", "long", "letters", "missing"],
        Field(description="`number` loses leading zeros, as the provider does."),
    ] = "string"
    digits: Annotated[
        str | None,
        StringConstraints(pattern=r"^[0-9]{4,6}$"),
        Field(description="The end of the calling number, instead of a random one."),
    ] = None
    price: Annotated[
        JsonValue,
        Field(
            description="`string` or `number`: the usual price as such; `absent`; `nan`: the constant NaN; any other value is sent as it is."
        ),
    ] = PRICE
    id: Annotated[
        str,
        StringConstraints(max_length=500),
        Field(
            description="`string` or `number`: the call's own id as such; `absent`; any other text is sent as it is."
        ),
    ] = "string"
    number: Literal["same", "other", "absent"] = "same"
    delay: Annotated[float, Field(ge=0, le=120, description="Seconds before the answer.")] = 0
    hang: Annotated[bool, Field(description="Never answer: the client has to give up.")] = False
    close: Annotated[
        Literal["before_read", "after_read"] | None,
        Field(description="Close the connection without an answer, before or after the body was read."),
    ] = None
    places_call: Annotated[
        bool | None, Field(description="Whether it counts as placed; by default all but errors and `before_read` do.")
    ] = None
    times: Annotated[int | None, Field(ge=1, description="For so many requests only.")] = None

    @field_validator("status")
    @classmethod
    def _has_a_body(cls, status: int) -> int:
        if status in _BODILESS:
            raise ValueError(f"HTTP gives {status} no body: choose another status")
        return status

    @field_validator("price")
    @classmethod
    def _is_json(cls, price: JsonValue) -> JsonValue:
        try:
            json.dumps(price, allow_nan=False)
        except ValueError:
            raise ValueError("NaN and Infinity are not JSON: write nan as text") from None
        return price

    @model_validator(mode="after")
    def _fits(self) -> "Behaviour":
        if self.hang and self.close:
            raise ValueError("hang and close exclude each other: choose one")
        return self

    @property
    def counts(self) -> bool:
        """Whether the call counts as placed."""
        return self.answer != "error" and self.close != "before_read" if self.places_call is None else self.places_call


DOCUMENTED = Behaviour()

SPECIAL: dict[str, Behaviour] = {
    "0001": Behaviour(answer="error", error_code="authorisation_failed"),
    "0002": Behaviour(answer="error", error_code="not_enough_money"),
    "0003": Behaviour(answer="error", error_code="number_not_valid"),
    "0004": Behaviour(answer="error", error_code="number_not_permitted"),
    "0005": Behaviour(answer="error", error_code="number_in_spam_list"),
    "0006": Behaviour(answer="error", error_code="Услуга временно недоступна"),
    "0007": Behaviour(answer="error", error_code="user_disabled"),
    "0008": Behaviour(answer="error", error_code="number_is_empty"),
    "0009": Behaviour(answer="error", error_code="unknown_request"),
    "0010": Behaviour(answer="error", error_code="code_not_valid"),
    "0011": Behaviour(answer="html", status=502),
    "0012": Behaviour(answer="empty"),
    "0013": Behaviour(answer="truncated"),
    "0014": Behaviour(hang=True),
    "0015": Behaviour(close="after_read"),
    "0016": Behaviour(close="before_read"),
    "0017": Behaviour(answer="html", status=500),
    "0018": Behaviour(answer="not_json"),
    "0019": Behaviour(answer="error", error_code="ani_phone_not_valid"),
    "0021": Behaviour(code="number", digits="0007"),
    "0022": Behaviour(code="short"),
    "0023": Behaviour(code="long"),
    "0024": Behaviour(code="letters"),
    "0025": Behaviour(code="missing"),
    "0026": Behaviour(id="number"),
    "0027": Behaviour(price="number"),
    "0028": Behaviour(price="absent"),
    "0029": Behaviour(number="other"),
    "0030": Behaviour(number="absent"),
    "0031": Behaviour(delay=3),
    "0032": Behaviour(price="3,50 руб."),
    "0033": Behaviour(price="1e3"),
}

_BY_NUMBER = {SPECIAL_PREFIX + end: behaviour for end, behaviour in SPECIAL.items()}


class Behaviours:
    """The behaviours set over HTTP: for all numbers, or for one."""

    def __init__(self) -> None:
        self._general: Behaviour | None = None
        self._of: dict[str, Behaviour] = {}
        self._left: dict[str | None, int] = {}

    def set(self, number: str | None, behaviour: Behaviour) -> None:
        """Answer so from now on; `number` is None for all."""
        if number is None:
            self._general = behaviour
        else:
            self._of[number] = behaviour
        self._left.pop(number, None)
        if behaviour.times is not None:
            self._left[number] = behaviour.times

    def clear(self, number: str | None) -> None:
        """Answer as documented again; None for all numbers at once."""
        if number is None:
            self._general = None
            self._of.clear()
            self._left.clear()
        else:
            self._of.pop(number, None)
            self._left.pop(number, None)

    def take(self, number: str) -> Behaviour:
        """How to answer this request; counts down `times`."""
        key = number if number in self._of else None
        behaviour = self._of.get(number) or self._general
        if behaviour is None:
            return _BY_NUMBER.get(number, DOCUMENTED)
        if key in self._left:
            self._left[key] -= 1
            if self._left[key] == 0:
                self._forget(key)
        return behaviour

    def closes_unread(self) -> bool:
        """Whether to close the connection before the request's body is read; counts down `times`.

        False while a number has a behaviour of its own, or if the call must count: for both, the number has to be read.
        """
        general = self._general
        unread = general is not None and general.close == "before_read" and not general.counts and not self._of
        if unread and None in self._left:
            self._left[None] -= 1
            if self._left[None] == 0:
                self._forget(None)
        return unread

    def _forget(self, key: str | None) -> None:
        self._left.pop(key, None)
        if key is None:
            self._general = None
        else:
            self._of.pop(key, None)

    def to_json(self) -> dict[str, object]:
        """What is in force, for `GET /behaviour`; `times` is what is left of it."""
        return {
            "default": self._left_of(None, self._general or DOCUMENTED),
            "numbers": {number: self._left_of(number, behaviour) for number, behaviour in self._of.items()},
        }

    def _left_of(self, key: str | None, behaviour: Behaviour) -> dict[str, object]:
        return behaviour.model_dump() | {"times": self._left.get(key)}
