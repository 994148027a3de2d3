// The HTTP client of lastdigits for pages and apps: one call of this client is one action of a person.
//
// It has no dependency and uses no DOM: it runs in browsers, React Native and Node 20. `machine.js` holds the steps of a whole verification.

const ACTION_LIFE = 120_000; // Milliseconds: an action that was repeated after a longer pause is a new one, and may place a new call.
const REQUEST_TIMEOUT = 20_000; // Milliseconds: longer than the service waits for its provider.
const RETRY_FOR = 30_000; // Milliseconds: after that the person decides.
const MAX_WAIT = 10; // Seconds: a longer `retry_after` is shown to the person instead of waited for.
const MAX_BACKOFF = 8; // Seconds.
const MAX_CHALLENGES = 2; // One that expired while it was solved is replaced once.

/** What went wrong. `code` is stable: docs/errors.md lists the codes of the service; `network_error`, `unexpected_answer` and `aborted` are this client's. */
export class LastdigitsError extends Error {
  constructor(code, members = {}, cause = undefined) {
    super(members.title ?? code, { cause });
    this.name = "LastdigitsError";
    const none = { status: null, title: null, detail: null, limit: null, retryAfter: null, attemptsLeft: null, codeLength: null, challenge: null, errors: [] };
    Object.assign(this, none, camelCased(members), { code });
  }
}

/** Time as it is. Browsers refuse a `setTimeout` that is called as a method of something else. */
export const systemClock = {
  now: () => Date.now(),
  setTimeout: (run, milliseconds) => setTimeout(run, milliseconds),
  clearTimeout: (id) => clearTimeout(id),
};

/** Make a client. `lastdigits.d.ts` describes the options and the answers. */
export function createClient(options) {
  const { key, storage = memoryStorage(), scope = "", solveChallenge } = options;
  if (!options.baseUrl || !key) throw new TypeError("createClient: baseUrl and key are required");
  const baseUrl = options.baseUrl.replace(/\/+$/, "");
  const newKey = options.newKey ?? randomKey;
  const clock = options.clock ?? systemClock;
  const send = options.fetch ?? ((url, init) => fetch(url, init));
  const running = new Map();

  // A double click asks twice: both get the answer of one request.
  function shared(path, body, { signal }, act) {
    const name = `${path} ${JSON.stringify(body)}`;
    const before = running.get(name);
    // One that was given up may take a while to end, and ends without an answer.
    if (before && !before.signal?.aborted) return before.answer;
    const mine = { signal, answer: act().finally(() => running.get(name) === mine && running.delete(name)) };
    running.set(name, mine);
    return mine.answer;
  }

  const actions = actionsIn(storage, `lastdigits:action:${scope}`, newKey, clock.now);

  function call(path, body, how) {
    return shared(path, body, how, async () => {
      const action = await actions.begin(path, body);
      try {
        const answer = await postSolving(path, body, { ...how, idempotencyKey: action.key });
        await actions.end(path);
        // A first answer that comes again counts from the first request; a new one from the request that it answers, after all waits and challenges.
        return answer.replayed ? { ...answer, sentAt: action.at } : answer;
      } catch (error) {
        // No answer came, or it says nothing of an earlier try: the call may have been placed, so a repetition must name the same action.
        if (!["network_error", "aborted", "idempotency_key_in_use"].includes(error.code) && !didNothing(error)) await actions.end(path);
        throw error;
      }
    });
  }

  async function postSolving(path, body, how) {
    for (let solved = 0; ; solved += 1) {
      try {
        return await postRetrying(path, body, how);
      } catch (error) {
        if (error.code !== "challenge_required" || !solveChallenge || solved === MAX_CHALLENGES) throw error;
        how.onProgress?.({ type: "challenge" });
        body = { ...body, challenge: await solution(error, how.signal) };
      }
    }
  }

  async function solution(problem, signal) {
    try {
      return await solveChallenge(problem.challenge, { signal });
    } catch (error) {
      throw signal?.aborted ? new LastdigitsError("aborted") : new LastdigitsError(problem.code, problem, error);
    }
  }

  async function postRetrying(path, body, how) {
    const began = clock.now();
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await post(path, body, how);
      } catch (error) {
        const wait = retryIn(error, attempt, Boolean(how.idempotencyKey));
        if (wait === null || clock.now() + wait * 1000 > began + RETRY_FOR) throw error;
        how.onProgress?.({ type: "retry", problem: error, wait });
        await pause(clock, wait * 1000, how.signal);
      }
    }
  }

  async function post(path, body, { idempotencyKey, signal }) {
    const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
    if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
    const limit = limited(clock, signal);
    const sentAt = clock.now();
    try {
      const answer = await send(baseUrl + path, { method: "POST", headers, body: JSON.stringify(body), signal: limit.signal });
      return { ...(await read(answer)), sentAt };
    } catch (error) {
      if (error instanceof LastdigitsError) throw error;
      throw new LastdigitsError(signal?.aborted ? "aborted" : "network_error", {}, error);
    } finally {
      limit.done();
    }
  }

  return {
    baseUrl,
    key,
    start: ({ phone, codeLength, purpose, device }, how = {}) =>
      call("/verify/start", whole({ phone, code_length: codeLength, purpose, device }), how),
    resend: ({ id, device }, how = {}) => call("/verify/resend", whole({ id, device }), how),
    // A check has no Idempotency-Key: a wrong code whose answer was lost would cost a second attempt, so the person repeats it.
    check({ id, code, device }, how = {}) {
      const body = whole({ id, code, device });
      return shared("/verify/check", body, how, () => postRetrying("/verify/check", body, how));
    },
  };
}

/** `call_not_placed` has used the key up: the same request would get the same answer. */
const didNothing = ({ status, code }) => status === 503 && code !== "call_not_placed";

/** Seconds until the same request may be sent again; null if it must not be. */
function retryIn(error, attempt, idempotent) {
  if (error.code === "network_error") return idempotent ? Math.min(MAX_BACKOFF, 0.5 * 2 ** attempt) : null;
  if (error.code === "idempotency_key_in_use") return error.retryAfter ?? 1;
  return didNothing(error) && error.retryAfter !== null && error.retryAfter <= MAX_WAIT ? Math.max(error.retryAfter, 0.5) : null;
}

async function read(answer) {
  const body = await answer.text();
  const members = parsed(body);
  if (answer.ok && members?.id) return { ...camelCased(members), replayed: answer.headers.get("Idempotency-Replayed") === "true" };
  if (!answer.ok && members?.code) throw new LastdigitsError(members.code, { status: answer.status, ...members });
  // A proxy or a captive portal answered in place of the service: what the service did is unknown, as after a lost connection.
  const lost = answer.ok || answer.status >= 500;
  throw new LastdigitsError(lost ? "network_error" : "unexpected_answer", { status: answer.status });
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

function camelCased(members) {
  return Object.fromEntries(Object.entries(members).map(([name, value]) => [name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase()), value]));
}

/** Only the members that have a value. */
function whole(members) {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined && value !== null && value !== ""));
}

/** The last action of each route, kept until it is answered: a reloaded page goes on with the same key. */
function actionsIn(storage, prefix, newKey, now) {
  return {
    async begin(path, body) {
      const name = prefix + path;
      const fingerprint = JSON.stringify(body);
      const kept = parsed((await storage.getItem(name)) ?? "");
      if (kept?.body === fingerprint && now() - kept.at < ACTION_LIFE) return kept;
      const action = { body: fingerprint, key: newKey(), at: now() };
      await storage.setItem(name, JSON.stringify(action));
      return action;
    },
    end: async (path) => storage.removeItem(prefix + path),
  };
}

/** A signal that also fires at the request's timeout. */
function limited(clock, signal) {
  const controller = new AbortController();
  const stop = () => controller.abort();
  if (signal?.aborted) stop();
  signal?.addEventListener("abort", stop);
  const timer = clock.setTimeout(stop, REQUEST_TIMEOUT);
  return {
    signal: controller.signal,
    done() {
      clock.clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    },
  };
}

function pause(clock, milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = clock.setTimeout(end, milliseconds);
    const stop = () => {
      clock.clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      reject(new LastdigitsError("aborted"));
    };
    function end() {
      signal?.removeEventListener("abort", stop);
      resolve();
    }
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop);
  });
}

/** 128 random bits: all visitors of a page share its client, so a guessable key would show one visitor's answer to another. */
function randomKey() {
  if (!globalThis.crypto?.getRandomValues) {
    throw new TypeError("lastdigits: no crypto.getRandomValues here: pass newKey, or install react-native-get-random-values");
  }
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A storage that lasts as long as the page. */
export function memoryStorage() {
  const items = new Map();
  return { getItem: (name) => items.get(name) ?? null, setItem: (name, value) => void items.set(name, value), removeItem: (name) => void items.delete(name) };
}
