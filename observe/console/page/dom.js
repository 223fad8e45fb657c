// Elements are made here and nowhere else. What comes from the service - names
// of routes, SQL, messages - becomes text nodes, never markup.

// h("a.link", {href: "#"}, "text", child, ...) makes an element. Properties
// that begin with "on" are listeners, the others attributes; null leaves one out.
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split(".")
  const el = document.createElement(name)
  if (classes.length) el.className = classes.join(" ")
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value == null || value === false) continue
    if (key.startsWith("on")) el.addEventListener(key.slice(2), value)
    else if (key === "class") el.className += " " + value
    else el.setAttribute(key, value === true ? "" : value)
  }
  add(el, children)
  return el
}

export function add(el, children) {
  for (const child of children.flat()) {
    if (child == null || child === false) continue
    el.append(child instanceof Node ? child : document.createTextNode(plain(String(child))))
  }
}

// plain shows what would turn the text around, or cannot be seen, as a mark:
// a name must not look like another.
export const plain = text => text.replace(/[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, "\ufffd")

const svgSpace = "http://www.w3.org/2000/svg"

export function svg(name, attributes, ...children) {
  const el = document.createElementNS(svgSpace, name)
  for (const [key, value] of Object.entries(attributes ?? {})) if (value != null) el.setAttribute(key, value)
  add(el, children)
  return el
}

// Numbers for people: three digits, and a unit.
export function number(v) {
  if (v == null || !isFinite(v)) return "–"
  const a = Math.abs(v)
  if (a >= 1e9) return digits(v / 1e9) + " G"
  if (a >= 1e6) return digits(v / 1e6) + " M"
  if (a >= 1e4) return digits(v / 1e3) + " k"
  if (Number.isInteger(v)) return String(v)
  return digits(v)
}

function digits(v) {
  const a = Math.abs(v)
  if (a === 0) return "0"
  if (a < 0.01) return v < 0 ? ">-0.01" : "<0.01"
  return a >= 100 ? v.toFixed(0) : a >= 10 ? v.toFixed(1) : v.toFixed(2)
}

export function duration(s) {
  if (s == null || !isFinite(s)) return "–"
  if (s === 0) return "0"
  if (s < 1e-3) return digits(s * 1e6) + " µs"
  if (s < 1) return digits(s * 1e3) + " ms"
  if (s < 120) return digits(s) + " s"
  if (s < 7200) return digits(s / 60) + " min"
  if (s < 172800) return digits(s / 3600) + " h"
  return digits(s / 86400) + " d"
}

export function bytes(v) {
  if (v == null || !isFinite(v)) return "–"
  const units = ["B", "KiB", "MiB", "GiB", "TiB"]
  let i = 0
  while (Math.abs(v) >= 1024 && i < units.length - 1) { v /= 1024; i++ }
  return (i ? digits(v) : Math.round(v)) + " " + units[i]
}

export function percent(v) {
  if (v == null || !isFinite(v)) return "–"
  v *= 100
  if (v === 0) return "0 %"
  return (v < 0.1 ? "<0.1" : v < 10 ? v.toFixed(1) : v.toFixed(0)) + " %"
}

export const rate = v => v == null || !isFinite(v) ? "–" : number(v) + "/s"
export const clock = ms => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" })
export const last = list => list?.length ? list[list.length - 1] : null
export const sum = list => list.reduce((a, b) => a + (b ?? 0), 0)
