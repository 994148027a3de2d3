import assert from "node:assert/strict";
import { test } from "node:test";
import { createClient, LastdigitsError, memoryStorage } from "../lastdigits.js";
import { answer, APPROVED, fakeClock, fakeService, lost, PENDING, problem, silent } from "./fakes.js";

const PHONE = { phone: "+7 999 123-45-67" };

function client(service, options = {}) {
  return createClient({ baseUrl: "https://verify.example/", key: "pk_1", fetch: service.fetch, ...options });
}

const failing = (code) => (error) => error instanceof LastdigitsError && error.code === code;

test("a start sends what was given, and answers in camelCase", async () => {
  const service = fakeService(answer(201, PENDING));
  const started = await client(service).start({ ...PHONE, purpose: "login", device: undefined });
  assert.deepEqual(service.requests[0].body, { phone: PHONE.phone, purpose: "login" });
  assert.equal(service.requests[0].headers.Authorization, "Bearer pk_1");
  assert.match(service.requests[0].key, /^[0-9a-f]{32}$/);
  assert.equal(started.codeLength, 4);
  assert.equal(started.resendIn, 30);
});

test("a lost answer is asked for again with the same key", async () => {
  const clock = fakeClock();
  const service = fakeService(lost(), answer(502, "<html>"), problem(409, "idempotency_key_in_use", { retry_after: 1 }), answer(201, PENDING));
  const started = client(service, { clock }).start(PHONE);
  await clock.pass(10_000);
  assert.equal((await started).id, "vrf_1");
  assert.equal(service.requests.length, 4);
  assert.equal(new Set(service.requests.map(({ key }) => key)).size, 1);
});

test("a double click is one request, and a later action has a key of its own", async () => {
  const service = fakeService(answer(201, PENDING), answer(201, PENDING));
  const it = client(service);
  const [one, other] = await Promise.all([it.start(PHONE), it.start(PHONE)]);
  assert.equal(service.requests.length, 1);
  assert.deepEqual(one, other);
  await it.start(PHONE);
  assert.notEqual(service.requests[0].key, service.requests[1].key);
});

test("a request that was given up is not joined, however long it takes to end", async () => {
  const challenge = () => problem(428, "challenge_required", { challenge: {} });
  const service = fakeService(challenge(), answer(201, PENDING));
  const it = client(service, { solveChallenge: () => new Promise(() => {}) });
  const gone = new AbortController();
  it.start(PHONE, { signal: gone.signal });
  await new Promise((resolve) => setImmediate(resolve));
  gone.abort();
  const started = await Promise.race([it.start(PHONE), new Promise((resolve) => setTimeout(resolve, 500, {}))]);
  assert.equal(started.id, "vrf_1");
  assert.equal(service.requests[0].key, service.requests[1].key);
});

test("a reload goes on with the key of the action that was cut short", async () => {
  const storage = memoryStorage();
  const clock = fakeClock();
  const before = fakeService(silent());
  const gone = new AbortController();
  const cut = client(before, { storage, clock }).start(PHONE, { signal: gone.signal });
  await clock.pass(10);
  gone.abort();
  await assert.rejects(cut, failing("aborted"));
  await clock.pass(5000);
  const after = fakeService(answer(201, PENDING, { "Idempotency-Replayed": "true" }));
  const started = await client(after, { storage, clock }).start(PHONE);
  assert.equal(after.requests[0].key, before.requests[0].key);
  assert.equal(started.replayed, true);
  assert.equal(started.sentAt, 1_000_000);
});

test("a refusal that did nothing does not end an action whose first answer was lost", async () => {
  const clock = fakeClock();
  const service = fakeService(lost(), problem(503, "store_unavailable", { retry_after: 30 }), answer(201, PENDING));
  const it = client(service, { clock });
  const failed = assert.rejects(it.start(PHONE), failing("store_unavailable"));
  await clock.pass(1000);
  await failed;
  await clock.pass(30_000);
  await it.start(PHONE);
  assert.equal(service.requests[2].key, service.requests[0].key);
});

test("an action that is repeated after minutes is a new one", async () => {
  const storage = memoryStorage();
  const clock = fakeClock();
  const before = fakeService(...Array.from({ length: 9 }, lost));
  const failed = assert.rejects(client(before, { storage, clock }).start(PHONE), failing("network_error"));
  await clock.pass(200_000);
  await failed;
  const after = fakeService(answer(201, PENDING));
  await client(after, { storage, clock }).start(PHONE);
  assert.notEqual(after.requests[0].key, before.requests[0].key);
});

for (const [status, code, members] of [
  [429, "limit_reached", { retry_after: 1 }],
  [503, "call_not_placed", { retry_after: 1, id: "vrf_1" }],
  [504, "call_unknown", { retry_after: 1 }],
  [503, "spend_cap", { retry_after: 300 }],
  [500, "internal_error", {}],
  [422, "code_incorrect", { attempts_left: 2 }],
]) {
  test(`${code} is not repeated by itself, and has its members`, async () => {
    const service = fakeService(problem(status, code, members));
    const { retry_after: retryAfter = null, attempts_left: attemptsLeft = null } = members;
    await assert.rejects(client(service).start(PHONE), { name: "LastdigitsError", code, status, retryAfter, attemptsLeft });
    assert.equal(service.requests.length, 1);
  });
}

test("a service that did nothing is asked again when it says so", async () => {
  const clock = fakeClock();
  const service = fakeService(problem(503, "store_unavailable", { retry_after: 1 }), answer(200, APPROVED));
  const checked = client(service, { clock }).check({ id: "vrf_1", code: "1234" });
  await clock.pass(1000);
  assert.equal((await checked).token, "jwt");
  assert.equal(service.requests[0].key, undefined);
});

test("a check whose answer was lost is left to the person: it may have cost an attempt", async () => {
  const service = fakeService(lost());
  await assert.rejects(client(service).check({ id: "vrf_1", code: "1234" }), failing("network_error"));
  assert.equal(service.requests.length, 1);
});

test("a request that is never answered ends", async () => {
  const clock = fakeClock();
  const service = fakeService(silent());
  const failed = assert.rejects(client(service, { clock }).check({ id: "vrf_1", code: "1234" }), failing("network_error"));
  await clock.pass(20_000);
  await failed;
  assert.equal(clock.pending(), 0);
});

test("a challenge is solved, and the same action goes on", async () => {
  const challenge = { parameters: { nonce: "00" }, signature: "s" };
  const service = fakeService(problem(428, "challenge_required", { challenge }), answer(201, PENDING));
  const seen = [];
  const it = client(service, { solveChallenge: async (given) => (seen.push(given), "c29sdmVk") });
  await it.start(PHONE);
  assert.deepEqual(seen, [challenge]);
  assert.deepEqual(service.requests[1].body, { ...PHONE, challenge: "c29sdmVk" });
  assert.equal(service.requests[1].key, service.requests[0].key);
});

test("a service that is never content with a solution is given up", async () => {
  const service = fakeService(...Array.from({ length: 9 }, () => problem(428, "challenge_required", { challenge: {} })));
  await assert.rejects(client(service, { solveChallenge: async () => "x" }).start(PHONE), failing("challenge_required"));
  assert.equal(service.requests.length, 3);
});

test("an answer of somebody else is no success and no problem of the service", async () => {
  for (const foreign of ["<html>Log in to the Wi-Fi", '{"ok": true}', "[]"]) {
    await assert.rejects(client(fakeService(answer(200, foreign))).check({ id: "a", code: "1" }), failing("network_error"));
  }
  await assert.rejects(client(fakeService(answer(403, "<html>Forbidden"))).check({ id: "a", code: "1" }), failing("unexpected_answer"));
});

test("a solver that fails is the challenge's problem", async () => {
  const service = fakeService(problem(428, "challenge_required", { challenge: {} }));
  const it = client(service, { solveChallenge: () => Promise.reject(new TypeError("no crypto.subtle")) });
  await assert.rejects(it.start(PHONE), (error) => failing("challenge_required")(error) && error.cause instanceof TypeError);
});
