// Requests: the table of routes, and one route with its latencies, where its
// time goes, and its slowest and failed traces.
import { h, number, duration, percent, sum, clock, last } from "./dom.js"
import { spark, drawSpark, lines, heat } from "./charts.js"

const parts = ["running", "ready", "gc assist", "lock", "pool", "other"]
const words = { running: "on a processor", ready: "ready, waiting for a processor", "gc assist": "helping the garbage collector", lock: "waiting for a lock", pool: "waiting for a database connection", other: "other waits" }

// pieces lists where the time of a route goes, the largest first.
function pieces(route) {
  if (!route.w) return []
  const all = route.w.map((v, i) => ({ name: parts[i], value: v, color: "c" + i }))
  Object.entries(route.d ?? {}).forEach(([name, value], i) => all.push({ name, value, color: "c" + (6 + i % 6), dependency: true }))
  return all.filter(p => p.value > 0).sort((a, b) => b.value - a.value)
}

// step is the step of the program itself in which its slowest traces spend their
// time: what stands behind "other".
function step(route, data) {
  const s = data.state.inside?.[route.n]?.find(s => !s.call)
  return s && s.share >= .1 && s.name !== route.n ? s.name : null
}

function splitBar(route, data) {
  const all = pieces(route), total = sum(all.map(p => p.value))
  if (!total) return h("div", null, h("div.split"), h("div.why", null, "not measured yet"))
  const within = step(route, data)
  const text = all.filter(p => p.value >= .05 * total).slice(0, 3).flatMap((p, i) =>
    [i ? ", " : "", h("bdi", null, p.name), p.name === "other" && !p.dependency && within ? [" (in ", h("bdi", null, within), ")"] : "", " " + percent(p.value / total)].flat())
  return h("div", { title: all.map(p => `${p.name}: ${percent(p.value / total)}`).join("\n") },
    h("div.split", { "aria-hidden": "true" }, all.map(p => {
      const i = h("i", { class: p.color })
      i.style.flex = `${p.value / total} 0 0`
      return i
    })), h("div.why", null, text))
}

const columns = [
  ["name", "Route", r => r.n],
  ["rate", "Rate", r => r.c],
  ["errors", "Errors", r => r.c ? r.e / r.c : 0],
  ["p50", "p50", r => r.p[0] ?? -1],
  ["p95", "p95", r => r.p[1] ?? -1],
  ["p99", "p99", r => r.p[2] ?? -1],
  ["flight", "In flight", r => r.s],
  ["cpu", "CPU", r => r.u ?? -1],
  ["time", "Share of time", r => r.s],
]
const titles = {
  flight: "Requests under way, on average over the time range: the time that those which have ended took",
  cpu: "Share of the CPU that the process used, by its last CPU profiles; what is missing to 100 % was used outside of requests",
  time: "Share of the time of all requests",
}
const flight = v => v >= .01 || v === 0 ? number(v) : "<0.01"

// cpu is the part of the process's CPU that a route used, as [text, in full].
function cpu(r, data, seconds) {
  if (r.u == null || !data.total.u) return ["–", data.state.no_cpu || "no CPU was used in this time that a profile has told of"]
  return [percent(r.u / data.total.u), `${number(r.u / seconds)} of ${number(data.total.u / seconds)} cores, by the last CPU profiles`]
}

// most is how many routes are shown at first: to draw five hundred takes a
// browser a quarter of a second, each time that they change places.
const most = 100

function openTable(page) {
  const more = h("button.more", { type: "button", hidden: true, onclick: () => page.change({ all: "1" }) })
  const filter = h("input", { type: "search", placeholder: "Filter routes", "aria-label": "Filter routes", oninput: () => page.change({ q: filter.value }) })
  filter.value = page.where().query.get("q") ?? ""
  const heads = columns.map(([key, title]) => h("th", { class: key === "name" || key === "time" ? "" : "n", scope: "col", title: titles[key] },
    h("button", { type: "button", onclick: () => sortBy(key) }, title)))
  const body = h("tbody")
  const note = h("span.muted")
  const table = h("table.routes", null, h("thead", null, h("tr", null, heads, h("th", { scope: "col" }, "Requests"), h("th", { scope: "col" }, "Where the time goes"))), body)
  const el = h("div", null, h("div.bar", null, h("h2", null, "Routes"), note, filter), h("div.panel.scroll", null, table), more)
  const rows = new Map()

  function sortBy(key) {
    const now = page.where().query.get("sort") ?? "-time"
    const down = key !== "name"
    const first = (down ? "-" : "") + key, other = (down ? "" : "-") + key
    page.change({ sort: now === first ? other : first })
  }

  function row(name) {
    const cells = columns.map(([key, title]) => h("td", { class: key === "name" ? "name" : key === "time" ? "" : "n", "data-label": key === "name" ? null : key === "time" ? "Time" : title }))
    const link = h("a", { href: page.href("requests", name), title: name.length > 100 ? name : null }, name)
    cells[0].append(link)
    const curve = spark([]), time = h("td.time")
    return { tr: h("tr", null, cells, h("td", null, curve), time), cells, link, curve, time }
  }

  function update(data) {
    const query = page.where().query
    const sort = query.get("sort") ?? "-time", key = sort.replace("-", ""), down = sort.startsWith("-")
    const column = columns.find(c => c[0] === key) ?? last(columns)
    heads.forEach((th, i) => columns[i] === column ? th.setAttribute("aria-sort", down ? "descending" : "ascending") : th.removeAttribute("aria-sort"))
    const q = (query.get("q") ?? "").toLowerCase()
    if (document.activeElement !== filter) filter.value = query.get("q") ?? "" // a link may have set it
    const all = [...data.routes.values()]
    const shown = all.filter(r => r.n.toLowerCase().includes(q))
    shown.sort((a, b) => {
      const x = column[2](a), y = column[2](b)
      const order = x < y ? -1 : x > y ? 1 : a.n < b.n ? -1 : 1
      return down ? -order : order
    })
    const seconds = (data.to - data.from) / 1000, total = sum(all.map(r => r.s))
    note.textContent = `${shown.length === all.length ? all.length : shown.length + " of " + all.length} routes, ${clock(data.from)} to ${clock(data.to)}`
    const slow = data.total.p[2] ?? Infinity
    const some = query.get("all") ? shown : shown.slice(0, most)
    more.hidden = some.length === shown.length
    more.textContent = `Show the other ${shown.length - some.length} routes`
    for (const r of some) {
      let at = rows.get(r.n)
      if (!at) rows.set(r.n, at = row(r.n))
      at.link.setAttribute("href", page.href("requests", r.n))
      const errors = r.c ? r.e / r.c : 0
      at.cells[1].textContent = number(r.c / seconds) + "/s"
      at.cells[2].textContent = r.c ? percent(errors) : "–"
      at.cells[2].classList.toggle("bad", errors >= .01)
      at.cells[2].classList.toggle("faint", !errors)
      r.p.forEach((v, i) => { at.cells[3 + i].textContent = duration(v) })
      at.cells[5].classList.toggle("warn", r.p[2] > slow && r.s > .02 * total)
      const share = total ? r.s / total : 0
      const fill = h("i")
      fill.style.width = 100 * share + "%"
      at.cells[6].textContent = flight(r.s / seconds)
      const [used, full] = cpu(r, data, seconds)
      at.cells[7].textContent = used
      at.cells[7].title = full
      at.cells[7].classList.toggle("faint", used === "–")
      at.cells[8].replaceChildren(h("span.meter", { "aria-hidden": "true" }, fill), percent(share))
      drawSpark(at.curve, r.k)
      at.time.replaceChildren(splitBar(r, data))
    }
    for (const name of rows.keys()) if (!data.routes.has(name)) rows.delete(name)
    const want = some.map(r => rows.get(r.n).tr)
    if (!want.length) body.replaceChildren(h("tr", null, h("td.empty", { colspan: 11 }, all.length ? "no route has this in its name" : "no requests yet")))
    else if (want.length !== body.childElementCount || want.some((tr, i) => body.children[i] !== tr)) {
      const focused = document.activeElement
      body.replaceChildren(...want)
      if (body.contains(focused)) focused.focus({ preventScroll: true })
    }
  }
  return { el, update }
}

function openRoute(page) {
  const name = page.item
  const facts = h("dl.facts"), legend = h("ul.legend"), bar = h("div.where")
  const latency = lines({ title: "Latency", format: duration })
  const flow = lines({ title: "Requests and errors", format: v => number(v) + "/s" })
  const map = heat({ title: "Latency over time", format: duration })
  const split = lines({ title: "Where the time goes: requests at it on average", format: number, stacked: true, wide: true, height: 190 })
  const blame = h("p.muted", { hidden: true })
  const traces = h("div.panel", null, h("p.empty", null, "no traces of this route yet"))
  const wait = h("p.empty", null, "loading")
  const body = h("div", { hidden: true }, facts, bar, legend, blame, h("div.grid.two", null, latency.el, flow.el, map.el, split.el),
    h("h2", null, "Failed and slowest traces"), traces)
  const el = h("div", null, h("div.bar", null, h("h2", { title: name.length > 100 ? name : null }, h("a", { href: page.href("requests") }, "Routes"), " / " + name)), wait, body)
  let asked = 0, closed = false, tracesAt = 0

  async function load(data) {
    const mine = ++asked
    let r
    try { r = await page.get("/debug/console/route?name=" + encodeURIComponent(name)) } catch (e) { wait.textContent = e.message; wait.hidden = false; return }
    if (mine !== asked || closed) return
    wait.hidden = true
    body.hidden = false
    const n = Math.min(page.visible(), r.t.length)
    const t = r.t.slice(-n), cut = v => v.slice(-n)
    const each = r.t.map((v, i) => (i ? v - r.t[i - 1] : data.about.step * 1000) / 1000)
    latency.update(t, [["p50", "c0"], ["p95", "c1"], ["p99", "c3"]].map(([k, color]) => ({ name: k, color, values: cut(r[k]) })))
    flow.update(t, [{ name: "requests", color: "c0", values: cut(r.requests.map((v, i) => v / each[i])) }, { name: "errors", color: "c3", values: cut(r.errors.map((v, i) => v / each[i])) }])
    map.update(t, cut(r.heat), r.rows)
    const from = data.to - page.seconds() * 1000
    const dn = (r.dt ?? []).filter(v => v > from).length
    let dep = 6
    split.el.hidden = !r.split
    if (r.split) split.update(r.dt.slice(-dn), r.split.map((s, i) => ({ name: s.n, color: "c" + (s.d ? 6 + (dep++ - 6) % 6 : i), values: s.v.slice(-dn) })).filter(s => s.values.some(v => v > 0)))
    if (Date.now() - tracesAt > 9000) { tracesAt = Date.now(); loadTraces() }
  }

  async function loadTraces() {
    let found
    try { found = (await page.get("/debug/traces?format=json&route=" + encodeURIComponent(name))).traces } catch { return }
    if (closed || traces.contains(document.activeElement)) return
    if (!found.length) return
    traces.replaceChildren(...found.slice(0, 10).map(waterfall))
  }

  return {
    el,
    close() { closed = true },
    update(data) {
      const r = data.routes.get(name)
      if (!r) { // a longer time range may know of some
        wait.textContent = "no requests of this route in this time"
        wait.hidden = false
        body.hidden = true
        return
      }
      const all = pieces(r), total = sum(all.map(p => p.value)), seconds = (data.to - data.from) / 1000
      facts.replaceChildren(...[["Rate", number(r.c / seconds) + "/s"], ["Requests", number(r.c)], ["Errors", `${number(r.e)} (${percent(r.c ? r.e / r.c : 0)})`],
        ["p50 / p95 / p99", r.p.map(duration).join(" / ")], ["In flight", flight(r.s / seconds), titles.flight], ["CPU", ...cpu(r, data, seconds)], ["Share of time", percent(r.s / sum([...data.routes.values()].map(x => x.s)))]]
        .map(([k, v, title]) => h("div", { title }, h("dt", null, k), h("dd", null, v))))
      bar.replaceChildren(total ? splitBar(r, data).firstChild : "")
      legend.replaceChildren(...all.filter(p => p.value > .005 * total).map(p => h("li", { title: words[p.name] }, h("i", { class: p.color }), p.name, h("b", null, percent(p.value / total)))))
      const inside = data.state.inside?.[name] ?? []
      blame.hidden = !inside.length
      blame.replaceChildren("In its failed and slowest traces: ", ...inside.flatMap((s, i) => [i ? ", " : "", h("b", null, s.name), " " + percent(s.share)]))
      load(data)
    },
  }
}

// waterfall draws one trace.
export function waterfall(trace) {
  const total = Math.max(trace.duration_ns, 1)
  const depth = new Map()
  const rows = trace.spans.flatMap(s => {
    depth.set(s.span_id, depth.has(s.parent_id) ? depth.get(s.parent_id) + 1 : 0)
    const i = h("i", { class: s.error ? "err" : color(s) })
    i.style.left = Math.min(100 * s.offset_ns / total, 100) + "%"
    i.style.width = Math.max(Math.min(100 * s.duration_ns / total, 100 - 100 * s.offset_ns / total), 0) + "%"
    const label = h("span.s", { title: [s.name, ...Object.entries(s.attributes ?? {}).map(([k, v]) => `${k} = ${v}`)].join("\n") }, s.name, h("span.muted", null, peer(s)))
    label.style.paddingLeft = Math.min(depth.get(s.span_id), 12) * .8 + "rem"
    const notes = [s.message, ...(s.events ?? []).map(e => e.attributes?.["exception.message"] ?? e.name)].filter(Boolean)
    return [h("div.row", null, label, h("span.lane", { "aria-hidden": "true" }, i), h("span.t", null, duration(s.duration_ns / 1e9))),
      notes.length ? h("div.note", null, [...new Set(notes)].join("; ")) : null]
  })
  return h("div.trace", null,
    h("div", null, h("b", null, duration(trace.duration_ns / 1e9)), trace.failed ? h("span.tag.bad", null, "failed") : h("span.tag", null, "slow"),
      h("span.muted", null, clock(Date.parse(trace.start))), h("code.muted", null, trace.trace_id),
      h("a", { href: "/debug/traces?trace=" + trace.trace_id }, "as text")),
    h("div.spans", null, rows), trace.lost_spans ? h("p.muted", null, `${trace.lost_spans} more spans were not kept`) : null,
    trace.lost_logs ? h("p.muted", null, `${trace.lost_logs} log records before these were not kept`) : null,
    trace.logs ? h("div.logs", { role: "group", "aria-label": "Logs" }, trace.logs.map(log)) : null)
}

const levels = { E: "bad", W: "warn" } // ERROR, ERROR+1, ...

// log draws one record that was logged in a trace.
const log = l => h("div", null, h("span.t", null, duration(Math.max(l.offset_ns, 0) / 1e9)), h("b", { class: levels[l.level[0]] }, l.level),
  h("span", null, l.message, l.attributes ? h("code", null, l.attributes) : null))

// peer is whom a call went to, which its name does not say.
function peer(s) {
  const a = s.attributes ?? {}
  return s.kind === "client" && a["server.address"] ? " " + a["server.address"] + (a["server.port"] ? ":" + a["server.port"] : "") : ""
}

const color = s => s.kind === "client" ? "c6" : s.kind === "server" ? "c0" : s.kind === "producer" || s.kind === "consumer" ? "c2" : "c8"

export default { title: "Requests", open: page => page.item ? openRoute(page) : openTable(page) }
