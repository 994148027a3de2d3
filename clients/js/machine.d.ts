import type { Approved, Client, Clock, KeyValueStorage, LastdigitsError } from "./lastdigits.js";

export interface VerificationOptions {
  /** Bound into the token. */
  purpose?: string;
  /** Asks for more digits than the policy. */
  codeLength?: number;
  /** Keeps the pending verification over a reload: `sessionStorage`. */
  storage?: KeyValueStorage;
  /** Its name in the storage: one for each verification that a page may show at once. */
  slot?: string;
  /** Keeps the `device` tokens of verified phones: `localStorage`. */
  devices?: KeyValueStorage;
  /** Milliseconds after which a request counts as slow. */
  slowAfter?: number;
  clock?: Clock;
}

/** A problem of the service or the network, or `digits_not_found`: nothing was sent. */
export type Problem = LastdigitsError | { code: "digits_not_found" | "expired" | "attempts_exhausted" };

export interface VerificationState {
  readonly step: "phone" | "calling" | "code" | "approved" | "ended";
  readonly phone: string;
  readonly id: string | null;
  readonly codeLength: number | null;
  readonly attemptsLeft: number | null;
  /** How often the phone was called. */
  readonly calls: number;
  readonly checking: boolean;
  readonly resending: boolean;
  /** A challenge is being solved. */
  readonly solving: boolean;
  readonly slow: boolean;
  /** The network failed, and the request is sent again. */
  readonly retrying: boolean;
  readonly problem: Problem | null;
  readonly result: Approved | null;
  /** Seconds that the code counts, until another call may be asked for, and until a start may be tried again. */
  readonly expiresIn: number;
  readonly resendIn: number;
  readonly waitIn: number;
}

export interface Verification {
  readonly state: VerificationState;
  /** Called with the state after each change, and each second of a countdown. Returns what ends it. */
  subscribe(listener: (state: VerificationState) => void): () => void;
  /** Have the phone called; without one, that of before. */
  start(phone?: string): Promise<void>;
  /** Send the digits found in a text; nothing is sent where they are missing or not clear. */
  check(text: string): Promise<void>;
  resend(): Promise<void>;
  changePhone(): void;
  /** The person edits the phone: the last problem no longer holds. */
  edit(): void;
  /** Go on with what the storage keeps for this purpose. A call whose answer is missing is asked for again under its key, within two minutes. */
  restore(): Promise<void>;
  reset(): void;
  /** Stop timers and requests; what is pending stays in the storage. */
  dispose(): void;
}

export declare function createVerification(client: Client, options?: VerificationOptions): Verification;
