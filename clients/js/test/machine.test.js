import assert from "node:assert/strict";
import { test } from "node:test";
import { createClient, memoryStorage } from "../lastdigits.js";
import { createVerification } from "../machine.js";
import { answer, APPROVED, fakeClock, fakeService, lost, PENDING, problem, silent } from "./fakes.js";

const PHONE = "+79991234567";

function begin(answers, options = {}) {
  const clock = options.clock ?? fakeClock();
  const service = fakeService(...answers);
  const storage = options.storage ?? memoryStorage();
  const client = createClient({ baseUrl: "https://verify.example", key: "pk_1", fetch: service.fetch, clock, storage });
  const verification = createVerification(client, { clock, storage, ...options });
  const steps = [];
  verification.subscribe(({ step }) => steps.at(-1) !== step && steps.push(step));
  return { clock, service, storage, verification, steps };
}

/** A verification whose phone was called. */
async function pending(...more) {
  const it = begin([answer(201, PENDING), ...more]);
  await it.verification.start(PHONE);
  return it;
}

test("from a phone to a token", async () => {
  const { verification, steps } = await pending(answer(200, APPROVED));
  assert.deepEqual([verification.state.expiresIn, verification.state.resendIn, verification.state.attemptsLeft], [300, 30, 3]);
  await verification.check("+7 495 123-45-67");
  assert.deepEqual(steps, ["calling", "code", "approved"]);
  assert.equal(verification.state.result.token, "jwt");
});

test("whatever is pressed twice asks once", async () => {
  const { verification, service, clock } = begin([answer(201, PENDING), answer(200, PENDING), answer(200, APPROVED)]);
  await Promise.all([verification.start(PHONE), verification.start(PHONE)]);
  await clock.pass(30_000);
  await Promise.all([verification.resend(), verification.resend()]);
  await Promise.all([verification.check("1234"), verification.check("1234")]);
  assert.deepEqual(service.requests.map(({ path }) => path), ["/verify/start", "/verify/resend", "/verify/check"]);
});

test("a wrong code costs an attempt and leaves the field open; the last one ends it", async () => {
  const wrong = (left) => problem(422, "code_incorrect", { attempts_left: left });
  const { verification, steps } = await pending(wrong(1), wrong(0));
  await verification.check("1111");
  assert.deepEqual([verification.state.step, verification.state.problem.code, verification.state.attemptsLeft], ["code", "code_incorrect", 1]);
  await verification.check("1112");
  assert.deepEqual([verification.state.step, verification.state.problem.code], ["ended", "attempts_exhausted"]);
  assert.deepEqual(steps, ["calling", "code", "ended"]);
});

test("a text without the right digits is not sent", async () => {
  const { verification, service } = await pending();
  for (const text of ["12", "4567 или 8901", PHONE, "привет"]) await verification.check(text);
  assert.equal(service.requests.length, 1);
  assert.equal(verification.state.problem.code, "digits_not_found");
});

for (const [status, code, members] of [
  [429, "attempts_exhausted", {}],
  [410, "expired", {}],
  [410, "canceled", {}],
  [410, "failed", {}],
  [409, "already_used", {}],
  [404, "verification_not_found", {}],
  [429, "limit_reached", { limit: "guess_budget", retry_after: 60 }],
]) {
  test(`${code} ends a verification, and the phone may be called again`, async () => {
    const { verification, clock } = await pending(problem(status, code, members), answer(201, { ...PENDING, id: "vrf_2" }));
    await verification.check("1234");
    assert.equal(verification.state.step, "ended");
    await clock.pass(60_000);
    await verification.start();
    assert.deepEqual([verification.state.step, verification.state.id], ["code", "vrf_2"]);
  });
}

test("an answer that was lost leaves the code to be sent again; one without a device is as good", async () => {
  const { verification } = await pending(lost(), answer(200, { ...APPROVED, device: undefined }));
  await verification.check("1234");
  assert.deepEqual([verification.state.step, verification.state.problem.code, verification.state.checking], ["code", "network_error", false]);
  await verification.check("1234");
  assert.equal(verification.state.step, "approved");
});

test("it expires by itself", async () => {
  const { verification, clock } = await pending();
  await clock.pass(299_000);
  assert.deepEqual([verification.state.step, verification.state.expiresIn], ["code", 1]);
  await clock.pass(2000);
  assert.deepEqual([verification.state.step, verification.state.problem.code], ["ended", "expired"]);
  assert.equal(clock.pending(), 0);
});

test("the time that a challenge took is not taken from the code's", async () => {
  const clock = fakeClock();
  const service = fakeService(problem(428, "challenge_required", { challenge: {} }), answer(201, PENDING));
  const solveChallenge = () => new Promise((resolve) => clock.setTimeout(() => resolve("c29sdmVk"), 200_000));
  const verification = createVerification(createClient({ baseUrl: "https://verify.example", key: "pk_1", fetch: service.fetch, clock, solveChallenge }), { clock });
  verification.start(PHONE);
  await clock.pass(200_000);
  assert.deepEqual([verification.state.step, verification.state.expiresIn], ["code", 300]);
});

test("a resend waits for its countdown, of which listeners hear each second, and starts the next one", async () => {
  const { verification, service, clock } = await pending(answer(200, { ...PENDING, resend_in: 60 }));
  await verification.resend();
  assert.equal(service.requests.length, 1);
  const seen = [];
  verification.subscribe(({ resendIn }) => seen.push(resendIn));
  await clock.pass(3000);
  assert.deepEqual(seen, [29, 28, 27]);
  await clock.pass(27_000);
  await verification.resend();
  assert.deepEqual([verification.state.resendIn, verification.state.calls], [60, 2]);
});

test("a resend that is refused keeps the code open", async () => {
  const early = problem(429, "limit_reached", { limit: "resend_cooldown", retry_after: 2 });
  const unknown = problem(504, "call_unknown", { retry_after: 30 });
  const { verification, clock } = await pending(early, unknown);
  await clock.pass(30_000);
  await verification.resend();
  assert.deepEqual([verification.state.step, verification.state.problem, verification.state.resendIn], ["code", null, 2]);
  await clock.pass(2000);
  await verification.resend();
  assert.deepEqual([verification.state.step, verification.state.problem.code, verification.state.resendIn], ["code", "call_unknown", 30]);
});

test("a refused start says when to try again, and an edited phone may be tried at once", async () => {
  const refused = problem(429, "limit_reached", { limit: "calls_per_phone", retry_after: 60 });
  const { verification, service } = begin([refused, answer(201, PENDING)]);
  await verification.start(PHONE);
  assert.deepEqual([verification.state.step, verification.state.waitIn], ["phone", 60]);
  await verification.start(PHONE);
  assert.equal(service.requests.length, 1);
  verification.edit();
  await verification.start("+79990000000");
  assert.equal(verification.state.step, "code");
});

test("another number and back again: the pending verification goes on without a second call", async () => {
  const { verification, service } = await pending();
  verification.changePhone();
  assert.deepEqual([verification.state.step, verification.state.phone], ["phone", PHONE]);
  await verification.start("8 999 123-45-67");
  assert.deepEqual([verification.state.step, verification.state.id], ["code", "vrf_1"]);
  assert.equal(service.requests.length, 1);
});

test("what is answered after the person went elsewhere changes nothing", async () => {
  let release;
  const late = () => new Promise((resolve) => (release = () => resolve(answer(201, PENDING)())));
  const { verification, clock } = begin([late]);
  const started = verification.start(PHONE);
  await clock.pass(0);
  verification.changePhone();
  release();
  await started;
  assert.equal(verification.state.step, "phone");
});

test("a reload at any step goes on with the same verification", async () => {
  const { storage, clock, verification } = await pending();
  await clock.pass(10_000);
  verification.dispose();
  const after = begin([answer(200, APPROVED)], { storage, clock });
  await after.verification.restore();
  assert.deepEqual([after.verification.state.step, after.verification.state.id, after.verification.state.expiresIn], ["code", "vrf_1", 290]);
  await after.verification.check("1234");
  assert.equal(after.service.requests[0].body.id, "vrf_1");
  assert.equal(storage.getItem("lastdigits:verification"), null);
});

for (const [name, path] of [["start", "/verify/start"], ["resend", "/verify/resend"]]) {
  test(`a reload during a ${name} goes on under the same key`, async () => {
    const { storage, clock, verification, service } = begin(name === "start" ? [silent()] : [answer(201, PENDING), silent()]);
    if (name === "resend") {
      await verification.start(PHONE);
      await clock.pass(30_000);
    }
    verification[name](PHONE);
    await clock.pass(5000);
    verification.dispose();
    const after = begin([answer(200, PENDING, { "Idempotency-Replayed": "true" })], { storage, clock });
    await after.verification.restore();
    assert.equal(after.service.requests[0].path, path);
    assert.equal(after.service.requests[0].key, service.requests.at(-1).key);
    // Five seconds of the answer's life were over when it came.
    assert.deepEqual([after.verification.state.step, after.verification.state.expiresIn, after.verification.state.resendIn], ["code", 295, 25]);
  });
}

for (const name of ["start", "resend"]) {
  test(`a ${name} that was cut short minutes ago is not asked for again by itself: its key is too old, and the phone would ring twice`, async () => {
    const { storage, clock, verification } = begin([...(name === "start" ? [] : [answer(201, { ...PENDING, expires_in: 600 })]), silent(), silent()]);
    if (name === "resend") {
      await verification.start(PHONE);
      await clock.pass(30_000);
    }
    verification[name](PHONE);
    await clock.pass(25_000);
    verification.dispose();
    await clock.pass(60_000);
    const once = begin([silent()], { storage, clock });
    once.verification.restore();
    await clock.pass(5000);
    assert.equal(once.service.requests.length, 1);
    once.verification.dispose();
    await clock.pass(60_000);
    const after = begin([], { storage, clock });
    await after.verification.restore();
    assert.deepEqual([after.service.requests.length, after.verification.state.step], [0, name === "start" ? "phone" : "code"]);
  });
}

test("a page that asks for another purpose does not go on with what was pending", async () => {
  const storage = memoryStorage();
  const login = begin([answer(201, PENDING)], { storage, purpose: "login" });
  await login.verification.start(PHONE);
  const { clock } = login;
  const other = begin([], { storage, clock, purpose: "change-number" });
  await other.verification.restore();
  assert.equal(other.verification.state.step, "phone");
  const same = begin([], { storage, clock, purpose: "login" });
  await same.verification.restore();
  assert.equal(same.verification.state.step, "code");
});

for (const [name, late] of [
  ["is answered", answer(200, PENDING)],
  ["is refused", problem(409, "already_used")],
]) {
  test(`an approval stays one when a resend that was under way ${name}`, async () => {
    let release;
    const held = () => new Promise((resolve) => (release = () => resolve(late())));
    const { verification, clock } = await pending(held, answer(200, APPROVED));
    await clock.pass(30_000);
    const resent = verification.resend();
    await clock.pass(0);
    await verification.check("1234");
    release();
    await resent;
    assert.deepEqual([verification.state.step, verification.state.result.token], ["approved", "jwt"]);
  });
}

test("a resend that is refused because the phone was just confirmed leaves that to the check", async () => {
  let release;
  const held = () => new Promise((resolve) => (release = () => resolve(answer(200, APPROVED)())));
  const { verification, clock } = await pending(held, problem(409, "already_used"));
  await clock.pass(30_000);
  const checked = verification.check("1234");
  await clock.pass(0);
  await verification.resend();
  release();
  await checked;
  assert.equal(verification.state.step, "approved");
});

test("the time does not run out while the phone is called again", async () => {
  const { verification, clock } = await pending(silent(), answer(200, PENDING, { "Idempotency-Replayed": "true" }));
  await clock.pass(290_000);
  verification.resend();
  await clock.pass(15_000);
  assert.equal(verification.state.step, "code");
  await clock.pass(10_000);
  assert.deepEqual([verification.state.step, verification.state.resending], ["code", false]);
});

test("what expired while the page was closed is not shown", async () => {
  const { storage, clock, verification } = await pending();
  verification.dispose();
  await clock.pass(400_000);
  const after = begin([], { storage, clock });
  await after.verification.restore();
  assert.deepEqual([after.verification.state.step, after.verification.state.phone], ["phone", PHONE]);
});

test("a device is kept with its phone and sent with the next requests", async () => {
  const devices = memoryStorage();
  const first = begin([answer(201, PENDING), answer(200, APPROVED)], { devices });
  await first.verification.start(PHONE);
  await first.verification.check("1234");
  const wrong = problem(422, "code_incorrect", { attempts_left: 2 });
  const next = begin([answer(201, PENDING), answer(200, PENDING), wrong, answer(201, PENDING)], { devices });
  await next.verification.start(PHONE);
  await next.clock.pass(30_000);
  await next.verification.resend();
  await next.verification.check("0000");
  next.verification.changePhone();
  await next.verification.start("+79990000000");
  assert.deepEqual(next.service.requests.map(({ body }) => body.device), ["dev-1", "dev-1", "dev-1", undefined]);
});

test("a device is sent for its phone, however that is written", async () => {
  const devices = memoryStorage();
  const first = begin([answer(201, PENDING), answer(200, APPROVED)], { devices });
  await first.verification.start(PHONE);
  await first.verification.check("1234");
  const next = begin([answer(201, PENDING)], { devices });
  await next.verification.start("8 (999) 123-45-67");
  assert.equal(next.service.requests[0].body.device, "dev-1");
});

test("a service that knows no device is asked without it", async () => {
  const devices = memoryStorage();
  const first = begin([answer(201, PENDING), answer(200, APPROVED)], { devices });
  await first.verification.start(PHONE);
  await first.verification.check("1234");
  const unknown = problem(422, "invalid_request", { errors: [{ field: "device", message: "Extra inputs are not permitted" }] });
  const next = begin([unknown, answer(201, PENDING)], { devices });
  await next.verification.start(PHONE);
  assert.equal(next.verification.state.step, "code");
  assert.equal(next.service.requests[1].body.device, undefined);
});

test("a slow network is said, and a lost one too", async () => {
  const { verification, clock } = begin([lost(), silent()]);
  verification.start(PHONE);
  await clock.pass(100);
  assert.equal(verification.state.retrying, true);
  await clock.pass(5000);
  assert.equal(verification.state.slow, true);
});

test("a verification that is disposed of leaves no timer and calls no listener", async () => {
  const { verification, clock, steps } = begin([silent()]);
  verification.start(PHONE);
  await clock.pass(0);
  verification.dispose();
  await clock.pass(60_000);
  assert.equal(clock.pending(), 0);
  assert.deepEqual(steps, ["calling"]);
});
