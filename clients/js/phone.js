// Groups a phone number as it is typed. Whether it is one is for the service to say.

import BUILT_IN from "./countries.json" with { type: "json" };
import { plainText } from "./digits.js";

const MAX_DIGITS = 15;
let known = BUILT_IN; // Calling code | pattern | prefix at home | first digits of mobile numbers (make_countries.py).

/** Whether the rows of all these countries are here. */
export const knows = (list) => regionsIn(list).every((region) => region in known);

/** Take the rows of more countries. */
export const learn = (rows) => void (known = rows);

const regionsIn = (list) => list.toUpperCase().split(/[\s,]+/).filter(Boolean);

/** The countries of a list like "RU, KZ" that there are, in its order. */
export function countriesOf(list) {
  const regions = regionsIn(list).filter((region) => region in known);
  return regions.length ? [...new Set(regions)] : ["RU"];
}

export function country(region) {
  const [code, pattern, prefix, first] = known[region].split("|");
  return { region, code, pattern, prefix, first, length: pattern.replace(/[^#]/g, "").length };
}

/**
 * Read what stands in the field.
 *
 * @param {string} text "9991234567", "8 999 123", "+7 (999) 123-45-67"
 * @param {string} region the chosen country
 * @param {string[]} allowed
 * @returns {{region: string | null, digits: string}} the country, and the digits behind its calling code; no country: all digits of a foreign number
 */
export function readPhone(text, region, allowed) {
  const plain = plainText(text).trim();
  const digits = plain.replace(/\D/g, "").slice(0, MAX_DIGITS);
  if (/^(?:\+|00)/.test(plain)) return international(digits.replace(/^00/, ""), region, allowed);
  return national(digits, region, allowed);
}

function international(digits, region, allowed) {
  const fitting = [region, ...allowed].map(country).filter(({ code }) => digits.startsWith(code));
  if (!fitting.length) return { region: null, digits };
  const begins = fitting.find(({ code, first }) => first.includes(digits[code.length] ?? first[0])) ?? fitting[0];
  return { region: begins.region, digits: digits.slice(begins.code.length) };
}

function national(digits, region, allowed) {
  const { code, prefix, first, length } = country(region);
  const relatives = allowed.map(country).filter((other) => other.code === code);
  const begins = (rest) => relatives.some((other) => other.first.includes(rest[0]));
  let rest = digits;
  if (prefix && rest.startsWith(prefix) && !begins(rest)) rest = rest.slice(prefix.length);
  if (rest.startsWith(code) && (!begins(rest) || rest.length > length)) rest = rest.slice(code.length);
  const moved = rest && !first.includes(rest[0]) && relatives.find((other) => other.first.includes(rest[0]));
  return { region: moved ? moved.region : region, digits: rest };
}

/** The digits as people of the country write them; what is too long goes on behind. */
export function formatPhone({ region, digits }) {
  if (region === null) return `+${digits}`;
  let at = 0;
  let text = "";
  for (const letter of country(region).pattern) {
    if (at === digits.length) break;
    text += letter === "#" ? digits[at++] : letter;
  }
  return text + digits.slice(at);
}

export const toE164 = ({ region, digits }) => `+${region === null ? "" : country(region).code}${digits}`;

/** The whole number for people: "+7 999 123-45-67". */
export function showPhone(e164, region, allowed) {
  const read = readPhone(e164, region, allowed);
  return read.region === null ? e164 : `+${country(read.region).code} ${formatPhone(read)}`;
}
