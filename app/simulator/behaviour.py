"""How the simulator answers: as documented, or in any of the ways that clients of the provider have met (docs/provider.md)."""

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

SPECIAL_PREFIX = "7999000"
"""Numbers with this prefix and four more digits may misbehave: see `SPECIAL`."""

PRICE = "0.35"
"""The price of a call in the provider's document."""

_BODILESS = {204, 304}
"""Statuses whose answers have no body (RFC 9110, sections 15.3.5 and 15.4.5)."""


class Behaviour(BaseModel):
    """One way to answer: docs/simulator.md says what each member does. The defaults are the provider's document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answer: Literal["ok", "error", "html", "empty", "truncated", "not_json"] = "ok"
    error_code: str = Field(default="unknown_request", max_length=500)
    status: int = Field(default=200, ge=200, le=599)
    code: Literal["string", "number", "short", "long", "letters", "missing"] = "string"
    digits: str | None = Field(default=None, pattern=r"^[0-9]{4,6}$")
    price: JsonValue = PRICE
    id: str = Field(default="string", max_length=500)
    number: Literal["same", "other", "absent"] = "same"
    delay: float = Field(default=0, ge=0, le=120)
    hang: bool = False
    close: Literal["before_read", "after_read"] | None = None
    places_call: bool | None = None
    times: int | None = Field(default=None, ge=1)

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

_BY_LAST_DIGITS = {
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
SPECIAL = {SPECIAL_PREFIX + digits: behaviour for digits, behaviour in _BY_LAST_DIGITS.items()}
"""The numbers that misbehave without any control request."""


class Behaviours:
    """The behaviours set over HTTP: of one number, or by None of all. `times` of each is what is left of it."""

    def __init__(self) -> None:
        self._of: dict[str | None, Behaviour] = {}

    def set(self, number: str | None, behaviour: Behaviour) -> None:
        """Answer so from now on; `number` is None for all."""
        self._of[number] = behaviour

    def clear(self, number: str | None) -> None:
        """Answer as documented again; None for all numbers at once."""
        if number is None:
            self._of.clear()
        else:
            self._of.pop(number, None)

    def take(self, number: str) -> Behaviour:
        """How to answer this request; counts down `times`."""
        for key in (number, None):
            if key in self._of:
                return self._use(key)
        return SPECIAL.get(number, DOCUMENTED)

    def closes_unread(self) -> bool:
        """Whether to close the connection before the request's body is read; counts down `times`.

        False while a number has a behaviour of its own, or if the call must count: for both, the number has to be read.
        """
        general = self._of.get(None, DOCUMENTED)
        unread = general.close == "before_read" and not general.counts and len(self._of) == 1
        if unread:
            self._use(None)
        return unread

    def _use(self, key: str | None) -> Behaviour:
        behaviour = self._of[key]
        if behaviour.times == 1:
            del self._of[key]
        elif behaviour.times is not None:
            self._of[key] = behaviour.model_copy(update={"times": behaviour.times - 1})
        return behaviour

    def to_json(self) -> dict[str, object]:
        """What is in force, for `GET /behaviour`."""
        numbers = {number: behaviour.model_dump() for number, behaviour in self._of.items() if number is not None}
        return {"default": self._of.get(None, DOCUMENTED).model_dump(), "numbers": numbers}
