// Finds the digits that a person means in what they typed or pasted.

const SEPARATORS = String.raw`[ \t().\-–—/]`;
const GROUP = new RegExp(String.raw`\+?\d(?:${SEPARATORS}{0,3}\d)*`, "g");
const MIN_PHONE = 7; // A number has at least so many digits; fewer are a code.

// What stands in call logs and is no number: times, dates, durations by the clock, "(2)" calls. Each becomes a break between groups.
const NOISE = [
  /(?<![\d:])\d{1,3}:\d{2}(?::\d{2})?(?![\d:])(?:\s*[ap]\.?m\b\.?)?/gi,
  /(?<!\d|\d[./-])(?:0?[1-9]|[12]\d|3[01])([./])(?:0?[1-9]|1[0-2])\1(?:\d{4}|\d{2})(?![./]?\d)/g,
  /(?<!\d|\d[./-])(?:0?[1-9]|1[0-2])\/(?:0?[1-9]|[12]\d|3[01])\/(?:\d{4}|\d{2})(?![./]?\d)/g,
  /(?<!\d|\d-)(?:19|20)\d{2}-\d{2}-\d{2}(?!-?\d)/g,
  /\(\d{1,2}\)/g,
];

/**
 * The code in a text: the last digits of the one number in it, or the one group of digits that can be a code.
 *
 * Returns null where there is none, or where more than one is possible: an attempt is never spent on a guess at what was meant.
 *
 * @param {string} text what was typed or pasted: "1234", "+7 495 123-45-67", a line of a call log
 * @param {{length: number, own?: string}} known how many digits the code has, and the person's own number, which is never the one that called
 */
export function findDigits(text, { length, own = "" }) {
  const groups = groupsIn(text);
  if (groups.includes(null)) return null;
  const mine = own.replace(/\D/g, "").slice(-10);
  const numbers = groups.filter((group) => group.length >= MIN_PHONE && (mine.length < 10 || group.slice(-10) !== mine));
  const owned = groups.some((group) => group.length >= MIN_PHONE) && !numbers.length;
  const codes = owned ? [] : numbers.length ? numbers : groups.filter((group) => group.length >= length);
  const found = new Set(codes.map((digits) => digits.slice(-length)));
  return found.size === 1 ? [...found][0] : null;
}

/** Whether a text is more than a code that is being typed: it begins as a number, or has other characters than digits. */
export function isMoreThanCode(text, length) {
  return !/^\d*$/.test(text.replace(/[\s\-–]/g, "")) || text.replace(/\D/g, "").length > length;
}

/** Where the last digits of a text begin, so many of them. */
export function lastDigitsAt(text, count) {
  let at = text.length;
  for (; count > 0 && at > 0; at -= 1) count -= /\d/.test(text[at - 1]) ? 1 : 0;
  return at;
}

function groupsIn(text) {
  let plain = plainText(text).replace(/[*_•]/g, "").replace(/[\u2010-\u2012]/g, "-").replace(/\u00a0|\u202f/g, " ");
  for (const noise of NOISE) plain = plain.replace(noise, ";");
  return Array.from(plain.matchAll(GROUP), (match) => digitsOf(match[0], plain.slice(match.index + match[0].length)));
}

/** A text without what is not seen, with its digits as 0 to 9, whatever script they are of. */
export function plainText(text) {
  const plain = text.normalize("NFKC").replace(/\p{Cf}/gu, "");
  return plain.replace(/\p{Nd}/gu, (digit) => (/\d/.test(digit) ? digit : String(valueOf(digit))));
}

/** The value of a decimal digit of any script: each script's ten digits follow each other. */
function valueOf(digit) {
  let value = 0;
  while (value < 9 && /\p{Nd}/u.test(String.fromCodePoint(digit.codePointAt(0) - value - 1))) value += 1;
  return value;
}

/** A group's digits; null if where the number ends can't be said: "+7 495 123-45-67 3 min" is cut behind 67, "+44 20 7946 0958 3 min" can't be. */
function digitsOf(group, rest) {
  const digits = group.replace(/\D/g, "");
  if (/^(?:\+7|[78])/.test(group) && digits.length >= 11) return digits.length === 11 ? digits : cutAt(group, 11);
  const counted = digits.length >= MIN_PHONE && / \d{1,3}$/.test(group) && /^\s*\p{L}/u.test(rest);
  return counted || digits.length > 15 ? null : digits;
}

function cutAt(group, count) {
  const [head] = new RegExp(String.raw`(?:\D*\d){${count}}`).exec(group);
  return /\d/.test(group[head.length]) ? null : head.replace(/\D/g, "");
}
