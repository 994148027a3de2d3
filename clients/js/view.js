// What the element shows: made once, then changed with each state.

import { lastDigitsAt } from "./digits.js";
import { HANDSET, icon, make, TICK, write } from "./dom.js";
import { codeField, phoneField } from "./fields.js";

const EXAMPLE = "+7 495 123-45-67";
const DEFAULT_LENGTH = 4;

/** `view.nodes` are the elements that listen; `view.show(state, …)` draws a state. */
export function createView(root, actions) {
  const nodes = build();
  root.append(nodes.card);
  const phone = phoneField(nodes, actions);
  const code = codeField(nodes, actions);
  listen(nodes, actions, phone, code);
  let shown = null;
  let pressed = false; // Safari does not focus a button that is pressed.
  nodes.card.addEventListener("pointerdown", () => (pressed = true));

  function show(state, context) {
    const { words } = context;
    const step = shown?.step;
    const focused = root.activeElement;
    nodes.card.dataset.step = state.step;
    nodes.enter.hidden = state.step !== "phone";
    nodes.call.hidden = !["calling", "code"].includes(state.step);
    nodes.codeForm.hidden = state.step !== "code";
    nodes.ended.hidden = state.step !== "ended";
    nodes.approved.hidden = state.step !== "approved";
    const values = { n: state.codeLength ?? context.codeLength ?? DEFAULT_LENGTH, phone: phone.shown(state.phone) };
    showPhoneStep(nodes, state, words, values);
    showCall(nodes, state, words, values);
    code.length(values.n);
    showProblem(nodes, state, words, values);
    showNotes(nodes, state, words);
    if (state.step === "code" && state.problem && state.problem !== shown?.problem) code.clear(state.problem);
    if (step && step !== state.step && state.step === "code") code.clear();
    if (state.step === "code" && shown && state.calls > shown.calls && step === "code") write(nodes.said, words.say("newCall"));
    if (step && step !== state.step) arrive(state, focused, words, values);
    shown = state;
  }

  // A person who was in the element goes on at the next field. One who was elsewhere stays there.
  function arrive(state, focused, words, values) {
    const title = { calling: nodes.callTitle, ended: nodes.endedTitle, approved: nodes.approvedTitle }[state.step];
    if (!state.problem) write(nodes.said, saidOf(state, words, values));
    if (!focused && !pressed) return;
    pressed = false;
    if (state.step === "phone") nodes.phone.focus();
    else if (state.step === "code") nodes.code.focus();
    else title.focus();
  }

  return { nodes, show, phone };
}

function saidOf(state, words, values) {
  if (state.step === "calling") return `${words.say("calling", values)}. ${words.say("callingHint")}`;
  if (state.step === "code") return words.say("codeTitle", values);
  return state.step === "approved" ? words.say("approved") : "";
}

// ---- building

function build() {
  const nodes = {};
  const named = (name, element) => (nodes[name] = element);
  const title = (name) => named(name, make("h2", { tabIndex: -1, attr: { part: "title" } }));
  const error = (name) => named(name, make("p", { className: "error", id: name, hidden: true, attr: { part: "error" } }));
  const note = (name) => named(name, make("p", { className: "note", hidden: true, attr: { part: "note" } }));
  const primary = (name, type) => named(name, make("button", { type, className: "primary", attr: { part: "button primary" } }));
  const link = (name) => named(name, make("button", { type: "button", className: "link", attr: { part: "button secondary" } }));
  const hint = (name) => named(name, make("p", { id: name, attr: { part: "hint" } }));

  named("enter", make("section", {},
    title("enterTitle"), hint("intro"),
    named("phoneForm", make("form", { noValidate: true },
      make("div", {},
        named("phoneLabel", make("label", { htmlFor: "phone" })),
        named("field", make("div", { className: "field", attr: { part: "field" } },
          named("country", make("select", { hidden: true })),
          named("prefix", make("span", { className: "prefix", id: "prefix" })),
          named("phone", make("input", { id: "phone", type: "tel", inputMode: "tel", autocomplete: "tel", attr: { part: "input phone", "aria-describedby": "prefix phoneError intro" } })),
        ))),
      error("phoneError"), note("phoneNote"), primary("start", "submit"))),
  ));
  named("call", make("section", { className: "call" },
    title("callTitle"), hint("callHint"), drawing(named),
    named("codeForm", make("form", { noValidate: true },
      make("div", {},
        named("codeLabel", make("label", { htmlFor: "code" })),
        named("cells", make("div", { className: "cells" },
          named("boxes", make("div", { className: "boxes", attr: { "aria-hidden": "true" } })),
          named("code", make("input", { id: "code", inputMode: "numeric", autocomplete: "one-time-code", spellcheck: false, attr: { part: "input code", "aria-describedby": "codeError callHint", enterkeyhint: "done" } })),
        ))),
      error("codeError"), primary("check", "submit"))),
    note("callNote"), named("expires", make("p", { className: "note" })),
    make("div", { className: "row" }, link("resend"), link("another"))));
  named("ended", make("section", {},
    title("endedTitle"), make("form", {}, error("endedError"), note("endedNote"), primary("again", "button")),
    make("div", { className: "row" }, link("otherNumber"))));
  named("approved", make("section", {},
    make("div", { className: "done" },
      make("span", { className: "tick" }, icon(TICK)),
      make("div", {}, title("approvedTitle"), named("approvedPhone", make("p", { className: "num" }))))));
  named("said", make("div", { className: "said", attr: { role: "status", "aria-live": "polite" } }));
  named("card", make("div", { className: "card", attr: { part: "card" } }, nodes.enter, nodes.call, nodes.ended, nodes.approved, nodes.said));
  return nodes;
}

function drawing(named) {
  return make("div", { className: "ring", attr: { part: "drawing", "aria-hidden": "true" } },
    make("span", { className: "who" }, icon(HANDSET)),
    make("span", { className: "from" }, named("ringTitle", make("small")), named("ringNumber", make("span"))),
    make("span", { className: "keys" }, make("i", {}, icon(HANDSET)), make("i", {}, icon(HANDSET))));
}

// ---- drawing a state

function showPhoneStep(nodes, state, words, values) {
  write(nodes.enterTitle, words.say("title"));
  write(nodes.intro, words.say("intro", values));
  write(nodes.phoneLabel, words.say("phone"));
  nodes.country.setAttribute("aria-label", words.say("country"));
  press(nodes.start, waiting(state, words) ?? words.say("call"), state.waitIn > 0);
  write(nodes.endedTitle, words.say("ended"));
  press(nodes.again, waiting(state, words) ?? words.say("resend"), state.waitIn > 0);
  write(nodes.otherNumber, words.say("another"));
  write(nodes.approvedTitle, words.say("approved"));
  write(nodes.approvedPhone, values.phone);
}

function showCall(nodes, state, words, values) {
  const calling = state.step === "calling";
  const time = clockTime(state.expiresIn);
  writeMarked(nodes.callTitle, calling ? words.say("calling", { phone: "\0" }) : words.say("codeTitle", values), values.phone);
  writeMarked(nodes.callHint, calling ? words.say("callingHint") : words.say("codeHint", { phone: "\0" }), values.phone);
  write(nodes.ringTitle, `${words.say("incoming")} · ${words.say("example")}`);
  markLast(nodes.ringNumber, values.n);
  write(nodes.codeLabel, words.say("code", values));
  press(nodes.check, state.checking ? words.say("checking") : (waiting(state, words) ?? words.say("check")), state.checking || state.waitIn > 0, state.checking);
  nodes.expires.hidden = calling || state.step !== "code";
  write(nodes.expires, words.say("expires", { time }));
  const later = state.resendIn > 0;
  nodes.resend.hidden = calling;
  press(nodes.resend, state.resending ? words.say("resending") : later ? words.say("resendIn", { time: clockTime(state.resendIn) }) : words.say("resend"), later || state.resending);
  write(nodes.another, words.say("another"));
}

const waiting = (state, words) => (state.waitIn > 0 ? words.say("waitIn", { time: clockTime(state.waitIn) }) : null);

/** "4:32", "27:00", "3:05:00". */
function clockTime(seconds) {
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

// A button that can't be pressed now keeps its focus: it is not disabled, it says so.
function press(button, text, off, busy = false) {
  const name = `${text}|${busy}`;
  if (button.dataset.text !== name) {
    button.dataset.text = name;
    button.replaceChildren(...(busy ? [make("span", { className: "spinner", attr: { "aria-hidden": "true" } })] : []), text);
  }
  button.setAttribute("aria-disabled", String(off));
}

/** A text whose \0 is a number that must not be broken. */
function writeMarked(element, text, number) {
  const [before, after] = text.split("\0");
  if (element.dataset.text === text + number) return;
  element.dataset.text = text + number;
  element.replaceChildren(before, ...(after === undefined ? [] : [make("span", { className: "num", textContent: number }), after]));
}

/** The example number with its last digits marked. */
function markLast(element, count) {
  if (element.dataset.n === String(count)) return;
  element.dataset.n = count;
  const from = lastDigitsAt(EXAMPLE, count);
  element.replaceChildren(EXAMPLE.slice(0, from), make("b", { textContent: EXAMPLE.slice(from) }));
}

function showProblem(nodes, state, words, values) {
  const { problem } = state;
  const place = state.checking || state.step === "code" ? "check" : null;
  let text = problem ? words.problem(problem, values, place) : "";
  if (problem?.code === "code_incorrect" && state.attemptsLeft !== null) text += ` ${words.attempts(state.attemptsLeft)}`;
  const fields = { phone: [nodes.phoneError, nodes.field, nodes.phone], code: [nodes.codeError, nodes.cells, nodes.code], ended: [nodes.endedError] };
  for (const [step, [error, box, input]] of Object.entries(fields)) {
    const here = Boolean(text) && state.step === step;
    error.hidden = !here;
    write(error, here ? text : "");
    box?.toggleAttribute("data-bad", here);
    input?.setAttribute("aria-invalid", String(here));
  }
  if (text && nodes.said.dataset.problem !== text) write(nodes.said, text);
  nodes.said.dataset.problem = text;
}

function showNotes(nodes, state, words) {
  const busy = state.solving ? "solving" : state.retrying ? "retrying" : state.slow ? "slow" : null;
  const name = !navigator.onLine && state.step !== "approved" ? "offline" : busy;
  for (const note of [nodes.phoneNote, nodes.callNote, nodes.endedNote]) {
    note.hidden = !name;
    write(note, name ? words.say(name) : "");
  }
  if (name && nodes.said.dataset.note !== name) write(nodes.said, words.say(name));
  nodes.said.dataset.note = name ?? "";
}

function listen(nodes, actions, phone, code) {
  // The second click of a double click is none: it meets what the first one brought, "another number" in place of "call me".
  nodes.card.addEventListener("click", (event) => {
    if (event.detail < 2) return;
    event.preventDefault();
    event.stopPropagation();
  }, true);
  const on = (node, name, act) => node.addEventListener(name, (event) => {
    event.preventDefault();
    act();
  });
  on(nodes.phoneForm, "submit", () => (phone.incomplete ? actions.incomplete() : actions.start(phone.value)));
  on(nodes.codeForm, "submit", () => actions.check(nodes.code.value));
  on(nodes.again, "click", actions.again);
  on(nodes.resend, "click", actions.resend);
  on(nodes.another, "click", actions.another);
  on(nodes.otherNumber, "click", actions.another);
}
