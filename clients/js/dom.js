// Makes elements without a string of markup, so that a page's Trusted Types have nothing to object to.

const SVG = "http://www.w3.org/2000/svg";

/** An element with properties, `attr` attributes and children. */
export function make(tag, { attr = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attr)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function icon(path) {
  const picture = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "path");
  picture.setAttribute("viewBox", "0 0 24 24");
  picture.setAttribute("aria-hidden", "true");
  line.setAttribute("d", path);
  picture.append(line);
  return picture;
}

export const HANDSET = "M4 3h4.2l1.9 5-2.6 2.4a14.5 14.5 0 0 0 6.1 6.1l2.4-2.6 5 1.9V20a1 1 0 0 1-1 1A17 17 0 0 1 3 4a1 1 0 0 1 1-1z";
export const TICK = "M5 12.5l4.5 4.5L19 7.5";

/** Write only what differs: a live region would read it out again. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
