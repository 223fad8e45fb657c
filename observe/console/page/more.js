// Leaks, captures, the program's own metrics, and the configuration.
import { h, number, duration, bytes, percent, last, clock } from "./dom.js"
import { lines } from "./charts.js"

// often calls load at once and then every few seconds while the view is updated.
function often(seconds, load) {
  let at = 0, closed = false
  const wrapped = () => { at = Date.now(); load().catch(() => {}) }
  return { tick() { if (!closed && Date.now() - at > seconds * 1000) wrapped() }, again: wrapped, close() { closed = true } }
}

function when(text) {
  const d = new Date(text), today = new Date().toDateString() === d.toDateString()
  return today ? clock(d) : `${d.toLocaleDateString([], { day: "numeric", month: "short" })} ${clock(d)}`
}
const place = p => p ? `${p.function} (${p.file.split("/").pop()}:${p.line})` : ""

function openLeaks(page) {
  const list = h("div.panel", null, h("p.empty", null, "loading"))
  const rest = h("div")
  const el = h("div", null, h("div.bar", null, h("h2", null, "What only grows"), h("a", { href: "/debug/leaks" }, "as text")), list, rest)
  const charts = new Map()
  let data
  const poll = often(10, async () => {
    let l
    try { l = await page.get("/debug/leaks?format=json") } catch (e) { list.replaceChildren(h("p.empty", null, e.message)); return }
    const open = new Set([...list.querySelectorAll("details[open]")].map(d => d.dataset.key))
    if (l.off) list.replaceChildren(h("p.empty", null, "The watch is off (Config.NoLeaks)."))
    else if (!l.suspects.length) list.replaceChildren(h("p.empty", null, l.at ? `Nothing that was looked at only grows (${l.windows} windows so far; a judgement takes 10 to 24).` : "The first window has not ended yet."))
    else list.replaceChildren(...l.suspects.map(s => {
      const at = place(s.creator ?? s.site) || s.group || s.kind, key = s.kind + " " + at
      return h("div.suspect", null,
        h("h3", null, h("span.tag.warn", null, s.kind), " ", at),
        h("dl", null, [["Now", s.kind === "heap" ? bytes(s.bytes) : number(s.count)], ["Growth", (s.kind === "heap" ? bytes(s.per_hour) : number(s.per_hour)) + " an hour"], ["Since", when(s.since)],
          ["Confidence", percent(s.confidence)], ["State", s.state], ["Basis", s.basis], ["Limit reached in", s.memory?.after_seconds ? duration(s.memory.after_seconds) : ""], ["Next", s.next]]
          .filter(([, v]) => v).flatMap(([k, v]) => [h("dt", null, k), h("dd", null, v)])),
        growth(s, at),
        s.stack ? h("details", { "data-key": key, open: open.has(key) }, h("summary", null, "Stack"), h("pre", { tabindex: 0 }, s.stack)) : null)
    }))
    rest.replaceChildren(
      ...(l.left_open.length ? [h("h2", null, "Left alone for a minute and not closed"), h("div.panel.scroll", null, h("table", null,
        h("thead", null, h("tr", null, ["Kind", "What", "Where", "Count", "Age", "Route"].map(t => h("th", { scope: "col" }, t)))),
        h("tbody", null, l.left_open.map(o => h("tr", null, [o.kind, o.group, place(o.site), number(o.count), duration(o.age_seconds), o.route ?? ""].map(v => h("td.wrap", null, v)))))))] : []),
      ...(l.unknown.length ? [h("h2", null, "Not known"), h("ul.muted", null, l.unknown.map(u => h("li", null, u)))] : []))
  })
  // growth is the chart of a suspect, when the diagnoses have told of it.
  function growth(s, at) {
    const row = data?.groups.leak?.find(r => r.d === s.kind && r.n.includes(s.site?.function ?? at.split(" ")[0]))
    if (!row) return null
    let chart = charts.get(row.n)
    if (!chart) charts.set(row.n, chart = lines({ title: "Count", format: number, height: 110 }))
    chart.update(data.dt, [{ name: s.kind, color: "c3", values: row.v.count }])
    return chart.el
  }
  return { el, update(d) { data = d; poll.tick() }, close: poll.close }
}

function openCaptures(page) {
  const list = h("div.panel.scroll", null, h("p.empty", null, "loading"))
  const note = h("span.muted", { role: "status" })
  const why = h("input", { type: "text", "aria-label": "Reason", placeholder: "Reason", maxlength: 200 })
  const make = h("button", {
    type: "button", async onclick() {
      make.disabled = true
      note.textContent = "capturing: profiles of the next seconds are taken"
      try { await page.post("/debug/captures", { reason: why.value || "from the console" }); note.textContent = "captured" } catch (e) { note.textContent = e.message }
      make.disabled = false
      poll.again()
    },
  }, "Capture now")
  const el = h("div", null, h("div.bar", null, h("h2", null, "Evidence of bad moments"), note, h("span", null, why, " ", make)), list,
    h("p.muted", null, h("a", { href: "/debug/pprof/ui" }, "Flame graphs"), " of what was captured and of now. As files: ", [["CPU, 10 s", "profile?seconds=10"], ["heap", "heap"], ["goroutines", "goroutine?debug=2"], ["locks", "mutex"], ["execution trace, 5 s", "trace?seconds=5"]]
      .flatMap(([name, path], i) => [i ? " · " : "", h("a", { href: "/debug/pprof/" + path }, name)])))
  const poll = often(10, async () => {
    let c
    try { c = await page.get("/debug/captures?format=json") } catch (e) { list.replaceChildren(h("p.empty", null, e.message)); make.disabled = true; return }
    if (list.contains(document.activeElement)) return
    if (!c.captures.length) { list.replaceChildren(h("p.empty", null, "No captures yet: a slow request, memory near its limit, or a new suspect of a leak makes one.")); return }
    const open = new Set([...list.querySelectorAll("details[open]")].map(d => d.dataset.key))
    list.replaceChildren(h("table.routes", null,
      h("thead", null, h("tr", null, ["When", "Why", "Trace", "Flame graphs", "Files"].map(t => h("th", { scope: "col" }, t)))),
      h("tbody", null, c.captures.map(b => {
        const there = b.files.filter(f => !f.missing), folder = "/debug/captures/" + encodeURIComponent(b.name)
        return h("tr", null,
          h("td", { title: b.time }, when(b.time)),
          h("td.name.reason", null, h("span.tag", null, b.kind.replaceAll("_", " ")), " ", b.detail ?? ""),
          h("td", { "data-label": b.trace_id ? "Trace" : null }, b.trace_id ? h("a", { href: "/debug/traces?trace=" + encodeURIComponent(b.trace_id) }, h("code", null, b.trace_id.slice(0, 8))) : ""),
          h("td.time", null, h("div.links", null, flames(b.name, there.map(f => f.name)))),
          h("td.time", null, h("div.links", null, h("a.tag", { href: folder + ".tar.gz" }, "all, " + bytes(b.bytes)),
            there.filter(f => f.name.endsWith(".txt")).map(f => h("a", { href: folder + "/" + encodeURIComponent(f.name) }, f.name.slice(0, -4)))),
            h("details", { "data-key": b.name, open: open.has(b.name) }, h("summary", null, `${there.length} files`),
              h("div.links", null, there.map(f => h("a", { href: folder + "/" + encodeURIComponent(f.name) }, f.name))))))
      }))))
  })
  return { el, update: poll.tick, close: poll.close }
}

const profiles = { cpu: "CPU", "cpu-before": "CPU before", heap: "heap", goroutine: "goroutines", mutex: "locks", block: "waiting" }

// flames are links to the flame graphs of a capture, what is asked for most first.
function flames(capture, files) {
  const id = name => `capture:${capture}/${name}.pprof`
  const link = (text, query, title) => h("a", { href: "/debug/pprof/ui?" + new URLSearchParams(query), title }, text)
  const there = files.filter(f => f.endsWith(".pprof")).map(f => f.slice(0, -".pprof".length))
  const order = [...Object.keys(profiles).filter(p => there.includes(p)), ...there.filter(p => !(p in profiles))]
  return order.flatMap(p => [link(profiles[p] ?? p, { profile: id(p) }),
    p === "cpu" && there.includes("cpu-before") ? link("CPU change", { profile: id(p), base: id("cpu-before") }, "CPU compared with the last profile before") : null])
}

function openBusiness(page) {
  const grid = h("div.grid")
  const el = h("div", null, h("div.bar", null, h("h2", null, "Metrics of this program")), grid)
  const charts = new Map()
  return {
    el,
    update(data) {
      const n = page.visible()
      const byMetric = Map.groupBy(data.own, row => row.n.split(" {")[0])
      if (!byMetric.size) { grid.replaceChildren(h("p.empty.panel", null, "The program defines no metrics of its own: observe.NewCounter, NewGauge and NewHistogram make them.")); return }
      const wanted = []
      for (const [name, rows] of byMetric) {
        const counted = rows.some(r => r.v.rate.some(v => v != null))
        const means = rows.some(r => r.v.mean.some(v => v != null)) // a histogram
        const key = name + counted + means
        let chart = charts.get(key)
        if (!chart) charts.set(key, chart = lines({ title: name + (means ? ", on average" : ""), format: means ? number : counted ? v => number(v) + "/s" : number }))
        chart.el.setAttribute("title", rows[0].d)
        const field = means ? "mean" : counted ? "rate" : "value"
        const top = rows.toSorted((a, b) => (last(b.v[field]) ?? 0) - (last(a.v[field]) ?? 0)).slice(0, 8)
        chart.update(data.t.slice(-n), top.map((r, i) => ({ name: r.n.includes(" {") ? r.n.slice(name.length + 2, -1) : counted ? `${number(last(r.v.value))} in all` : "now", color: "c" + [0, 6, 1, 2, 3, 7, 8, 9][i], values: r.v[field].slice(-n) })))
        wanted.push(chart.el)
      }
      if (wanted.length !== grid.childElementCount || wanted.some((c, i) => grid.children[i] !== c)) grid.replaceChildren(...wanted)
    },
  }
}

function openConfig(page) {
  const body = h("div", null, h("p.empty.panel", null, "asking whether the backends answer"))
  const level = h("select", { "aria-label": "Log level" }, ["default", "debug", "info", "warn", "error"].map(l => h("option", { value: l }, l)))
  const note = h("span.muted", { role: "status" })
  const set = h("button", {
    type: "button", async onclick() {
      try { note.textContent = "the level is " + await page.post("/debug/loglevel", { level: level.value }) } catch (e) { note.textContent = e.message }
    },
  }, "Set")
  const el = h("div", null, h("div.bar", null, h("h2", null, "Log level at run time"), note, h("span", null, level, " ", set)), body)
  const poll = often(30, async () => {
    let c
    try { c = await page.get("/debug/config?format=json") } catch (e) { body.replaceChildren(h("p.empty.panel", null, e.message)); return }
    if (document.activeElement !== level) level.value = c.log_level in { default: 1, debug: 1, info: 1, warn: 1, error: 1 } ? c.log_level : "default"
    if (!c.log_handler) { set.disabled = true; note.textContent = "the program logs without LogHandler" }
    const table = (heads, rows) => h("div.panel.scroll", null, h("table", null, h("thead", null, h("tr", null, heads.map(t => h("th", { scope: "col" }, t)))), h("tbody", null, rows)))
    const state = (ok, good, bad) => h("span.tag", { class: ok ? "good" : "bad" }, ok ? good : bad)
    const set1 = c.fields.filter(f => f.from !== "default"), rest = c.fields.filter(f => f.from === "default")
    const field = f => h("tr", null, h("td", null, h("code", null, f.field)), h("td.wrap", null, f.value), h("td", null, f.from === "field" ? "field" : f.from === "default" ? h("span.muted", null, "default") : h("code", null, f.from)))
    const parts = [h("h2", null, "Backends")]
    parts.push(c.backends.length ? table(["Variable", "Endpoint", "State", ""], c.backends.map(b => h("tr", null, h("td", null, h("code", null, b.variable)), h("td.wrap", null, b.endpoint), h("td", null, state(b.answers, "answers", "does not answer")), h("td.wrap.muted", null, `${b.detail} (${duration(b.seconds)})`))))
      : h("p.empty.panel", null, "None: nothing is sent anywhere. Metrics wait at /metrics; OTEL_EXPORTER_OTLP_ENDPOINT names a receiver."))
    if (c.exporters.length) parts.push(h("h2", null, "Spans"), table(["Exporter", "Exported", "Queued", "Dropped"], c.exporters.map(e => {
      const dropped = Object.entries(e.dropped ?? {}).filter(([, n]) => n)
      return h("tr", null, h("td", null, e.name), h("td.n", null, number(e.exported)), h("td.n", null, `${number(e.queued)} of ${number(e.capacity)}`), h("td", { class: dropped.length ? "bad" : "" }, dropped.map(([k, n]) => `${k} ${n}`).join(", ") || "none"))
    })))
    if (c.checks.length) parts.push(h("h2", null, "Readiness"), table(["Check", "State", "Took", ""], c.checks.map(k => h("tr", null, h("td", null, k.name), h("td", null, state(!k.error, "ok", k.result)), h("td", null, duration(k.took_seconds)), h("td.wrap", null, k.error ?? "")))))
    parts.push(h("h2", null, "Set by the program or the environment"), set1.length ? table(["Field", "Value", "From"], set1.map(field)) : h("p.empty.panel", null, "Nothing: all defaults."))
    if (c.variables.length) parts.push(h("h2", null, "Environment"), table(["Variable", "Value"], c.variables.map(v => h("tr", null, h("td", null, h("code", null, v.name)), h("td.wrap", null, v.value)))))
    parts.push(h("details", { open: body.querySelector("details.rest")?.open, class: "rest" }, h("summary", null, `${rest.length} fields with their defaults`), table(["Field", "Value", "From"], rest.map(field))))
    body.replaceChildren(...parts)
  })
  return { el, update: poll.tick, close: poll.close }
}

export const leaks = { title: "Leaks", open: openLeaks }
export const captures = { title: "Captures", open: openCaptures }
export const business = { title: "Business", open: openBusiness }
export const config = { title: "Config", open: openConfig }
