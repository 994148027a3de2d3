// The two fields: what a person types or pastes, and how it looks.

import { isMoreThanCode, lastDigitsAt } from "./digits.js";
import { make, write } from "./dom.js";
import { country, formatPhone, readPhone, showPhone, toE164 } from "./phone.js";

/** The field of the phone: it groups the digits as they are typed, and changes the country with the number. */
export function phoneField(nodes, actions) {
  let allowed = ["RU"];
  let read = { region: "RU", digits: "" };

  function allow(regions) {
    allowed = regions;
    nodes.country.replaceChildren(...regions.map((region) => make("option", { value: region, textContent: `${region} +${country(region).code}` })));
    nodes.country.hidden = regions.length < 2;
    read = readPhone(toE164(read), regions.includes(read.region) ? read.region : regions[0], regions);
    draw();
  }

  function draw(caret = null) {
    const text = formatPhone(read);
    if (nodes.phone.value !== text) nodes.phone.value = text;
    if (read.region) nodes.country.value = read.region;
    const example = country(read.region ?? allowed[0]);
    nodes.prefix.hidden = read.region === null || allowed.length > 1;
    write(nodes.prefix, `+${example.code}`);
    nodes.phone.placeholder = example.pattern.replace(/#/g, "0");
    if (caret !== null) nodes.phone.setSelectionRange(caret, caret);
  }

  // The caret stays behind the digit that was typed, whatever is grouped around it.
  function typed() {
    const { value, selectionStart } = nodes.phone;
    const behind = value.slice(selectionStart).replace(/\D/g, "").length;
    read = readPhone(value, read.region ?? nodes.country.value, allowed);
    draw(nodes.phone.matches(":focus") ? lastDigitsAt(formatPhone(read), behind) : null);
    actions.edit();
  }

  nodes.phone.addEventListener("input", typed);
  nodes.country.addEventListener("change", () => {
    read = { region: nodes.country.value, digits: read.digits };
    draw();
    actions.edit();
    nodes.phone.focus();
  });
  return {
    allow,
    /** E.164, or what there is of it. */
    get value() {
      return toE164(read);
    },
    set value(text) {
      read = readPhone(text, read.region ?? allowed[0], allowed);
      draw();
    },
    get incomplete() {
      return read.region !== null && read.digits.length < country(read.region).length - 2;
    },
    shown: (e164) => (e164 ? showPhone(e164, read.region ?? allowed[0], allowed) : ""),
  };
}

/** The field of the code: cells for its digits, one wide field for a whole number. */
export function codeField(nodes, actions) {
  let count = 0;

  function length(n) {
    if (n === count) return;
    count = n;
    nodes.cells.style.setProperty("--n", n);
    nodes.boxes.replaceChildren(...Array.from({ length: n }, () => make("span", { className: "cell", attr: { part: "cell" } })));
    mark();
  }

  function mark() {
    const { value } = nodes.code;
    const at = Math.min(nodes.code.selectionEnd ?? value.length, count - 1);
    nodes.cells.toggleAttribute("data-wide", isMoreThanCode(value, count));
    [...nodes.boxes.children].forEach((cell, index) => cell.toggleAttribute("data-on", index === (nodes.cells.hasAttribute("data-wide") ? 0 : at)));
  }

  function send(text) {
    nodes.code.value = text.replace(/\s+/g, " ").trim();
    mark();
    actions.check(text);
  }

  // Whole numbers are typed to their end: only a code of the right length is sent by itself.
  nodes.code.addEventListener("input", () => {
    const { value } = nodes.code;
    if (!isMoreThanCode(value, count)) nodes.code.value = value.replace(/\D/g, "");
    mark();
    if (nodes.code.value.length === count && !isMoreThanCode(nodes.code.value, count)) actions.check(nodes.code.value);
  });
  nodes.code.addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text") ?? "";
    if (!text) return;
    event.preventDefault();
    send(text);
  });
  for (const name of ["keyup", "focus", "select", "click"]) nodes.code.addEventListener(name, mark);
  return {
    length,
    clear(problem = null) {
      // What could not be read, or was not sent, is still there to be put right.
      if (["digits_not_found", "network_error"].includes(problem?.code)) nodes.code.select();
      else nodes.code.value = "";
      mark();
    },
  };
}
