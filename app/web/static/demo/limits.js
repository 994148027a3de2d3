// The limits: what is left of the caller's own ones, as RateLimit says with each answer, and what the policy counts of the shared budgets.

const make = (tag, text, className = "") => Object.assign(document.createElement(tag), { textContent: text, className });
const known = new Map();

/** The members of a RateLimit or RateLimit-Policy field: name -> parameters. */
function fields(text) {
  const found = [...(text ?? "").matchAll(/"([^"]+)"((?:;\w+=\d+)*)/g)];
  return new Map(found.map(([, name, parameters]) => [name, Object.fromEntries([...parameters.matchAll(/(\w+)=(\d+)/g)].map(([, key, value]) => [key, Number(value)]))]));
}

/** Show what an answer says is left; returns whether there is anything to show. */
export function showLimits(list, headers, words) {
  const limits = fields(headers.get("RateLimit-Policy"));
  for (const [name, { r }] of fields(headers.get("RateLimit"))) {
    if (limits.has(name)) known.set(name, { left: r, limit: limits.get(name).q });
  }
  draw(list, words);
  return known.size > 0;
}

/** Show the shared budgets and the bounds of the policy. */
export function showBounds(bounds, list, policy, words) {
  for (const { name, used, limit } of policy.budgets ?? []) known.set(name, { left: Math.max(0, limit - used), limit });
  draw(list, words);
  const percent = (chance) => `${Number((chance * 100).toPrecision(2))} %`;
  const rows = [
    [words.takeover, percent(policy.bounds.takeover_per_phone_and_day)],
    [words.calls, policy.bounds.calls_per_hour],
    [words.spend, `${policy.spend_per_hour} / ${policy.spend_per_day}`],
  ];
  bounds.replaceChildren(...rows.filter(([, value]) => value != null).flatMap(([name, value]) => [make("dt", name), make("dd", String(value))]));
}

function draw(list, words) {
  list.replaceChildren(
    ...[...known].map(([name, { left, limit }]) => {
      const row = document.createElement("li");
      const bar = Object.assign(document.createElement("meter"), { min: 0, max: limit, value: limit - left, high: limit * 0.8, optimum: 0 });
      bar.setAttribute("aria-label", name);
      row.append(make("code", name), make("span", words.left.replace("{left}", left).replace("{limit}", limit)), bar);
      return row;
    }),
  );
}
