// Builds what the service serves: node build.mjs [DIRECTORY]. The same source gives the same bytes.
//
//   phone-verify.js   the element, one module
//   lastdigits.js     the client and the steps, for pages that draw by themselves
//   challenge.js      the solver, loaded when a challenge comes
//   countries.json    how numbers of all countries are grouped, loaded when a page names one that is not built in
//   lang/*.json       the words

import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const MAX_COMPRESSED = 15 * 1024;
const here = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2] ?? join(here, "..", "..", "app", "web", "static", "widget");
const { build } = createRequire(join(here, "package.json"))("esbuild");

const NOTICE = "/* lastdigits, Apache-2.0 */";
const ALTCHA = "/* lastdigits, Apache-2.0; altcha-lib, MIT, Copyright (c) 2023-2026 Daniel Regeci */";

/** Style without comments and indents: it travels as a string. */
const style = {
  name: "style",
  setup({ onLoad }) {
    onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const plain = (await readFile(path, "utf8")).replace(/\/\*[^]*?\*\//g, "");
      return { contents: plain.replace(/\s+/g, " ").replace(/\s*([{};,>!])\s*/g, "$1").replace(/: /g, ":").replace(/;}/g, "}").replace(/\b0\./g, ".").trim(), loader: "text" };
    });
  },
};

async function bundle(contents, name, options = {}) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: here },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    legalComments: "none",
    write: false,
    plugins: [style],
    banner: { js: options.banner ?? NOTICE },
    define: options.define,
  });
  await writeFile(join(target, name), outputFiles[0].contents);
  return outputFiles[0].contents;
}

await mkdir(target, { recursive: true });
const solver = await bundle('export * from "./challenge.js";', "challenge.js", { banner: ALTCHA });
const version = (bytes) => createHash("sha256").update(bytes).digest("hex").slice(0, 12);
const languages = {};
for (const file of (await readdir(join(here, "lang"))).sort()) languages[file.replace(".json", "")] = version(await readFile(join(here, "lang", file)));
const widget = await bundle('export * from "./element.js";', "phone-verify.js", {
  define: {
    __COUNTRIES__: JSON.stringify(`countries.json?v=${version(await readFile(join(here, "countries-all.json")))}`),
    __CHALLENGE__: JSON.stringify(`challenge.js?v=${version(solver)}`),
    __LANGUAGES__: JSON.stringify(languages),
  },
});
await bundle('export * from "./lastdigits.js"; export * from "./machine.js";', "lastdigits.js");
await cp(join(here, "countries-all.json"), join(target, "countries.json"));
await cp(join(here, "lang"), join(target, "lang"), { recursive: true });

const size = gzipSync(widget, { level: 9 }).length;
console.log(`phone-verify.js: ${widget.length} bytes, ${size} compressed`);
if (size > MAX_COMPRESSED) {
  console.error(`phone-verify.js is larger than ${MAX_COMPRESSED} bytes compressed`);
  process.exit(1);
}
