// The frame of the page: the stream of figures, the verdict, the tiles, and
// which view is shown. The address after # holds all of the page's state.
import { h, number, duration, bytes, percent, last } from "./dom.js"
import { spark, drawSpark } from "./charts.js"
import requests from "./requests.js"
import services from "./services.js"
import runtime from "./runtime.js"
import { leaks, captures, business, config } from "./more.js"

const views = { requests, services, runtime, leaks, captures, business, config }
const $ = id => document.getElementById(id)

// What the stream has told so far. Its size is bounded: a page may stay open for days.
export const data = { routes: new Map(), groups: {}, own: [], t: [], dt: [], series: {}, runtime: {}, sched: [] }

let stream, view, retry, paused = false, shownKey = ""

// --- the address ---

function where() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?")
  const [name, ...rest] = path.split("/")
  let item = rest.join("/")
  try { item = decodeURIComponent(item) } catch { item = "" }
  return { name: Object.hasOwn(views, name) ? name : "requests", item, query: new URLSearchParams(query) }
}

// href is the address of a view with the same time range.
function href(name, item, changes) {
  const query = new URLSearchParams()
  const range = where().query.get("range")
  if (range) query.set("range", range)
  for (const [key, value] of Object.entries(changes ?? {})) value ? query.set(key, value) : query.delete(key)
  return `#/${name}${item ? "/" + encodeURIComponent(item) : ""}${query.size ? "?" + query : ""}`
}

// change replaces parts of the address without a new entry in the history.
function change(changes) {
  const { name, item, query } = where()
  for (const [key, value] of Object.entries(changes)) value ? query.set(key, value) : query.delete(key)
  history.replaceState(null, "", `#/${name}${item ? "/" + encodeURIComponent(item) : ""}${query.size ? "?" + query : ""}`)
  show()
}

const seconds = () => { const n = Number(where().query.get("range")); return n > 0 && isFinite(n) ? n : 300 }

// --- the stream ---

function connect() {
  stream?.close()
  clearTimeout(retry)
  if (paused || document.hidden) return
  stream = new EventSource("/debug/console/events?range=" + seconds())
  stream.addEventListener("frame", e => {
    apply(JSON.parse(e.data))
    live("live", "on")
    update()
  })
  stream.onerror = () => {
    live("not connected", "off")
    if (stream.readyState === EventSource.CLOSED) retry = setTimeout(connect, 10000) // refused: the browser does not try again by itself
  }
}

function live(text, className) {
  $("live").textContent = text
  $("live").className = "live " + className
}

// apply adds a frame to data: one with everything, or the last sample.
function apply(frame) {
  if (frame.full) {
    data.about = frame.about
    data.t = []; data.dt = []; data.series = {}; data.runtime = {}; data.sched = []; data.groups = {}; data.own = []; data.routes = new Map()
  }
  const most = 180, diagnoses = 90
  const diagnosed = frame.dt.length && (frame.full || frame.dt[0] !== last(data.dt))
  for (const key of ["from", "to", "state", "report", "still", "total", "headroom", "seq"]) data[key] = frame[key]
  append(data.t, frame.t, most)
  append(data.sched, frame.sched, most)
  for (const [name, values] of Object.entries(frame.series)) append(data.series[name] ??= [], values, most)
  for (const [name, values] of Object.entries(frame.runtime)) append(data.runtime[name] ??= [], values, most)
  const routes = new Map()
  for (const route of frame.routes) {
    const before = data.routes.get(route.n)
    if (before && !frame.full) route.k = append(before.k, route.k, 60)
    routes.set(route.n, route)
  }
  data.routes = routes
  if (diagnosed) append(data.dt, frame.dt, diagnoses)
  for (const [kind, rows] of Object.entries(frame.groups)) {
    if (kind === "own") data.own = merge(data.own, rows, data.t.length, frame.full, most)
    else if (diagnosed) data.groups[kind] = merge(data.groups[kind] ?? [], rows, data.dt.length, frame.full, diagnoses)
  }
}

function append(to, values, most) {
  to.push(...values)
  if (to.length > most) to.splice(0, to.length - most)
  return to
}

// merge appends to each row's series; one that is new is unknown before.
function merge(before, rows, length, full, most) {
  const known = new Map(before.map(row => [row.n, row]))
  return rows.map(row => {
    const old = known.get(row.n)
    if (full) return row
    for (const [name, values] of Object.entries(row.v)) {
      row.v[name] = old ? append(old.v[name], values, most) : [...new Array(Math.max(length - values.length, 0)).fill(null), ...values]
    }
    return row
  })
}

// --- what is always shown ---

function update() {
  head()
  verdict()
  tiles()
  const counts = { leaks: data.state?.leaks }
  for (const a of $("nav").children) {
    a.setAttribute("href", href(a.dataset.view))
    const n = counts[a.dataset.view]
    a.querySelector(".tag")?.remove()
    if (n) a.append(h("span.tag.warn", null, n))
  }
  view?.update(data)
}

function head() {
  const about = data.about
  if (!about) return
  document.title = `${about.service} · ${data.report?.verdict ?? "Loadline"}`
  $("service").textContent = about.service
  const ready = data.state.draining ? h("span.tag.warn", null, "draining") : data.state.ready ? h("span.tag.good", null, "ready") : h("span.tag.bad", { title: (data.state.failed ?? []).join("\n") }, "not ready")
  const version = about.version && about.version !== "unknown" ? `version ${about.version} · ` : ""
  $("facts").replaceChildren(ready, h("span", null, `${version}up ${duration((data.to - about.started) / 1000)} · ${about.go}`), data.state.armed ? h("span.tag.warn", { title: data.state.armed }, "recorder armed") : "")
  slos(data.state.slos ?? [])
}

// slos shows the objectives, those first that fare worst; a click leads to their routes.
function slos(all) {
  const most = 4, worst = all.toSorted((a, b) => (a.left ?? 2) - (b.left ?? 2)), focused = document.activeElement?.dataset?.slo
  $("slos").hidden = !all.length
  $("slos").replaceChildren(...worst.slice(0, most).map(o => {
    const served = o.good + o.bad
    const about = `${+(100 * o.objective).toFixed(4)} % of ${o.route || "all requests"}${o.within ? " within " + duration(o.within) : ""}: ${served ? `${number(o.bad)} of ${number(served)} since the start were bad` : "no requests yet"}. ` +
      `Burn is how many times as fast as allowed the budget is spent: ${number(o.short)} in the last 5 min, ${number(o.long)} in the last hour. Of this process alone.`
    return h("a.tag", { "data-slo": o.name, href: href("requests", "", { q: o.route?.replace(/^\S+ +/, "") }), title: about, class: o.burning || o.left < 0 ? "bad" : o.short > 1 ? "warn" : served ? "good" : "" },
      h("b", null, o.name), served ? ` ${o.left < 0 ? "budget overspent" : percent(o.left) + " left"} · burn ${number(o.short)}` : " no requests yet")
  }), all.length > most ? h("span.muted", { title: worst.slice(most).map(o => o.name).join("\n") }, `+${all.length - most} more`) : "")
  if (focused) $("slos").querySelector(`[data-slo="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true })
}

function verdict() {
  const box = $("verdict"), report = data.report
  const key = report ? report.time : "none"
  if (key === shownKey) return
  shownKey = key
  const open = box.querySelector("details")?.open
  if (!report) {
    box.className = "verdict"
    box.replaceChildren(h("h1", null, h("b", null, "Unknown:"), " the first diagnosis has not been made yet"))
    return
  }
  const [first, ...others] = report.findings
  const still = data.still ?? [], more = others.length + still.length
  const rest = () => [...others.map(f => finding(f)), ...still.map(f => finding(f, "not in the last interval"))]
  box.className = `verdict ${report.verdict} ${report.verdict === "sick" && first?.level === "page" ? "page" : ""}`
  const text = report.headline.startsWith(report.verdict + ":") ? report.headline.slice(report.verdict.length + 1) : report.headline
  const parts = [h("h1", null, h("b", null, report.verdict + ":"), " " + text.trim())]
  if (first && report.verdict === "healthy") { // good to know, and no reason to push the figures down
    parts.push(h("details", { open }, h("summary", null, "The proof, and what to do next"), proof(first), next(first), rest()))
  } else {
    if (first) parts.push(proof(first), next(first))
    if (more) parts.push(h("details", { open }, h("summary", null, `${more} ${first ? "more " : ""}finding${more > 1 ? "s" : ""}${others.length ? "" : " of the intervals before"}`), rest()))
  }
  box.replaceChildren(...parts)
}

const proof = f => h("ul", null, f.proof.map(p => h("li", null, p.text, " ", h("code", null, p.metric))))

function next(f) {
  const parts = []
  const subject = data.routes.has(f.subject) ? h("a", { href: href("requests", f.subject) }, "open " + f.subject) : null
  if (f.next) {
    const command = f.next.replaceAll("ADMIN", location.host)
    parts.push(h("span.muted", null, "next"), h("code", null, command), h("button", { type: "button", onclick: e => copy(e.currentTarget, command) }, "Copy"))
  }
  if (subject) parts.push(subject)
  return h("div", null, parts.length ? h("div.next", null, parts) : null, f.remedy ? h("p.muted", null, f.remedy) : null)
}

function copy(button, text) {
  const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy" }, 1500) }
  navigator.clipboard?.writeText(text).then(done, () => {})
}

const finding = (f, when) => h("div.finding", null,
  h("h3", null, f.summary, " ", h("span.tag", { class: f.level === "page" ? "bad" : f.level === "ticket" ? "warn" : "" }, f.level), when ? h("span.muted", null, " " + when) : null), proof(f), next(f))

// tile makes one of the figures at the top.
const tileOf = new Map()
function tile(name, value, unit, values, color, note, about) {
  let t = tileOf.get(name)
  if (!t) {
    const text = h("div.value"), curve = spark([], color), beside = h("span")
    t = { text, curve, beside }
    tileOf.set(name, t)
    $("tiles").append(h("div.tile", { title: about }, h("div.label", null, name, beside), text, curve))
  }
  t.text.replaceChildren(value, unit ? h("small", null, " " + unit) : "")
  t.beside.textContent = note ?? ""
  drawSpark(t.curve, values)
}

function tiles() {
  if (!data.t.length) return
  const total = data.total, span = (data.to - data.from) / 1000
  const each = data.t.map((t, i) => (t - (i ? data.t[i - 1] : t - data.about.step * 1000)) / 1000)
  const points = visible()
  const cut = values => (values ?? []).slice(-points)
  const r = data.runtime
  const cores = (r.cpu_user ?? []).map((v, i) => v == null ? null : v + r.cpu_system[i])
  tile("Requests", number(total.c / span), "/s", cut(data.series.requests.map((v, i) => v / each[i])), "c0")
  tile("Errors", percent(total.c ? total.e / total.c : 0), "", cut(data.series.errors), "c3")
  tile("Latency p50", duration(total.p[0]), "", cut(data.series.p50), "c0")
  tile("Latency p99", duration(total.p[2]), "", cut(data.series.p99), "c1")
  tile("In flight", number(last(data.series.inflight)), "", cut(data.series.inflight), "c6", "", "Requests at a time, on average over a sample, or those under way at its end if they are more")
  tile("CPU", number(last(cores)), `of ${number(last(r.processors))} cores`, cut(cores), "c0")
  // Where only the host is a limit, what is used of it is mostly others'.
  const limited = data.headroom.used != null && data.headroom.by !== "host"
  tile("Memory", bytes(limited ? data.headroom.used : last(r.memory_go)), "", cut(limited ? r.memory_used : r.memory_go), "c2", limited ? percent(data.headroom.ratio) + " free" : "")
  tile("Scheduler p99", duration(last(r.sched_p99)), "", cut(r.sched_p99), "c1")
}

// window is how many of the last points lie in the time range.
export function visible() {
  const from = data.to - seconds() * 1000
  return Math.max(data.t.filter(t => t > from).length, 2)
}

// --- the view ---

let current = ""
function show() {
  const at = where()
  for (const a of $("nav").children) {
    a.dataset.view === at.name ? a.setAttribute("aria-current", "page") : a.removeAttribute("aria-current")
    a.setAttribute("href", href(a.dataset.view))
  }
  for (const b of $("ranges").children) b.setAttribute("aria-pressed", Number(b.dataset.seconds) === seconds())
  const key = at.name + "/" + at.item
  if (key !== current) {
    view?.close?.()
    view = views[at.name].open({ item: at.item, where, href, change, get, post, seconds, visible })
    $("view").replaceChildren(view.el)
    if (current) { $("view").focus({ preventScroll: true }); scrollTo(0, Math.min(scrollY, $("nav").offsetTop)) }
    current = key
  }
  if (data.t.length) view.update(data)
}

async function get(url) {
  const answer = await fetch(url, { headers: { Accept: "application/json" } })
  if (!answer.ok) throw new Error((await answer.text()).trim() || answer.statusText)
  return answer.json()
}

async function post(url, values) {
  const answer = await fetch(url, { method: "POST", body: new URLSearchParams(values) })
  const text = (await answer.text()).trim()
  if (!answer.ok) throw new Error(text || answer.statusText)
  return text
}

// --- begin ---

for (const [name, v] of Object.entries(views)) $("nav").append(h("a", { "data-view": name, href: href(name) }, v.title))
for (const [text, n] of [["1 min", 60], ["5 min", 300], ["15 min", 900]]) {
  $("ranges").append(h("button", { type: "button", "data-seconds": n, onclick: () => { change({ range: n === 300 ? "" : String(n) }); connect() } }, text))
}
function pause() {
  paused = !paused
  $("pause").setAttribute("aria-pressed", paused)
  $("pause").textContent = paused ? "Resume" : "Pause"
  connect()
  if (paused) live("paused", "")
}
const themes = ["", "dark", "light"]
function theme(name) {
  if (name) document.documentElement.dataset.theme = name
  else delete document.documentElement.dataset.theme
  $("theme").textContent = { "": "Theme: auto", dark: "Theme: dark", light: "Theme: light" }[name]
}
function nextTheme() {
  const name = themes[(themes.indexOf(document.documentElement.dataset.theme ?? "") + 1) % themes.length]
  try { localStorage.setItem("loadline-theme", name) } catch { /* private mode */ }
  theme(name)
  if (data.t.length) update()
}
try { const name = localStorage.getItem("loadline-theme"); theme(themes.includes(name) ? name : "") } catch { theme("") }
$("pause").addEventListener("click", pause)
$("theme").addEventListener("click", nextTheme)
addEventListener("hashchange", () => { const before = stream?.url; show(); if (before && !before.endsWith("=" + seconds())) connect() })
addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) return
  const names = Object.keys(views)
  if (e.key === "/") { const filter = document.querySelector("input[type=search]"); if (filter) { e.preventDefault(); filter.focus() } }
  else if (e.key === "p") pause()
  else if (e.key === "t") nextTheme()
  else if (names[e.key - 1]) location.hash = href(names[e.key - 1])
})
// A page that nobody sees costs the service nothing.
document.addEventListener("visibilitychange", connect)
addEventListener("pagehide", () => stream?.close())
show()
connect()

