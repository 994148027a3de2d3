// The words of the element: one JSON file a language. English is built in; another is loaded when an element speaks it.

import en from "./lang/en.json" with { type: "json" };

/* global __LANGUAGES__ */
const KNOWN = __LANGUAGES__;

// Problems that are the same to a person share their words.
const SAME = {
  canceled: "verification_not_found",
  code_incomplete: "digits_not_found",
  destination_not_permitted: "phone_refused",
  "limit_reached.calls_per_phone_and_ip": "limit_reached.calls_per_phone",
  spend_cap: "unavailable",
  codes_predictable: "unavailable",
  destination_suspended: "unavailable",
  store_unavailable: "unavailable",
  provider_unavailable: "unavailable",
  overloaded: "unavailable",
};

/** Whether a problem is for the people who made the page: the console says more. */
export const isSetup = (code) => /^(challenge_|key_|method_|head_|origin_|invalid_r|malformed|unsupp|no_such|unexp|code_length|body_)/.test(code);

const short = (tag) => (tag ?? "").toLowerCase().split("-")[0];

/** The language of an element: its own, which may be one of your own file, that of what it stands in, or the browser's. */
export function languageOf(element) {
  const own = short(element.getAttribute("lang"));
  if (own) return own;
  const around = element.closest("[lang]")?.lang || document.documentElement.lang;
  return (around ? [around] : navigator.languages).map(short).find((tag) => tag in KNOWN) ?? "en";
}

const loaded = new Map([["en", en]]);
const loading = new Map();

/** The words of a language; null while they are still to be loaded. */
export const wordsOf = (tag) => loaded.get(tag) ?? null;

/** Load the words of a language from the file beside the module: English where there is none. */
export function load(tag) {
  const instead = () => (console.warn(`phone-verify: no words for lang="${tag}": English is used`), en);
  if (!loading.has(tag)) loading.set(tag, read(tag).catch(instead).then((words) => loaded.set(tag, words)));
  return loading.get(tag);
}

async function read(tag) {
  const version = KNOWN[tag] ? `?v=${KNOWN[tag]}` : "";
  const answer = await fetch(new URL(`lang/${tag}.json${version}`, import.meta.url));
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

/** What says a text in a language; `own` replaces single texts. */
export function speaker(tag, own = {}) {
  const file = wordsOf(tag) ?? en;
  const words = { ...en, ...file, ...own };
  const problems = { ...en.problems, ...file.problems, ...own.problems };
  const plural = new Intl.PluralRules(tag);
  // Russian counts digits by their number: "4 цифры", but "5 цифр".
  const counted = (text, n) => (words.digits && n ? text.replace(/\{n\} цифры/g, words.digits[plural.select(n)] ?? words.digits.other) : text);
  const filled = (text, values) => counted(text, values.n).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
  const say = (name, values = {}) => filled(words[name] ?? en[name], values);
  return {
    say,
    attempts: (n) => filled(words.attempts[plural.select(n)] ?? words.attempts.other, { n }),
    problem({ code, limit }, values, place) {
      const names = [limit && `${code}.${limit}`, place && `${code}.${place}`, code].filter(Boolean).flatMap((name) => [name, SAME[name]]);
      return filled(problems[names.find((name) => name in problems) ?? (isSetup(code) ? "setup" : "other")], values);
    },
  };
}
