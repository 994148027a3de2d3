// The limits: what is left of the caller's own ones, as RateLimit says with each answer, and what each lane has used of the shared budgets.

const make = (tag, text, className = "") => Object.assign(document.createElement(tag), { textContent: text, className });
const shown = (number, style) => Number(number).toLocaleString(document.documentElement.lang, style);
const known = new Map(); // name -> used, max, and the names and values of a text

/** The members of a RateLimit or RateLimit-Policy field: name -> parameters. */
function fields(text) {
  const found = [...(text ?? "").matchAll(/"([^"]+)"((?:;\w+=\d+)*)/g)];
  return new Map(found.map(([, name, parameters]) => [name, Object.fromEntries([...parameters.matchAll(/(\w+)=(\d+)/g)].map(([, key, value]) => [key, Number(value)]))]));
}

/** Show what an answer says is left. */
export function showLimits(list, headers, words) {
  const limits = fields(headers.get("RateLimit-Policy"));
  for (const [name, { r }] of fields(headers.get("RateLimit"))) {
    if (limits.has(name)) known.set(name, { used: limits.get(name).q - r, max: limits.get(name).q, text: "left", values: { left: r, limit: limits.get(name).q } });
  }
  draw(list, words);
}

/** Show the shared budgets and the bounds of the policy. */
export function showBounds(bounds, list, policy, words) {
  for (const { limit, period, max, public: strangers, trusted } of policy.used ?? []) {
    const used = Number(strangers) + Number(trusted);
    known.set(`${limit}/${period}`, { used, max: Number(max), text: "lanes", values: { public: strangers, trusted, limit: max } });
  }
  draw(list, words);
  const most = policy.bounds.all ?? policy.bounds;
  const rows = [
    [words.takeover, shown(most.takeover_per_phone_and_day, { style: "percent", maximumSignificantDigits: 2 })],
    [words.calls, most.calls_per_hour],
    [words.spend, `${shown(policy.spend_per_hour)} / ${shown(policy.spend_per_day)}`],
  ];
  bounds.replaceChildren(...rows.filter(([, value]) => value != null).flatMap(([name, value]) => [make("dt", name), make("dd", String(value))]));
  return known.size > 0;
}

function draw(list, words) {
  list.replaceChildren(
    ...[...known].map(([name, { used, max, text, values }]) => {
      const row = document.createElement("li");
      const bar = Object.assign(document.createElement("meter"), { min: 0, max, value: used, high: max * 0.8, optimum: 0 });
      bar.setAttribute("aria-label", name);
      row.append(make("code", name), make("span", words[text].replace(/\{(\w+)\}/g, (_, key) => shown(values[key]))), bar);
      return row;
    }),
  );
}
