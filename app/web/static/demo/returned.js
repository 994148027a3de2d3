// The site that the hosted page returns to, in the sandbox: its texts.

import { usual, WORDS } from "./words.js";

const words = WORDS[usual()];
const canceled = document.getElementById("redeemed").textContent === "";
document.documentElement.lang = usual();
for (const element of document.querySelectorAll("[data-t]")) element.textContent = (canceled && words.canceled[element.dataset.t]) || words[element.dataset.t];
