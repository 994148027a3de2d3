// The demo page: the widget's requests, the phone that rings, the limits, and the lines to paste. All text goes in as text.

import { addRequest } from "./requests.js";
import { showBounds, showLimits } from "./limits.js";
import { Phone } from "./phone.js";
import { hostedQuery, SNIPPETS } from "./snippets.js";
import { LANGUAGE, usual, WORDS } from "./words.js";

const POLL = 1000; // Milliseconds.
const MAX_GUESSES = 10;
const of = (id) => document.getElementById(id);
const widget = of("widget");
const phone = new Phone(of("phone"));
let language = usual();
let context;
let scenario = "fine";
let snippet = "HTML";

const words = () => WORDS[language];
const json = async (url, init) => (await fetch(url, init)).json();

// ---- language

function speak(chosen) {
  language = chosen;
  localStorage.setItem(LANGUAGE, chosen);
  document.documentElement.lang = chosen;
  widget.lang = chosen;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = words()[element.dataset.t];
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", words()[element.dataset.label]);
  for (const button of document.querySelectorAll("[data-language]")) button.setAttribute("aria-pressed", String(button.dataset.language === chosen));
  of("after-paste").textContent = words().afterPaste;
  showHosted();
  showSnippet(snippet);
  showScenarios();
  phone.speak(words(), chosen);
  policy();
}

// ---- what goes wrong

function showScenarios() {
  of("scenarios").replaceChildren(
    ...Object.entries(words().scenarios).map(([name, [label]]) => {
      const chip = Object.assign(document.createElement("button"), { type: "button", textContent: label });
      chip.dataset.scenario = name;
      chip.setAttribute("aria-pressed", String(name === scenario));
      chip.addEventListener("click", () => choose(name));
      return chip;
    }),
  );
}

function hint(text) {
  of("scenario-hint").textContent = text;
}

async function choose(name) {
  if (["wrong", "locked"].includes(name)) return guess(name === "locked" ? MAX_GUESSES : 1, words().scenarios[name][1]);
  scenario = name;
  showScenarios();
  phone.holdFirst = name === "late";
  const behaviour = name in { busy: 1, timeout: 1, slow: 1 } ? name : "fine";
  await fetch("/demo/scenario", { method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name: behaviour }) });
  const key = name === "capped" ? context.capped_key : context.public_key;
  if (widget.getAttribute("client-key") !== key) widget.setAttribute("client-key", key);
  if (widget.step !== "phone") widget.reset();
  if (name === "capped") await useUp();
  hint(name === "challenge" && (await json("/demo/policy")).challenge !== "always" ? words().noChallenge : words().scenarios[name][1]);
}

/** Send digits that are not the code. */
async function guess(times, said) {
  if (widget.step !== "code") return hint(words().startFirst);
  const right = phone.newest?.code ?? "0000";
  for (let nth = 1; nth <= times && widget.step === "code"; nth += 1) {
    await widget.check(String((Number(right) + nth) % 10 ** right.length).padStart(right.length, "0"));
  }
  hint(said);
}

/** Place the one call that the capped client may pay for. */
async function useUp() {
  const number = `+7999${String(crypto.getRandomValues(new Uint32Array(1))[0] % 9_000_000 + 1_000_000)}`;
  const headers = { Authorization: `Bearer ${context.capped_key}`, "Content-Type": "application/json" };
  await logged("/verify/start", { method: "POST", headers, body: JSON.stringify({ phone: number }) });
}

// ---- requests

async function logged(url, init) {
  const began = performance.now();
  const row = addRequest(of("requests"), url, init, language);
  of("no-requests").hidden = true;
  try {
    const answer = await fetch(url, init);
    const copy = answer.clone();
    row.answered(answer.status, await copy.text(), performance.now() - began);
    showLimits(of("budgets"), answer.headers, words());
    policy();
    if (!answer.ok && url.toString().match(/start|resend/)) phone.refused(row.code);
    return answer;
  } catch (error) {
    if (error.name !== "AbortError") row.answered(0, String(error), performance.now() - began);
    throw error;
  }
}

async function policy() {
  if (!context) return;
  const limits = await json("/demo/policy").catch(() => null);
  if (limits) of("no-budgets").hidden = showBounds(of("bounds"), of("budgets"), limits, words());
}

// ---- the lines to paste

function showTabs() {
  of("tabs").replaceChildren(
    ...Object.keys(SNIPPETS).map((name) => {
      const tab = Object.assign(document.createElement("button"), { type: "button", textContent: words()[name] ?? name, id: `tab-${name}` });
      const chosen = name === snippet;
      for (const [attribute, value] of Object.entries({ role: "tab", "aria-selected": String(chosen), "aria-controls": "snippet-panel" })) tab.setAttribute(attribute, value);
      tab.tabIndex = chosen ? 0 : -1;
      tab.addEventListener("click", () => showSnippet(name));
      return tab;
    }),
  );
}

function showSnippet(name) {
  snippet = name;
  showTabs();
  of("snippet-panel").setAttribute("aria-labelledby", `tab-${name}`);
  of("hosted").hidden = name !== "Link";
  of("snippet").textContent = SNIPPETS[name]({ origin: location.origin, key: context.public_key, integrity: context.integrity, language });
}

function moveTab(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const names = Object.keys(SNIPPETS);
  const next = names[(names.indexOf(snippet) + step + names.length) % names.length];
  showSnippet(next);
  of(`tab-${next}`).focus();
}

async function copy(button, text) {
  await navigator.clipboard.writeText(text);
  button.textContent = words().copied;
  setTimeout(() => (button.textContent = words().copy), 1500);
}

/** The hosted page with what it needs: its link works as it stands. */
function showHosted() {
  if (context) of("hosted").href = `/verify?${new URLSearchParams(hostedQuery({ origin: location.origin, key: context.public_key, language }))}`;
}

// ---- start

async function poll() {
  try {
    const { calls } = await json("/demo/calls");
    phone.show(calls ?? [], widget.phone);
  } catch {
    // The service was stopped: the page goes on as soon as it is back.
  }
  setTimeout(poll, POLL);
}

// The calls of before are known before the widget can ask for one: each later call rings.
const [loaded, before] = await Promise.all([json("/demo/context"), json("/demo/calls")]);
context = loaded;
phone.begin(before.calls ?? []);
of("docs").hidden = !context.docs;
widget.fetch = logged;
for (const button of document.querySelectorAll("[data-language]")) button.addEventListener("click", () => speak(button.dataset.language));
of("tabs").addEventListener("keydown", moveTab);
of("copy").addEventListener("click", ({ target }) => copy(target, of("snippet").textContent));
speak(language);
widget.setAttribute("client-key", context.public_key);
poll();
