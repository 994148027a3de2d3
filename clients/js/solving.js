// Loads the challenge's solver when a challenge comes: into a worker, or where the page's policy allows none, into the page.

/* global __CHALLENGE__ */
const SOLVER = new URL(__CHALLENGE__, import.meta.url).href;
const READY_WITHIN = 5000; // Milliseconds: a policy that blocks a worker may say nothing.

/** Solve a challenge; the payload, base64. */
export async function solveChallenge(challenge, { signal } = {}) {
  let worker;
  try {
    worker = await startWorker();
  } catch {
    // The derivations run outside the page's thread in any case: what is lost is only their bookkeeping.
    return (await import(SOLVER)).solve(challenge);
  }
  return work(worker, challenge, signal);
}

function work(worker, challenge, signal) {
  return new Promise((resolve, reject) => {
    const end = (then, value) => {
      worker.terminate();
      signal?.removeEventListener("abort", stop);
      then(value);
    };
    const stop = () => end(reject, new DOMException("aborted", "AbortError"));
    worker.onmessage = ({ data }) => (data.error ? end(reject, new Error(data.error)) : end(resolve, data.payload));
    worker.onerror = () => end(reject, new Error("the solver failed"));
    signal?.addEventListener("abort", stop);
    worker.postMessage(challenge);
  });
}

/** A worker that has said it is ready. */
function startWorker() {
  return new Promise((resolve, reject) => {
    const { url, release } = workerUrl();
    const worker = new Worker(trusted(url), { type: "module" });
    const timer = setTimeout(() => fail(), READY_WITHIN);
    const settle = () => {
      clearTimeout(timer);
      release();
    };
    const fail = () => {
      settle();
      worker.terminate();
      reject(new Error("no worker"));
    };
    worker.onerror = fail;
    worker.onmessage = () => {
      settle();
      resolve(worker);
    };
  });
}

/** A worker must be of the page's own origin: a page elsewhere gets one that imports the solver. */
function workerUrl() {
  if (new URL(SOLVER).origin === location.origin) return { url: SOLVER, release() {} };
  const url = URL.createObjectURL(new Blob([`import ${JSON.stringify(SOLVER)};`], { type: "text/javascript" }));
  return { url, release: () => URL.revokeObjectURL(url) };
}

let policy;

function trusted(url) {
  if (!globalThis.trustedTypes) return url;
  policy ??= trustedTypes.createPolicy("lastdigits", { createScriptURL: (text) => text });
  return policy.createScriptURL(url);
}
