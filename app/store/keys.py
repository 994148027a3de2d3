"""Every key that the service keeps in Redis, on one page.

All begin with `KEY_PREFIX`, which has a hash tag (`{lastdigits}:` by default): all lie in one slot, so each script stays atomic on a cluster. Names in
capitals are keyed digests (app/verification/ids.py), which reveal nothing without the pepper.

| key | type | what | lives |
|---|---|---|---|
| `verification:NAME` | hash | one verification (lua/lib/verification.lua) | until its call's deadline while the first call is being placed; then until 10 min after its expiry; 10 min after it ended |
| `phone:PHONE` | hash | the calls to one phone, its cooldown, and guesses that are held (lua/lib/phone.lua) | a day, or the longest limit of a phone, from its last call |
| `guesses:PHONE` | hash | what wrong codes have cost, in slices of 24 h (lua/lib/counters.lua) | as long as any of them counts: up to 26 h |
| `request:REQUEST` | hash | a request with an idempotency key (lua/lib/idempotency.lua) | 24 h from the first sending |
| `address:ADDRESS:SECONDS` | hash | calls for an IPv4 address or IPv6 /64 that no approval gave back | the window, and a slice at most |
| `network:NETWORK:SECONDS` | hash | the same for an IPv6 /48 | the same |
| `network:NETWORK` | hash | the same for an IPv4 /24 or IPv6 /48 in an hour: the work of challenges grows with it | the same |
| `client:CLIENT:SECONDS` | hash | calls of a client that has limits of its own | the same |
| `calls:SECONDS` | hash | all calls | the same |
| `money:SECONDS`, `money:client:CLIENT:SECONDS`, `money:country:COUNTRY:SECONDS` | hash | what calls cost, in ten-thousandths of the currency: in all, of a client's and a country's with caps of their own | the same |
| `price:COUNTRY` | string | the price that was lately seen, in the same units | a day |
| `pricing:COUNTRY` | hash | calls under way that were reserved while no price was seen | the deadline of the last |
| `guard:COUNTRY`, `guard:RANGE` | hash | calls to a destination and converted ones, and its suspensions (lua/lib/guard.lua) | 4 h from the last of these |
| `suspended` | sorted set | `LANE:SEALED` for each suspended destination, by its end | 4 h from the last |
| `lane` | hash | calls of a lane and converted ones, in slices of an hour | an hour, and a slice at most |
| `sprayed` | hash | verifications with a wrong code, approved ones, and the spray alert's end (lua/check.lua) | the same |
| `solution:SOLUTION` | string | a challenge that was used | ten minutes |
| `codes:4`, `codes:5`, `codes:6` | string | the last 16,384 codes of so many digits, 4 bytes of keyed digest each, written when they count no more (app/verification/entropy.py) | a day from the last |
| `scratch` | string | written and removed by `/readyz` and `doctor` | a second |

A counter is a hash with a field for each lane and slice of time. Every key gets its TTL in the script that creates it. No field is longer than 64 bytes,
so that Redis packs the hashes, but samples, outcomes of requests, and purposes of more than 31 characters.
"""  # noqa: E501  a table's row is one line

from collections.abc import Iterable

from app.verification.client import Client
from app.verification.ids import Pepper, VerificationRef
from app.verification.limits import Rate
from app.verification.model import Cap
from app.verification.phone import destination_of
from app.verification.policy import SITE_FACTOR, TEST_CALLS, Policy
from app.verification.ports import RequestContext

Limit = dict[str, str | int | bool]
"""A limit as the scripts read it (lua/lib/limits.lua)."""

Keys = dict[str, str]
"""Keys by the names that the scripts know them by."""

SPEND = {Cap.ALL: "spend", Cap.CLIENT: "spend_client", Cap.COUNTRY: "spend_country"}


class Names:
    """Names keys, and lists the limits that a call counts against, under one pepper."""

    def __init__(self, prefix: str, pepper: Pepper, policy: Policy) -> None:
        self.prefix = prefix
        self._pepper = pepper
        self._policy = policy

    def key(self, *parts: str) -> str:
        """A key of the deployment."""
        return self.prefix + ":".join(parts)

    def client(self, client: Client) -> str:
        """A client's digest."""
        return self._pepper.digest_cached("client", client.id)

    def address(self, network: str) -> str:
        """An address's or a network's digest."""
        return self._pepper.digest_cached("address", network, size=8)

    def verification(self, ref: VerificationRef) -> Keys:
        """The keys of a verification and of its phone."""
        phone = self._pepper.digest_cached("phone", "test" if ref.test else "", ref.phone)
        return {
            "verification": self.key("verification", ref.name),
            "phone": self.key("phone", phone),
            "guesses": self.key("guesses", phone),
        }

    def request(self, context: RequestContext) -> Keys:
        """The key of a request with an idempotency key."""
        if context.idempotency is None:
            return {}
        return {
            "request": self.key("request", self._pepper.digest("request", context.client.id, context.idempotency.key))
        }

    def destination(self, ref: VerificationRef) -> Keys:
        """The keys of what becomes of calls to the phone's country and range; none for a number that is never called."""
        if ref.test:
            return {}
        to = destination_of(ref.phone)
        return {
            "country": self.key("guard", self._destination(to.country)),
            "range": self.key("guard", self._destination(to.range)),
            "suspended": self.key("suspended"),
            "lane": self.key("lane"),
            "sprayed": self.key("sprayed"),
        }

    def price(self, ref: VerificationRef) -> Keys:
        """The keys of what a call to the phone's country costs."""
        country = self._destination(destination_of(ref.phone).country)
        return {} if ref.test else {"price": self.key("price", country), "pricing": self.key("pricing", country)}

    def calls(self, ref: VerificationRef, context: RequestContext) -> tuple[Keys, list[Limit]]:
        """The limits that a call counts against besides its phone's, and their keys."""
        limits = _Limits("calls")
        if ref.test:
            limits.add(
                "calls_per_phone",
                TEST_CALLS,
                self.key("phone", "calls", self._pepper.digest_cached("phone", "test", ref.phone)),
            )
            return limits.keys, limits.all
        if context.networks:
            host, site = self.address(context.networks.host), self.address(context.networks.site)
            # By lane: a stranger behind the same carrier NAT must not use up what a known device has.
            limits.add("calls_per_ip", self._policy.calls_per_ip, self.key("address", host), quota=True, by_lane=True)
            if context.networks.site_limited:
                rates = tuple(Rate(rate.count * SITE_FACTOR, rate.seconds) for rate in self._policy.calls_per_ip)
                limits.add("calls_per_ip", rates, self.key("network", site), by_lane=True)
            limits.count("network", self.key("network", site), 3600)
        client = self.client(context.client)
        share = self._policy.public_share
        limits.add("calls_per_client", context.client.calls, self.key("client", client), quota=True, share=share)
        limits.add("calls_total", self._policy.calls_total, self.key("calls"), share=share)
        keys, money = self.money(ref, context.client)
        return limits.keys | keys, limits.all + money

    def money(self, ref: VerificationRef, client: Client) -> tuple[Keys, list[Limit]]:
        """The caps on money that a call counts against, and their keys."""
        limits, spending, share = _Limits("money"), self._policy.spending, self._policy.public_share
        if not ref.test:
            country = destination_of(ref.phone).country
            limits.add(SPEND[Cap.ALL], spending.caps, self.key("money"), share=share, unit="money")
            own = self.key("money", "client", self.client(client))
            limits.add(SPEND[Cap.CLIENT], client.spend, own, share=share, unit="money")
            caps, of_country = (
                spending.by_country.get(country, ()),
                self.key("money", "country", self._destination(country)),
            )
            limits.add(SPEND[Cap.COUNTRY], caps, of_country, share=share, unit="money")
        return limits.keys, limits.all

    def shared(self, clients: Iterable[Client]) -> tuple[Keys, list[Limit]]:
        """All budgets that `/policy` and `/metrics` show the use of; a client's own are named after it."""
        limits, spending = _Limits("shared"), self._policy.spending
        limits.add("calls_total", self._policy.calls_total, self.key("calls"))
        limits.add(SPEND[Cap.ALL], spending.caps, self.key("money"), unit="money")
        for country, caps in spending.by_country.items():
            limits.add(
                f"{SPEND[Cap.COUNTRY]}:{country}",
                caps,
                self.key("money", "country", self._destination(country)),
                unit="money",
            )
        for client in clients:
            digest = self.client(client)
            limits.add(
                f"{SPEND[Cap.CLIENT]}:{client.id}", client.spend, self.key("money", "client", digest), unit="money"
            )
            limits.add(f"calls_per_client:{client.id}", client.calls, self.key("client", digest))
        return limits.keys, limits.all

    def _destination(self, name: str) -> str:
        return self._pepper.digest_cached("destination", name)


class _Limits:
    """Collects limits and their keys: one counter for each window."""

    def __init__(self, label: str) -> None:
        self._label = label
        self.keys: Keys = {}
        self.all: list[Limit] = []

    def add(  # noqa: PLR0913  what a limit has
        self,
        name: str,
        rates: tuple[Rate, ...],
        key: str,
        *,
        share: float | None = None,
        unit: str = "calls",
        quota: bool = False,
        by_lane: bool = False,
    ) -> None:
        for place, rate in enumerate(rates):
            limit = self.count(name, f"{key}:{rate.seconds}", rate.seconds)
            limit.update(place=place, max=rate.count, unit=unit)
            if quota:
                limit["quota"] = True
            if by_lane:
                limit["by_lane"] = True
            if share is not None:
                limit["public_max"] = rate.share(share).count

    def count(self, name: str, key: str, seconds: int) -> Limit:
        limit: Limit = {
            "name": name,
            "key": f"{self._label}_{len(self.all)}" if name != "network" else name,
            "window": seconds,
        }
        self.keys[str(limit["key"])] = key
        self.all.append(limit)
        return limit
