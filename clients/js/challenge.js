// Solves ALTCHA challenges: in a worker where this file runs as one, else for the page that imports it.

import { solveChallenge } from "altcha-lib";
import { deriveKey } from "altcha-lib/algorithms/web/pbkdf2";

const TIMEOUT = 600_000; // Milliseconds: a challenge is valid as long. The library's own 90 seconds are too few for a slow phone.

/** The payload that the service takes, base64. */
export async function solve(challenge) {
  if (!challenge.parameters) throw new Error(`no solver for challenges of ${challenge.provider}: set the element's solveChallenge`);
  const solution = await solveChallenge({ challenge, deriveKey, timeout: TIMEOUT });
  if (!solution) throw new Error("the challenge was not solved in time");
  return btoa(JSON.stringify({ challenge, solution }));
}

if (typeof WorkerGlobalScope !== "undefined" && self instanceof WorkerGlobalScope) {
  self.onmessage = async ({ data }) => {
    try {
      self.postMessage({ payload: await solve(data) });
    } catch (error) {
      self.postMessage({ error: String(error) });
    }
  };
  self.postMessage({ ready: true });
}
