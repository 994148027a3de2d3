"""Every key that the service keeps in Redis, on one page.

All begin with `KEY_PREFIX`, which has a hash tag (`{lastdigits}:` by default): all lie in one slot, so each script stays atomic on a cluster. Names in
capitals are keyed digests (app/verification/ids.py), which reveal nothing without the pepper.

| key | type | what | lives |
|---|---|---|---|
| `verification:NAME` | hash | one verification (lua/lib/verification.lua) | until its call's deadline while the first call is being placed; then until 10 min after its expiry; 10 min after it ended |
| `phone:PHONE` | hash | the calls to one phone, its cooldown, and guesses that are held (lua/lib/calls.lua) | a day, or the longest limit of a phone, from its last call |
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
"""A limit as the scripts read it (lua/lib/calls.lua)."""

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

    def destination(self, ref: VerificationRef) -> Keys:
        """The keys of what becomes of calls to the phone's country and range; none for a number that is never called."""
        if ref.test:
            return {}
        to = destination_of(ref.phone)
        return {
            "country": self.key("guard", self._destination(to.country)),
            "range": self.key("guard", self._destination(to.range)),
            "lane": self.key("lane"),
            **self.watched(),
        }

    def watched(self) -> Keys:
        """The keys of what is suspended, and of the spray alert."""
        return {"suspended": self.key("suspended"), "sprayed": self.key("sprayed")}

    def call(self, ref: VerificationRef, context: RequestContext) -> tuple[Keys, list[Limit]]:
        """The keys of a call, and the limits that it counts against besides its phone's."""
        keys, limits = self.verification(ref) | self.destination(ref), _Limits()
        if once := context.idempotency:
            keys["request"] = self.key("request", self._pepper.digest("request", context.client.id, once.key))
        if context.solved:
            keys["solution"] = self.key("solution", context.solved.name)
        if ref.test:
            phone = self._pepper.digest_cached("phone", "test", ref.phone)
            limits.add("calls_per_phone", TEST_CALLS, self.key("phone", "calls", phone))
            return keys | limits.keys, limits.all
        country, share = destination_of(ref.phone).country, self._policy.public_share
        keys["price"] = self.key("price", self._destination(country))
        keys["pricing"] = self.key("pricing", self._destination(country))
        if context.networks:
            # By lane: a stranger behind the same carrier NAT must not use up what a known device has.
            rates, host = self._policy.calls_per_ip, self.address(context.networks.host)
            limits.add("calls_per_ip", rates, self.key("address", host), quota=True, by_lane=True)
            keys["network"] = self.key("network", self.address(context.networks.site))
            if context.networks.site_limited:
                rates = tuple(Rate(rate.count * SITE_FACTOR, rate.seconds) for rate in rates)
                limits.add("calls_per_ip", rates, keys["network"], by_lane=True)
            limits.all.append({"name": "network", "key": "network", "window": 3600})
        client = self._client(context.client)
        limits.add("calls_per_client", context.client.calls, self.key("client", client), share, quota=True)
        limits.add("calls_total", self._policy.calls_total, self.key("calls"), share)
        spending = self._policy.spending
        caps = spending.by_country.get(country, ())
        limits.add(SPEND[Cap.ALL], spending.caps, self.key("money"), share, unit="money")
        limits.add(SPEND[Cap.CLIENT], context.client.spend, self.key("money", "client", client), share, unit="money")
        limits.add(SPEND[Cap.COUNTRY], caps, self._money_of_country(country), share, unit="money")
        return keys | limits.keys, limits.all

    def shared(self, clients: Iterable[Client]) -> tuple[Keys, list[Limit]]:
        """All budgets that `/policy` and `/metrics` show the use of; a client's own are named after it."""
        limits, spending = _Limits(), self._policy.spending
        limits.add("calls_total", self._policy.calls_total, self.key("calls"))
        limits.add(SPEND[Cap.ALL], spending.caps, self.key("money"))
        for country, caps in spending.by_country.items():
            limits.add(f"{SPEND[Cap.COUNTRY]}:{country}", caps, self._money_of_country(country))
        for client in clients:
            digest = self._client(client)
            limits.add(f"{SPEND[Cap.CLIENT]}:{client.id}", client.spend, self.key("money", "client", digest))
            limits.add(f"calls_per_client:{client.id}", client.calls, self.key("client", digest))
        return self.watched() | limits.keys, limits.all

    def _client(self, client: Client) -> str:
        return self._pepper.digest_cached("client", client.id)

    def _destination(self, name: str) -> str:
        return self._pepper.digest_cached("destination", name)

    def _money_of_country(self, country: str) -> str:
        return self.key("money", "country", self._destination(country))


class _Limits:
    """Collects limits, and the keys of their counters."""

    def __init__(self) -> None:
        self.keys: Keys = {}
        self.all: list[Limit] = []

    def add(self, name: str, rates: Iterable[Rate], key: str, share: float | None = None, **more: str | bool) -> None:
        """Limit what is counted under a key to these rates, a counter for each window, and the public lane to its share of them."""
        for place, rate in enumerate(rates):
            counter = f"limit_{len(self.all)}"
            self.keys[counter] = f"{key}:{rate.seconds}"
            limit: Limit = {"name": name, "key": counter, "window": rate.seconds, "place": place, "max": rate.count}
            limit.update(more)
            if share is not None:
                limit["public_max"] = rate.share(share).count
            self.all.append(limit)
