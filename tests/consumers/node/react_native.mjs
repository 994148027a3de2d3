// Runs a bundle, CommonJS, among the globals that React Native has, and no others. What it touches of a browser's is noted.
//
// node react_native.mjs BUNDLE: reads calls of the bundle's `verification` from standard input, one a line, as JSON [method, ...arguments].
// Writes a line after each: the state, and what was touched of a browser.

import { pbkdf2 } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import vm from 'node:vm'

const OF_BROWSERS = ['document', 'location', 'history', 'localStorage', 'sessionStorage', 'indexedDB', 'customElements', 'HTMLElement', 'Worker', 'DOMException', 'crypto']

const touched = new Set()
const given = { fetch, AbortController, setTimeout, clearTimeout, performance, btoa, atob, console }
for (const name of OF_BROWSERS) {
  Object.defineProperty(given, name, {
    configurable: true,
    get() {
      touched.add(name)
    },
  })
}

const kept = new Map()
const modules = {
  // It adds this one function of `crypto`, as its documentation says.
  'react-native-get-random-values': () => {
    const getRandomValues = (array) => crypto.getRandomValues(array)
    Object.defineProperty(given, 'crypto', { value: { getRandomValues } })
  },
  '@react-native-async-storage/async-storage': () => ({
    getItem: async (name) => kept.get(name) ?? null,
    setItem: async (name, value) => void kept.set(name, value),
    removeItem: async (name) => void kept.delete(name),
  }),
  'react-native-quick-crypto': () => ({ pbkdf2 }), // Node's interface is what it offers.
}

const context = vm.createContext(given)
const module = { exports: {} }
const load = vm.runInContext(`(function (module, exports, require) {${readFileSync(process.argv[2], 'utf8')}\n})`, context)
load(module, module.exports, (name) => modules[name]())

const { verification } = module.exports
for await (const line of createInterface({ input: process.stdin })) {
  const [method, ...values] = JSON.parse(line)
  await verification[method](...values)
  await new Promise(setImmediate) // What it keeps is written beside the answer.
  const { step, id, problem, result } = verification.state
  console.log(JSON.stringify({ step, id, problem: problem?.code ?? null, phone: result?.phone ?? null, kept: kept.size, touched: [...touched] }))
}
verification.dispose()
