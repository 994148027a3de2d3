"use strict";
// Shows the calls that the simulator placed. All text goes in as text, never as markup.
const SHOWN = 50;
const RINGS = 15000;
const of = (id) => document.getElementById(id);
let newest = null;

const grouped = (number) => "+" + number.replace(/^(\d)(\d{3})(\d{3})(\d{2})(\d+)$/, "$1 $2 $3-$4-$5");

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
  of("screen-title").textContent = age < RINGS ? "Incoming call" : "Last call";
  document.querySelector(".phone").classList.toggle("ringing", age < RINGS);
  if (newest === call.id) return;
  newest = call.id;
  of("to").textContent = "to " + grouped(call.number);
  of("from").replaceChildren(...calling(call));
  of("hint").textContent = `The code is the last ${call.code.length} digits.`;
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
  of("count").textContent = answer.count;
  of("empty").hidden = answer.count > 0;
  of("table").hidden = answer.count === 0;
  const changed = answer.calls.length && answer.calls[0].id !== newest;
  if (answer.calls.length) ring(answer.calls[0]);
  if (changed) of("rows").replaceChildren(...answer.calls.map(row));
}

async function poll() {
  try {
    const answer = await fetch(`/calls?limit=${SHOWN}`);
    show(await answer.json());
    of("offline").hidden = true;
  } catch {
    of("offline").hidden = false;
  }
  setTimeout(poll, 1000);
}

poll();
