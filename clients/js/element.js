// <phone-verify>: draws the steps of machine.js, and takes part in the form around it.

import { createClient, LastdigitsError, memoryStorage } from "./lastdigits.js";
import { createVerification } from "./machine.js";
import { countriesOf, knows, learn } from "./phone.js";
import { solveChallenge } from "./solving.js";
import css from "./styles.css";
import { createView } from "./view.js";
import { isSetup, languageOf, load, speaker, wordsOf } from "./words.js";

/* global __COUNTRIES__ */
let sheet;

export class PhoneVerify extends HTMLElement {
  static formAssociated = true;
  static observedAttributes = ["base-url", "client-key", "code-length", "countries", "lang", "phone", "purpose", "required"];

  #internals = this.attachInternals();
  #view;
  #verification = null;
  #words;
  #last = null;
  #own = {};
  #local = null; // A problem that the element finds by itself: nothing is sent.

  /** Sends the requests instead of the platform's `fetch`. */
  fetch = null;
  /** Solves challenges instead of the solver that the service brings. */
  solveChallenge = null;

  constructor() {
    super();
    sheet ??= new CSSStyleSheet();
    if (!sheet.cssRules.length) sheet.replaceSync(css);
    const root = this.attachShadow({ mode: "open", delegatesFocus: true });
    root.adoptedStyleSheets = [sheet];
    this.#view = createView(root, {
      start: (phone) => this.start(phone),
      check: (text) => this.check(text),
      resend: () => this.#verification?.resend(),
      again: () => this.#verification?.start(),
      another: () => this.#verification?.changePhone(),
      edit: () => this.#edited(),
      incomplete: () => this.#refuse({ code: "phone_invalid" }),
    });
  }

  connectedCallback() {
    // What was set before the element was defined hides the class's own members.
    for (const name of ["fetch", "solveChallenge", "texts"]) {
      if (Object.hasOwn(this, name) && this[name]) {
        const value = this[name];
        delete this[name];
        this[name] = value;
      }
    }
    addEventListener("online", this.#draw);
    addEventListener("offline", this.#draw);
    this.#allow();
    if (this.getAttribute("phone")) this.#view.phone.value = this.getAttribute("phone");
    this.#speak();
    if (this.step !== "approved") this.#begin();
  }

  disconnectedCallback() {
    removeEventListener("online", this.#draw);
    removeEventListener("offline", this.#draw);
    if (this.step === "approved") return; // What is only moved keeps its token.
    this.#verification?.dispose();
    this.#verification = null;
  }

  attributeChangedCallback(name, before, after) {
    if (!this.#words || !this.isConnected || before === after) return; // Attributes of the markup come before connectedCallback.
    if (name === "lang") return this.#speak();
    if (name === "required") return this.#draw();
    if (name === "countries") return this.#allow();
    if (name === "phone") return void (this.#view.phone.value = after ?? "");
    this.#verification?.dispose();
    this.#begin();
  }

  // ---- what pages use

  /** The verification token; empty until the phone is confirmed. */
  get value() {
    return this.#last?.result?.token ?? "";
  }
  /** The step: phone, calling, code, approved, ended. */
  get step() {
    return this.#last?.step ?? "phone";
  }
  /** The phone that is verified, E.164. */
  get phone() {
    return this.#last?.phone || this.#view.phone.value;
  }
  get texts() {
    return this.#own;
  }
  /** Texts of your own, in place of single ones of the language's file. */
  set texts(own) {
    this.#own = own ?? {};
    this.#speak();
  }
  get form() {
    return this.#internals.form;
  }
  get name() {
    return this.getAttribute("name");
  }
  get type() {
    return this.localName;
  }
  get validity() {
    return this.#internals.validity;
  }
  get validationMessage() {
    return this.#internals.validationMessage;
  }
  get willValidate() {
    return this.#internals.willValidate;
  }
  checkValidity() {
    return this.#internals.checkValidity();
  }
  reportValidity() {
    return this.#internals.reportValidity();
  }
  /** Have a phone called, as if it had been typed. */
  start(phone) {
    this.#local = null;
    this.#view.phone.value = phone;
    if (this.#verification) return this.#verification.start(this.#view.phone.value);
    console.error("phone-verify: client-key is missing");
    this.#refuse({ code: "key_missing" });
  }
  /** Send digits, as if they had been typed. */
  check(text) {
    return this.#verification?.check(text);
  }
  resend() {
    return this.#verification?.resend();
  }
  /** Begin again with an empty field. */
  reset() {
    this.#local = null;
    this.#view.phone.value = this.getAttribute("phone") ?? "";
    this.#verification?.reset();
  }

  formResetCallback() {
    this.reset();
  }
  formDisabledCallback(disabled) {
    this.#view.nodes.card.inert = disabled;
  }

  // ---- within

  #begin() {
    const baseUrl = this.getAttribute("base-url") || new URL(import.meta.url).origin;
    const key = this.getAttribute("client-key");
    this.#verification = null;
    this.#last = null;
    // Frameworks set attributes after the element is in the page: a key may still come.
    if (!key) return this.#draw();
    const slot = `lastdigits:${baseUrl}|${key}|${this.#place()}`;
    const session = stored("sessionStorage");
    const client = createClient({
      baseUrl,
      key,
      storage: session,
      scope: slot,
      fetch: (...request) => (this.fetch ?? fetch)(...request),
      solveChallenge: (...challenge) => (this.solveChallenge ?? solveChallenge)(...challenge),
    });
    const purpose = this.getAttribute("purpose") ?? undefined;
    this.#verification = createVerification(client, { purpose, codeLength: this.#codeLength, storage: session, slot, devices: stored("localStorage") });
    this.#verification.subscribe(() => this.#draw());
    this.#draw();
    this.#verification.restore();
  }

  get #codeLength() {
    return Number(this.getAttribute("code-length")) || undefined;
  }

  #allow() {
    const list = this.getAttribute("countries") ?? "";
    this.#view.phone.allow(countriesOf(list));
    if (knows(list)) return;
    const rows = fetch(new URL(__COUNTRIES__, import.meta.url)).then((answer) => answer.json());
    rows.then(learn).then(() => this.#view.phone.allow(countriesOf(this.getAttribute("countries") ?? "")), console.warn);
  }

  /** What identifies this element among those of the page after a reload. */
  #place() {
    return this.id || `${this.name ?? ""}${[...document.querySelectorAll(this.localName)].indexOf(this)}`;
  }

  #draw = () => {
    const state = this.#verification?.state ?? EMPTY;
    const problem = this.#local ?? state.problem;
    const before = this.#last;
    this.#last = state;
    if (state.phone && state.step !== "phone" && state.phone !== before?.phone) this.#view.phone.value = state.phone;
    if (state.step === "phone" && before === null && state.phone) this.#view.phone.value = state.phone;
    this.#view.show({ ...state, problem }, { words: this.#words, codeLength: this.#codeLength });
    this.#takePart(state);
    this.#announce(state, before);
  };

  #takePart({ result }) {
    this.#internals.setFormValue(result?.token ?? null);
    const missing = this.hasAttribute("required") && !result;
    this.#internals.setValidity(missing ? { valueMissing: true } : {}, missing ? this.#words.say("title") : "", this.#view.nodes.phone);
  }

  #announce(state, before) {
    const emit = (name, detail) => this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
    if (before && before.step !== state.step) {
      emit("statechange", { step: state.step, from: before.step });
      if (state.step === "approved") {
        const { id, phone, token, tokenExpiresIn } = state.result;
        emit("verified", { id, phone, token, tokenExpiresIn });
      }
    }
    if (state.problem && state.problem !== before?.problem) {
      const { code, limit = null, retryAfter = null, attemptsLeft = null, status = null } = state.problem;
      if (state.problem instanceof LastdigitsError && isSetup(code)) console.error(`phone-verify: ${code}`, state.problem.cause ?? state.problem.detail);
      emit("problem", { code, limit, retryAfter, attemptsLeft, status });
    }
  }

  #edited() {
    this.#local = null;
    this.#verification?.edit();
    this.#draw();
  }

  #refuse(problem) {
    this.#local = problem;
    this.#draw();
  }

  // Nothing is shown in a language that is about to change: English comes only where the words of the right one don't.
  #speak() {
    const language = languageOf(this);
    this.#words = speaker(language, this.#own);
    const ready = wordsOf(language) !== null;
    this.#view.nodes.card.style.visibility = ready ? "" : "hidden";
    if (this.#words && this.isConnected) this.#draw();
    if (!ready) load(language).then(() => this.isConnected && languageOf(this) === language && this.#speak());
  }
}

const EMPTY = { step: "phone", phone: "", calls: 0, problem: null };

/** A storage of the browser; one that lasts as long as the page where the browser gives none. */
function stored(name) {
  try {
    const storage = globalThis[name];
    storage.setItem("lastdigits:test", "1");
    storage.removeItem("lastdigits:test");
    return storage;
  } catch {
    return memoryStorage();
  }
}

if (!customElements.get("phone-verify")) customElements.define("phone-verify", PhoneVerify);
