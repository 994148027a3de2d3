/** A place for strings: `sessionStorage`, `localStorage`, React Native's `AsyncStorage`, or anything like them. */
export interface KeyValueStorage {
  getItem(name: string): string | null | Promise<string | null>;
  setItem(name: string, value: string): unknown;
  removeItem(name: string): unknown;
}

/** Time, for tests: milliseconds. */
export interface Clock {
  now(): number;
  setTimeout(run: () => void, milliseconds: number): unknown;
  clearTimeout(id: unknown): void;
}

/** What a 428 answer asks for: an ALTCHA challenge, version 2, or the site key of another provider. */
export interface Challenge {
  provider?: string;
  parameters?: Record<string, unknown>;
  signature?: string;
  site_key?: string;
}

export interface ClientOptions {
  /** Where the service is: `https://verify.example.com`. */
  baseUrl: string;
  /** The public key of your page or app: `pk_…`. */
  key: string;
  /** Sends the requests; the platform's `fetch` by default. */
  fetch?: typeof fetch;
  /** Keeps the Idempotency-Key of an action over a reload; in memory by default. */
  storage?: KeyValueStorage;
  /** Keeps the actions of several clients in one storage apart. */
  scope?: string;
  /** Solves a challenge and returns what the service takes: ALTCHA's payload, base64, or another provider's token. Without it a challenge is an error, `challenge_required`. */
  solveChallenge?: (challenge: Challenge, options: { signal?: AbortSignal }) => Promise<string>;
  /** Makes an Idempotency-Key where there is no `crypto.getRandomValues`: at least 128 random bits. */
  newKey?: () => string;
  clock?: Clock;
}

/** What happens while a request waits: it is sent again after `wait` seconds, or a challenge is solved. */
export type Progress = { type: "retry"; problem: LastdigitsError; wait: number } | { type: "challenge" };

export interface RequestOptions {
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}

export interface Pending {
  id: string;
  status: "pending";
  /** E.164. */
  phone: string;
  codeLength: number;
  attemptsLeft: number;
  createdAt: string;
  expiresAt: string;
  /** Seconds, from when the request was first sent. */
  expiresIn: number;
  resendAt: string | null;
  /** Seconds. */
  resendIn: number | null;
  /** Whether the answer is a repeated one: no other call was placed. */
  replayed: boolean;
  /** When the request was sent that this answers; of a repeated answer, when the action began. By this device's clock: milliseconds. */
  sentAt: number;
}

export interface Approved {
  id: string;
  status: "approved";
  phone: string;
  approvedAt: string;
  /** The verification token, for your backend. */
  token: string;
  /** Seconds. */
  tokenExpiresIn: number;
  /** Send it with later requests for this phone. */
  device?: string;
}

export interface Client {
  readonly baseUrl: string;
  readonly key: string;
  /** Have a phone called. Lost answers are asked for again by themselves, under one Idempotency-Key. */
  start(body: { phone: string; codeLength?: number; purpose?: string; device?: string }, options?: RequestOptions): Promise<Pending>;
  /** Compare what the person typed. A lost answer is an error: a wrong code may have cost an attempt. */
  check(body: { id: string; code: string; device?: string }, options?: RequestOptions): Promise<Approved>;
  /** Have the phone called again. */
  resend(body: { id: string; device?: string }, options?: RequestOptions): Promise<Pending>;
}

/** Every promise of a client is rejected with this. */
export declare class LastdigitsError extends Error {
  constructor(code: string, members?: Record<string, unknown>, cause?: unknown);
  /** Stable: a code of docs/errors.md, or `network_error`, `unexpected_answer`, `aborted`. */
  readonly code: string;
  readonly status: number | null;
  readonly title: string | null;
  readonly detail: string | null;
  /** Which limit was reached, of `limit_reached`. */
  readonly limit: string | null;
  /** Seconds. */
  readonly retryAfter: number | null;
  readonly attemptsLeft: number | null;
  readonly codeLength: number | null;
  readonly challenge: Challenge | null;
  readonly errors: ReadonlyArray<{ field: string; message: string }>;
}

export declare function createClient(options: ClientOptions): Client;
export declare function memoryStorage(): KeyValueStorage;
export declare const systemClock: Clock;
