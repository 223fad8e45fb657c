// Dependencies, pools, queries, queues, jobs and caches: each a table, a row
// opens its charts.
import { h, number, duration, percent, rate, sum, last } from "./dom.js"
import { spark, lines } from "./charts.js"

const total = (row, field, n) => sum((row.v[field] ?? []).slice(-n))
const now = (row, field) => last(row.v[field])
const most = (row, field, n) => Math.max(...row.v[field].slice(-n).filter(v => v != null), -1)

// For each kind: columns of [title, figure as text, is it bad], the curve, and the charts of one row.
const kinds = [
  ["dependency", "Dependencies", "what the service calls", [
    ["Calls", (r, n, s) => rate(total(r, "calls", n) / s)],
    ["Errors", (r, n) => percent(total(r, "errors", n) / (total(r, "calls", n) || 1)), (r, n) => total(r, "errors", n) >= .01 * total(r, "calls", n) && total(r, "errors", n) > 0],
    ["Mean", (r, n) => duration(total(r, "seconds", n) / (total(r, "calls", n) || NaN))],
    ["p50", r => duration(now(r, "p50"))],
    ["p99", r => duration(now(r, "p99"))],
    ["Active", r => number(now(r, "active"))],
    ["Retries", (r, n) => number(total(r, "retries", n))],
    ["New connections", (r, n) => number(total(r, "connections", n))],
  ], "calls", [["Latency", duration, ["p50", "p99"]], ["Calls in 10 s", number, ["calls", "errors", "retries"]], ["Calls under way", number, ["active"]]]],
  ["pool", "Pools", "connections to databases", [
    ["In use", r => number(now(r, "in_use")) + " of " + (now(r, "max") || "no limit"), r => now(r, "max") > 0 && now(r, "in_use") >= .9 * now(r, "max")],
    ["Waiting now", r => number(now(r, "pending")), r => now(r, "pending") > 0],
    ["Waits", (r, n) => number(total(r, "waits", n))],
    ["Waited on average", (r, n) => duration(total(r, "wait_seconds", n) / (total(r, "waits", n) || NaN))],
    ["Open", r => number(now(r, "open"))],
    ["Opened", (r, n) => number(total(r, "opened", n))],
    ["Left open", r => number(now(r, "unclosed")), r => now(r, "unclosed") > 0],
  ], "in_use", [["Connections", number, ["in_use", "max", "pending"]], ["Seconds waited in 10 s", duration, ["wait_seconds"]]]],
  ["query", "Queries", "statements by their summary", [
    ["Calls", (r, n, s) => rate(total(r, "calls", n) / s)],
    ["Errors", (r, n) => number(total(r, "errors", n)), (r, n) => total(r, "errors", n) > 0],
    ["Mean", (r, n) => duration(total(r, "seconds", n) / (total(r, "calls", n) || NaN))],
    ["Time", (r, n, s) => percent(total(r, "seconds", n) / s)],
  ], "calls", [["Calls in 10 s", number, ["calls", "errors"]], ["Seconds in 10 s", duration, ["seconds"]]]],
  ["queue", "Queues", "work that waits", [
    ["Length", r => number(now(r, "length")) + (now(r, "capacity") ? " of " + number(now(r, "capacity")) : "")],
    ["Oldest", r => duration(now(r, "oldest")), r => now(r, "oldest") > 60],
    ["Added", (r, n, s) => rate(total(r, "added", n) / s)],
    ["Taken", (r, n, s) => rate(total(r, "taken", n) / s)],
    ["Senders blocked", (r, n) => duration(total(r, "blocked", n))],
  ], "length", [["Length", number, ["length"]], ["Added and taken in 10 s", number, ["added", "taken"]], ["Age of the oldest", duration, ["oldest"]]]],
  ["job", "Jobs", "work in the background", [
    ["Runs", (r, n, s) => rate(total(r, "runs", n) / s)],
    ["Errors", (r, n) => number(total(r, "errors", n)), (r, n) => total(r, "errors", n) > 0],
    ["Mean", (r, n) => duration(total(r, "seconds", n) / (total(r, "runs", n) || NaN))],
    ["Waited", (r, n) => duration(total(r, "wait_seconds", n) / (total(r, "runs", n) || NaN))],
    ["Active", r => number(now(r, "active"))],
    ["Overdue", r => duration(now(r, "overdue")), r => now(r, "overdue") > 0],
  ], "runs", [["Runs in 10 s", number, ["runs", "errors"]], ["Seconds in 10 s", duration, ["seconds", "wait_seconds"]]]],
  ["cache", "Caches", "what need not be asked again", [
    ["Hit rate", (r, n) => percent(total(r, "hits", n) / ((total(r, "hits", n) + total(r, "misses", n)) || NaN))],
    ["Hits", (r, n, s) => rate(total(r, "hits", n) / s)],
    ["Misses", (r, n, s) => rate(total(r, "misses", n) / s)],
    ["Stampedes", (r, n) => number(total(r, "stampedes", n)), (r, n) => total(r, "stampedes", n) > 0],
    ["Loading", (r, n) => duration(total(r, "load_seconds", n))],
  ], "hits", [["Hits and misses in 10 s", number, ["hits", "misses"]], ["Seconds of loading in 10 s", duration, ["load_seconds"]]]],
]

function open(page) {
  const el = h("div")
  let charts = null // of the row that is open
  function update(data) {
    const from = data.to - page.seconds() * 1000
    const n = Math.max(data.dt.filter(t => t > from).length, 1)
    const step = data.dt.length > 1 ? (last(data.dt) - data.dt[0]) / (data.dt.length - 1) / 1000 : 10
    const focused = document.activeElement?.closest?.("[data-key]")?.dataset.key
    const parts = []
    for (const [kind, title, about, columns, curve, figures] of kinds) {
      // One that has not been used yet says nothing.
      const rows = (data.groups[kind] ?? []).filter(row => Object.values(row.v).some(values => values.some(v => v)))
      if (!rows.length) continue
      const body = h("tbody")
      for (const row of rows) {
        const key = kind + "/" + row.n, opened = page.item === key
        body.append(h("tr", null,
          h("td.name", null, h("a", { "data-key": key, "aria-expanded": String(opened), href: page.href("services", opened ? "" : key) }, row.n), row.d ? h("span.tag", null, row.d) : null),
          columns.map(([label, text, bad]) => h("td.n", { class: bad?.(row, n) ? "bad" : "", "data-label": label }, text(row, n, n * step))),
          h("td", null, spark(row.v[curve].slice(-n)))))
        if (opened) {
          charts ??= figures.map(([name, format, fields]) => ({ fields, chart: lines({ title: name, format }) }))
          body.append(h("tr", null, h("td.wrap", { colspan: columns.length + 2 }, h("div.grid", null, charts.map(c => c.chart.el)))))
          charts.forEach(c => c.chart.update(data.dt.slice(-n), c.fields.map((f, i) => ({ name: f.replaceAll("_", " "), color: ["c0", "c3", "c1"][i], values: row.v[f].slice(-n) }))))
        }
      }
      parts.push(h("h2", null, title, h("span.muted", null, " · " + about)), h("div.panel.scroll", null,
        h("table.routes", null, h("thead", null, h("tr", null, h("th", { scope: "col" }, "Name"), columns.map(c => h("th.n", { scope: "col" }, c[0])), h("th", { scope: "col" }, "Lately"))), body)))
    }
    if (!parts.length) parts.push(h("p.empty.panel", null, data.dt.length ? "Nothing here is in use: dependencies, pools, queues, jobs and caches appear when they are wrapped." : "The first diagnosis has not been made yet."))
    el.replaceChildren(...parts)
    if (focused) el.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true })
  }
  return { el, update }
}

export default { title: "Dependencies", open }
