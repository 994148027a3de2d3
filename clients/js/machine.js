// The steps of one verification, without a DOM: what a screen shows is its state, what a person does is one of its methods.
//
//   phone ──start──▶ calling ──▶ code ──check──▶ approved
//     ▲                │          │ resend: stays at code
//     └───── problem ──┘          └──▶ ended (expired, attempts spent, canceled): start again, or change the phone

import { findDigits } from "./digits.js";
import { memoryStorage, systemClock } from "./lastdigits.js";

const RESUME_WITHIN = 110_000; // Milliseconds: a call that a reload cut short is asked for again; the client keeps its Idempotency-Key a little longer.
const MAX_DEVICES = 5;

// After these there is nothing left to check.
const ENDING = new Set(["attempts_exhausted", "already_used", "verification_not_found", "expired", "canceled", "failed"]);

const IDLE = { checking: false, resending: false, solving: false, slow: false, retrying: false, problem: null };

const FIRST = {
  ...IDLE,
  step: "phone",
  phone: "",
  id: null,
  codeLength: null,
  attemptsLeft: null,
  calls: 0,
  result: null,
  askedAt: 0,
  expiresAt: 0,
  resendAt: 0,
  waitUntil: 0,
};

/** Make a verification. `lastdigits.d.ts` describes the options, the state and the methods. */
export function createVerification(client, options = {}) {
  const { purpose, storage = memoryStorage(), slowAfter = 4000 } = options;
  const slot = options.slot ?? "lastdigits:verification";
  const clock = options.clock ?? systemClock;
  const devices = devicesIn(options.devices ?? memoryStorage(), `lastdigits:devices:${client.baseUrl}|${client.key}`, clock.now);
  const listeners = new Set();
  let state = { ...FIRST };
  let left = null; // The pending verification that "another number" left: its phone need not be called twice.
  let ticking = null;
  let current = new AbortController();

  // ---- state

  function shown() {
    const seconds = (until) => Math.max(0, Math.ceil((until - clock.now()) / 1000));
    const { askedAt, expiresAt, resendAt, waitUntil, ...plain } = state;
    return Object.freeze({ ...plain, expiresIn: seconds(expiresAt), resendIn: seconds(resendAt), waitIn: seconds(waitUntil) });
  }

  function set(changes) {
    state = { ...state, ...changes };
    persist();
    tick();
    const now = shown();
    for (const listener of listeners) listener(now);
  }

  function persist() {
    if (!["calling", "code"].includes(state.step)) return void storage.removeItem(slot);
    storage.setItem(slot, JSON.stringify({ ...state, ...IDLE, resending: state.resending, purpose }));
  }

  function tick() {
    clock.clearTimeout(ticking);
    const ends = [state.waitUntil, ...(state.step === "code" ? [state.expiresAt, state.resendAt] : [])].filter((end) => end > clock.now());
    const expired = state.step === "code" && !state.checking && !state.resending && state.expiresAt <= clock.now();
    if (expired) ticking = clock.setTimeout(() => end({ code: "expired" }), 0);
    else if (ends.length) ticking = clock.setTimeout(() => set({}), Math.min(...ends.map((end) => (end - clock.now()) % 1000 || 1000)));
  }

  function end(problem) {
    current.abort();
    set({ ...IDLE, step: "ended", problem, waitUntil: wait(problem) });
  }

  const wait = (problem) => (problem.retryAfter ? clock.now() + problem.retryAfter * 1000 : 0);

  // ---- requests

  // Runs one request; what it answers after the person went elsewhere is dropped.
  async function run(request, { done, failed }) {
    const { signal } = current;
    const timer = clock.setTimeout(() => !signal.aborted && set({ slow: true }), slowAfter);
    const onProgress = ({ type }) => !signal.aborted && set(type === "challenge" ? { solving: true } : { retrying: true });
    let outcome;
    try {
      outcome = [done, await request({ signal, onProgress })];
    } catch (error) {
      outcome = [failed, error];
    }
    clock.clearTimeout(timer);
    if (signal.aborted) return;
    set({ slow: false, retrying: false, solving: false });
    outcome[0](outcome[1]);
  }

  function called(answer) {
    // The expiry counts from when the request was first sent, the next call from when its answer came: never too late, never too early.
    const received = answer.replayed ? answer.sentAt : clock.now();
    set({
      step: "code",
      id: answer.id,
      phone: answer.phone,
      codeLength: answer.codeLength,
      attemptsLeft: answer.attemptsLeft,
      calls: state.calls + 1,
      resending: false,
      problem: null,
      expiresAt: answer.sentAt + answer.expiresIn * 1000,
      resendAt: received + (answer.resendIn ?? 0) * 1000,
    });
  }

  async function start(phone = state.phone) {
    const waits = shown().waitIn > 0 && sameNumber(phone, state.phone);
    if (!["phone", "ended"].includes(state.step) || waits) return;
    if (left && sameNumber(phone, left.phone) && left.expiresAt > clock.now()) return resume(left);
    return ask(phone, clock.now());
  }

  async function ask(phone, askedAt) {
    current = new AbortController();
    set({ ...FIRST, step: "calling", phone, askedAt });
    await run((how) => known(client.start, { phone, purpose, codeLength: options.codeLength }, how), {
      done: called,
      failed: (problem) => set({ step: "phone", problem, waitUntil: wait(problem) }),
    });
  }

  /** Send a request with the device token of the phone, if it has one. */
  async function known(send, members, how) {
    const device = await devices.of(state.phone);
    try {
      return await send({ ...members, device }, how);
    } catch (error) {
      // A service that knows no `device` must not lock its people out.
      if (!device || !error.errors?.some(({ field }) => field === "device")) throw error;
      return send(members, how);
    }
  }

  function resume(kept) {
    left = null;
    current = new AbortController();
    set(kept);
  }

  async function check(text) {
    if (state.step !== "code" || state.checking || shown().waitIn > 0) return;
    const code = findDigits(text, { length: state.codeLength, own: state.phone });
    if (code === null) return set({ problem: { code: "digits_not_found" } });
    set({ checking: true, problem: null });
    await run((how) => known(client.check, { id: state.id, code }, how), { done: approved, failed: refused });
  }

  function approved(answer) {
    current.abort(); // A resend that is under way has nothing more to say.
    devices.keep(answer.phone, answer.device);
    set({ ...IDLE, step: "approved", result: answer });
  }

  function refused(problem) {
    const spent = problem.code === "code_incorrect" && problem.attemptsLeft === 0;
    if (spent) return end({ code: "attempts_exhausted" });
    // A new verification of this phone has a longer code, which the day's guesses still allow.
    if (ENDING.has(problem.code) || problem.limit === "guess_budget") return end(problem);
    set({ checking: false, problem, attemptsLeft: problem.attemptsLeft ?? state.attemptsLeft, waitUntil: wait(problem) });
  }

  async function resend() {
    if (state.step !== "code" || state.resending || shown().resendIn > 0) return;
    return callAgain(clock.now());
  }

  async function callAgain(askedAt) {
    set({ resending: true, problem: null, askedAt });
    await run((how) => known(client.resend, { id: state.id }, how), { done: called, failed: notCalled });
  }

  function notCalled(problem) {
    // What a check that is under way did is for its own answer to say: the phone may be confirmed.
    if (ENDING.has(problem.code)) return state.checking ? set({ resending: false }) : end(problem);
    const later = problem.retryAfter ? { resendAt: wait(problem) } : {};
    // Too early by a second: the countdown says it, no error is needed.
    set({ resending: false, problem: problem.limit === "resend_cooldown" ? null : problem, ...later });
  }

  function leave() {
    current.abort();
    left = state.step === "code" ? { ...state, ...IDLE } : null;
    set({ ...FIRST, phone: state.phone });
  }

  async function restore() {
    const kept = parsed(await storage.getItem(slot));
    // Another page of the site may have asked for something else: its token would be refused here.
    if (!kept || kept.purpose !== purpose || state.step !== "phone") return;
    const recent = clock.now() - kept.askedAt < RESUME_WITHIN;
    if (kept.step === "calling" && recent) return ask(kept.phone, kept.askedAt);
    if (kept.step !== "code" || kept.expiresAt <= clock.now()) return set({ phone: kept.phone });
    set({ ...FIRST, ...kept, resending: false });
    // The request was sent before the page was reloaded: its Idempotency-Key gets the answer, not another call.
    if (kept.resending && recent) return callAgain(kept.askedAt);
  }

  return {
    get state() {
      return shown();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    start,
    check,
    resend,
    changePhone: leave,
    /** The person edits the phone: what was said of the former one no longer holds. */
    edit: () => state.step === "phone" && state.problem && set({ problem: null, waitUntil: 0 }),
    restore,
    reset() {
      current.abort();
      left = null;
      set({ ...FIRST });
    },
    /** Stop timers and requests; what is pending stays in the storage. */
    dispose() {
      current.abort();
      clock.clearTimeout(ticking);
      listeners.clear();
    },
  };
}

function sameNumber(one, other) {
  const [left, right] = [one, other].map((text) => text.replace(/\D/g, "").slice(-10));
  return left !== "" && left === right;
}

/** The `device` tokens of the phones that were verified here, the newest ones. */
function devicesIn(storage, name, now) {
  const all = async () => parsed(await storage.getItem(name)) ?? {};
  const digits = (phone) => phone.replace(/\D/g, "");
  return {
    // People also write a phone as at home: 8 999 …
    of: async (phone) => Object.entries(await all()).find(([kept]) => sameNumber(kept, phone))?.[1]?.device,
    async keep(phone, device) {
      if (!device) return;
      const kept = { ...(await all()), [digits(phone)]: { device, at: now() } };
      const newest = Object.entries(kept).sort(([, one], [, other]) => other.at - one.at).slice(0, MAX_DEVICES);
      storage.setItem(name, JSON.stringify(Object.fromEntries(newest)));
    },
  };
}

function parsed(text) {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}
