// The drawn phone: it rings with each new call, and keeps the missed ones on its lock screen.

const RINGS = 5000; // Milliseconds: as long as a flash call may ring.
const KEPT = 3;

const nameOf = (call) => `${call.id} ${call.at}`;

/** "+7 495 123-45-67" in two parts: what comes before the code, and the code. */
export function parts({ from, code }) {
  const shown = /^7\d{10}$/.test(from) ? from.replace(/^(\d)(\d{3})(\d{3})(\d{2})(\d{2})$/, "+$1 $2 $3-$4-$5") : `+${from}`;
  let at = shown.length;
  for (let left = code.length; left > 0; at -= 1) left -= /\d/.test(shown[at - 1]) ? 1 : 0;
  return [shown.slice(0, at), shown.slice(at)];
}

function number(call) {
  const [before, code] = parts(call);
  return [before, Object.assign(document.createElement("b"), { textContent: code })];
}

export class Phone {
  /** Hold the first call of a phone back until the second one has come. */
  holdFirst = false;
  newest = null;
  #root;
  #seen = new Set();
  #held = null;
  #rows = [];
  #timer = null;
  #words;
  #language = "en";

  constructor(root) {
    this.#root = root;
    setInterval(() => this.#tick(), 1000);
  }

  #of(id) {
    return this.#root.querySelector(`#${id}`);
  }

  speak(words, language) {
    this.#words = words;
    this.#language = language;
    this.#of("call-title").textContent = words.incoming;
    this.#tick();
    this.#draw();
  }

  /** What was called before the page was opened does not ring. */
  begin(calls) {
    for (const call of calls) this.#seen.add(nameOf(call));
  }

  show(calls, mine) {
    const fresh = calls.filter((call) => !this.#seen.has(nameOf(call))).reverse();
    for (const call of fresh) {
      this.#seen.add(nameOf(call));
      if (mine.replace(/\D/g, "") === call.number) this.#arrive(call);
    }
  }

  #arrive(call) {
    this.newest = call;
    if (this.holdFirst && this.#held === null) {
      this.#held = call;
      return;
    }
    this.#ring(call);
    if (this.#held?.number === call.number) setTimeout((late) => this.#ring(late), RINGS + 1500, this.#held);
    this.#held = null;
  }

  #ring(call) {
    this.#of("call-from").replaceChildren(...number(call));
    this.#of("said").textContent = this.#words.said.replace("{number}", parts(call).join(""));
    this.#root.dataset.state = "ringing";
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.#root.dataset.state = "idle"), RINGS);
    this.#keep({ call, at: new Date() });
  }

  /** A call that was refused: nothing rings, and the phone says so. */
  refused(code) {
    if (code) this.#keep({ refused: code, at: new Date() });
  }

  #keep(row) {
    this.#rows = [row, ...this.#rows].slice(0, KEPT);
    this.#draw();
  }

  #draw() {
    this.#of("missed").replaceChildren(...this.#rows.map((row) => this.#row(row)));
  }

  #row({ call, refused, at }) {
    const line = document.createElement("li");
    const title = Object.assign(document.createElement("small"), { textContent: refused ? this.#words.noCall : this.#words.missedCall });
    const time = Object.assign(document.createElement("time"), { textContent: at.toLocaleTimeString(this.#language, { hour: "2-digit", minute: "2-digit" }) });
    const body = call ? this.#copying(call) : Object.assign(document.createElement("code"), { textContent: refused });
    line.className = refused ? "refused" : "";
    line.append(title, time, body);
    return line;
  }

  #copying(call) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const whole = parts(call).join("");
    button.append(...number(call));
    button.setAttribute("aria-label", this.#words.copyNumber.replace("{number}", whole));
    button.addEventListener("click", () => navigator.clipboard.writeText(whole));
    return button;
  }

  #tick() {
    const now = new Date();
    this.#of("clock").textContent = now.toLocaleTimeString(this.#language, { hour: "2-digit", minute: "2-digit", hour12: false });
    this.#of("date").textContent = now.toLocaleDateString(this.#language, { weekday: "long", day: "numeric", month: "long" });
  }
}
