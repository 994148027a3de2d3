// A clock that the test moves, and a service that answers what the test says.

export function fakeClock(start = 1_000_000) {
  let now = start;
  let next = 1;
  const timers = new Map();
  const flush = () => new Promise((resolve) => setImmediate(resolve));
  return {
    now: () => now,
    setTimeout(run, milliseconds) {
      timers.set(next, { run, at: now + milliseconds });
      return next++;
    },
    clearTimeout: (id) => void timers.delete(id),
    pending: () => timers.size,
    /** Let so many milliseconds pass, timer by timer. */
    async pass(milliseconds) {
      const until = now + milliseconds;
      await flush();
      for (;;) {
        const [id, due] = [...timers].filter(([, timer]) => timer.at <= until).sort(([, one], [, other]) => one.at - other.at)[0] ?? [];
        if (!due) break;
        timers.delete(id);
        now = Math.max(now, due.at);
        due.run();
        await flush();
      }
      now = until;
      await flush();
    },
  };
}

export const PENDING = { id: "vrf_1", status: "pending", phone: "+79991234567", code_length: 4, attempts_left: 3, expires_in: 300, resend_in: 30 };
export const APPROVED = { id: "vrf_1", status: "approved", phone: "+79991234567", token: "jwt", token_expires_in: 600, device: "dev-1" };

export const answer = (status, body, headers = {}) => () =>
  new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers: { "Content-Type": "application/json", ...headers } });
export const problem = (status, code, members = {}) => answer(status, { type: "urn:x", title: code, status, code, ...members });
export const lost = () => () => Promise.reject(new TypeError("Failed to fetch"));
/** No answer until the request is aborted. */
export const silent = () => (_, { signal }) => new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new DOMException("", "AbortError"))));

/** A fetch that answers in turn, and remembers the requests. */
export function fakeService(...answers) {
  const requests = [];
  const fetch = async (url, init) => {
    requests.push({ path: new URL(url).pathname, key: init.headers["Idempotency-Key"], body: JSON.parse(init.body), headers: init.headers });
    const next = answers.shift();
    if (!next) throw new Error(`no answer is left for ${url}`);
    return next(url, init);
  };
  return { fetch, requests, then: (...more) => answers.push(...more) };
}
