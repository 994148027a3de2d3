"use strict";
// Shows the calls that the simulator placed. All text goes in as text, never as markup.
const SHOWN = 50;
const RINGS = 15000;
const of = (id) => document.getElementById(id);
let newest = null;

// Numbers of other countries are grouped by threes: where their codes end is not known here.
function grouped(number) {
  if (/^7\d{10}$/.test(number)) return "+" + number.replace(/^(\d)(\d{3})(\d{3})(\d{2})(\d{2})$/, "$1 $2 $3-$4-$5");
  return "+" + number.replace(/\d{3}(?=\d)/g, "$& ");
}

// Ids restart with the simulator: a page that stays open must not take a new call for an old one.
const nameOf = (call) => `${call.id} ${call.at}`;

// Writes only what changed: the screen is a live region, which screen readers would repeat each second.
function write(id, text) {
  if (of(id).textContent !== text) of(id).textContent = text;
}

// The calling number in two parts: what comes before the code, and the code.
function calling(call) {
  const end = call.code.length;
  const head = document.createElement("span");
  const start = call.from.slice(0, -end).replace(/^(\d)(\d{3})(\d*)$/, "$1 $2 $3");
  head.textContent = "+" + start.trim() + " ";
  const code = document.createElement("b");
  code.textContent = call.from.slice(-end);
  return [head, code];
}

function ring(call) {
  const age = Date.now() - Date.parse(call.at);
  write("screen-title", age < RINGS ? "Incoming call" : "Last call");
  document.querySelector(".phone").classList.toggle("ringing", age < RINGS);
  if (newest === nameOf(call)) return;
  newest = nameOf(call);
  write("to", "to " + grouped(call.number));
  of("from").replaceChildren(...calling(call));
  write("hint", `The code is the last ${call.code.length} digits.`);
}

function rest() {
  newest = null;
  document.querySelector(".phone").classList.remove("ringing");
  write("screen-title", "No call yet");
  write("to", "");
  write("from", "");
  write("hint", "Start a verification, and the number that calls shows here.");
}

function row(call) {
  const line = document.createElement("tr");
  const cells = [new Date(call.at).toLocaleTimeString(), grouped(call.number), null].map((text) => {
    const cell = document.createElement("td");
    if (text !== null) cell.textContent = text;
    return cell;
  });
  cells[0].className = "time";
  cells[2].append(...calling(call));
  line.append(...cells);
  return line;
}

function show(answer) {
  write("count", String(answer.count));
  of("empty").hidden = answer.count > 0;
  of("table").hidden = answer.count === 0;
  if (answer.calls.length === 0) {
    rest();
    return;
  }
  const changed = nameOf(answer.calls[0]) !== newest;
  ring(answer.calls[0]);
  if (changed) of("rows").replaceChildren(...answer.calls.map(row));
}

async function poll() {
  try {
    const answer = await fetch(`/calls?limit=${SHOWN}`);
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    show(await answer.json());
    of("offline").hidden = true;
  } catch {
    of("offline").hidden = false;
  }
  setTimeout(poll, 1000);
}

of("address").textContent = `${location.origin}/api/call-password/send/`;
poll();
