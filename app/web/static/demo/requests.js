// One row for each request and its answer, the newest first.

const MAX_ROWS = 40;

const make = (tag, text, className = "") => Object.assign(document.createElement(tag), { textContent: text, className });

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** Add a row; its `answered` fills in the answer. */
export function addRequest(list, url, { method, headers, body }, language) {
  const row = document.createElement("li");
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  const status = make("span", "…", "status");
  const code = make("span", "", "code");
  const time = make("span", "", "took");
  const key = headers["Idempotency-Key"];
  const sent = make("pre", `${method} ${new URL(url, location.href).pathname}\n${key ? `Idempotency-Key: ${key}\n` : ""}\n${pretty(body)}`);
  const got = make("pre", "…");
  summary.append(status, make("span", `${method} ${new URL(url, location.href).pathname}`, "path"), code, time, make("time", new Date().toLocaleTimeString(language)));
  details.append(summary, sent, got);
  row.append(details);
  list.prepend(row);
  while (list.children.length > MAX_ROWS) list.lastChild.remove();
  return {
    code: "",
    answered(number, text, milliseconds) {
      status.textContent = number || "—";
      status.dataset.kind = number >= 500 || !number ? "bad" : number >= 400 ? "no" : "good";
      time.textContent = `${Math.round(milliseconds)} ms`;
      got.textContent = pretty(text);
      try {
        const answer = JSON.parse(text);
        this.code = answer.code ?? "";
        code.textContent = answer.code ?? answer.status ?? "";
      } catch {
        code.textContent = "";
      }
    },
  };
}
