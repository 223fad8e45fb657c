// Small charts: SVG for lines, canvas for heat maps. No library.
import { h, svg, number, bytes, clock, last, plain } from "./dom.js"

// spark is a curve without axes.
export function spark(values, className) {
  const el = svg("svg", { class: className ?? "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" })
  drawSpark(el, values)
  return el
}

export function drawSpark(el, values) {
  const known = values.filter(v => v != null)
  const top = Math.max(...known, 1e-12)
  const x = i => values.length < 2 ? 0 : (100 * i / (values.length - 1))
  let line = "", pen = "M"
  values.forEach((v, i) => {
    if (v == null) { pen = "M"; return }
    line += `${pen}${x(i).toFixed(1)} ${(22.5 - 21 * v / top).toFixed(1)}`
    pen = "L"
  })
  if (!el.firstChild) el.append(svg("path", { class: "area" }), svg("path"))
  el.childNodes[0].setAttribute("d", values.length > 1 && !values.includes(null) ? `${line}L100 24L0 24Z` : "")
  el.childNodes[1].setAttribute("d", line)
}

const pad = { left: 52, right: 10, top: 8, bottom: 20 }

// lines draws series over time into the figure that it returns. update(times,
// series) draws anew; series are {name, color, values, dash}, and with ahead: [time,
// value] a dashed line goes on from the last value to there, with text in the legend.
export function lines({ title, format = number, height = 150, stacked = false, wide = false, floor = 0 }) {
  const note = h("span")
  const chart = h("div.chart")
  const legend = h("ul.legend")
  const el = h("figure.panel" + (wide ? ".wide" : ""), null, h("figcaption", null, title, note), chart, legend)
  let shown = null
  function draw() {
    if (!shown) return
    const { times, series } = shown
    const width = Math.max(chart.clientWidth || 480, 160)
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label(title, series, format) })
    chart.replaceChildren(root)
    if (times.length < 2) {
      root.append(svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "collecting"))
      return
    }
    const first = times[0], span = Math.max(...series.map(s => s.ahead?.[0] ?? 0), last(times)) - first || 1
    const x = t => pad.left + (width - pad.left - pad.right) * (t - first) / span
    const layers = stacked ? stack(series, times.length) : series
    let top = floor
    for (const s of layers) for (const v of s.values) if (v != null && v > top) top = v
    for (const s of series) if (s.ahead) top = Math.max(top, s.ahead[1])
    const unit = format === bytes ? 1024 ** Math.floor(Math.log(Math.max(top, 1)) / Math.log(1024)) : 1
    top = unit * nice(top / unit || 1)
    const y = v => pad.top + (height - pad.top - pad.bottom) * (1 - v / top)
    for (const part of [0, .5, 1]) {
      const at = y(top * part)
      root.append(svg("line", { class: "gridline", x1: pad.left, x2: width - pad.right, y1: at, y2: at }),
        svg("text", { x: pad.left - 6, y: at + 4, "text-anchor": "end" }, format(top * part)))
    }
    for (const part of width > 360 ? [0, .5, 1] : [0, 1]) {
      root.append(svg("text", { x: pad.left + (width - pad.left - pad.right) * part, y: height - 4, "text-anchor": ["start", "middle", "end"][part * 2] }, clock(first + span * part)))
    }
    if (stacked) {
      for (const s of layers.toReversed()) {
        let up = "", down = ""
        s.values.forEach((v, i) => {
          up += `${i ? "L" : "M"}${x(times[i]).toFixed(1)} ${y(v).toFixed(1)}`
          down = `L${x(times[i]).toFixed(1)} ${y(s.under[i]).toFixed(1)}` + down
        })
        root.append(svg("path", { class: "a " + s.color, d: up + down + "Z" }))
      }
    } else {
      for (const s of series) {
        let d = "", pen = "M"
        s.values.forEach((v, i) => {
          if (v == null) { pen = "M"; return }
          d += `${pen}${x(times[i]).toFixed(1)} ${y(v).toFixed(1)}`
          if (pen === "M" && s.values[i + 1] == null) d += "h.01" // alone between gaps: a dot
          pen = "L"
        })
        root.append(svg("path", { class: `l ${s.color}${s.dash ? " dash" : ""}`, d }))
        if (s.ahead) root.append(svg("path", { class: `l ${s.color} ahead`, d: `M${x(last(times)).toFixed(1)} ${y(last(s.values)).toFixed(1)}L${x(s.ahead[0]).toFixed(1)} ${y(s.ahead[1]).toFixed(1)}` }),
          svg("line", { class: "gridline", x1: x(last(times)), x2: x(last(times)), y1: pad.top, y2: height - pad.bottom }))
      }
    }
    const cursor = svg("line", { class: "cursor", y1: pad.top, y2: height - pad.bottom, visibility: "hidden" })
    root.append(cursor)
    root.addEventListener("pointermove", e => {
      const box = root.getBoundingClientRect()
      const t = first + span * ((e.clientX - box.left) / box.width * width - pad.left) / (width - pad.left - pad.right)
      let i = 0
      times.forEach((v, k) => { if (Math.abs(v - t) < Math.abs(times[i] - t)) i = k })
      cursor.setAttribute("x1", x(times[i])); cursor.setAttribute("x2", x(times[i])); cursor.setAttribute("visibility", "visible")
      tell(i)
    })
    root.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); tell(-1) })
    tell(-1)
  }
  function tell(i) {
    const { times, series } = shown
    note.textContent = i < 0 ? "" : clock(times[i])
    if (legend.childElementCount !== series.length) {
      legend.replaceChildren(...series.map(() => h("li", null, h("i"), h("span"), h("b"))))
    }
    series.forEach((s, k) => {
      const [mark, name, value] = legend.children[k].children
      mark.className = s.color
      name.textContent = plain(s.name)
      value.textContent = s.text ?? format(i < 0 ? s.total ?? latest(s.values) : s.values[i])
    })
  }
  watch(chart, draw)
  return { el, update(times, series) { shown = { times, series }; draw() } }
}

const latest = values => { for (let i = values.length - 1; i >= 0; i--) if (values[i] != null) return values[i]; return null }

function label(title, series, format) {
  return title + ": " + series.map(s => `${s.name} ${format(latest(s.values))}`).join(", ")
}

function stack(series, n) {
  let under = new Array(n).fill(0)
  return series.map(s => {
    const values = s.values.map((v, i) => under[i] + (v ?? 0))
    const layer = { ...s, values, under }
    under = values
    return layer
  })
}

// nice rounds up to 1, 2 or 5 times a power of ten.
function nice(v) {
  const power = 10 ** Math.floor(Math.log10(v))
  for (const step of [1, 1.5, 2, 3, 5, 10]) if (v <= step * power * 1.0001) return step * power
  return v
}

// watch calls draw when the width of el changes, and no longer when it is gone.
function watch(el, draw) {
  let width = 0
  const seen = new ResizeObserver(() => {
    if (!el.isConnected) { if (width) seen.disconnect(); return }
    if (el.clientWidth !== width) { width = el.clientWidth; draw() }
  })
  seen.observe(el)
}

// heat draws how latencies are spread over time: a column for each sample, a
// row for each half octave.
export function heat({ title, format, empty = "no requests in this time" }) {
  const note = h("span")
  const chart = h("div.chart")
  const el = h("figure.panel.wide", null, h("figcaption", null, title, note), chart)
  let shown = null
  function draw() {
    if (!shown) return
    const { times, columns, rows } = shown
    let low = rows.length, high = 0
    for (const column of columns) column.forEach((v, i) => { if (v) { low = Math.min(low, i); high = Math.max(high, i) } })
    if (low > high) { chart.replaceChildren(h("p.empty", null, empty)); return }
    low = Math.max(low - 1, 0); high = Math.min(high + 1, rows.length - 1)
    const width = Math.max(chart.clientWidth || 480, 160), height = 190
    const ratio = devicePixelRatio || 1
    const canvas = h("canvas", { width: width * ratio, height: height * ratio, role: "img", "aria-label": `${title}: from ${format(rows[low])} to ${format(rows[high + 1] ?? rows[high] * 1.5)}` })
    canvas.style.height = height + "px"
    chart.replaceChildren(canvas)
    const style = getComputedStyle(document.documentElement)
    const pen = canvas.getContext("2d")
    pen.scale(ratio, ratio)
    const w = (width - pad.left - pad.right) / columns.length, rowHeight = (height - pad.top - pad.bottom) / (high - low + 1)
    const y = i => height - pad.bottom - rowHeight * (i - low + 1)
    let top = 1
    for (const column of columns) for (const v of column) top = Math.max(top, v)
    pen.fillStyle = color(canvas, "var(--c0)")
    columns.forEach((column, k) => column.forEach((v, i) => {
      if (!v) return
      pen.globalAlpha = .12 + .88 * v / top
      pen.fillRect(pad.left + k * w, y(i), Math.max(w - .4, .8), rowHeight - .6)
    }))
    pen.globalAlpha = 1
    pen.fillStyle = color(canvas, "var(--muted)")
    pen.font = "11px " + style.fontFamily
    pen.textAlign = "right"
    const every = Math.max(1, Math.round((high - low + 1) / 6))
    for (let i = low; i <= high; i += every) pen.fillText(format(rows[i]), pad.left - 6, y(i) + rowHeight + 4)
    pen.textAlign = "left"; pen.fillText(clock(times[0]), pad.left, height - 4)
    pen.textAlign = "right"; pen.fillText(clock(last(times)), width - pad.right, height - 4)
    canvas.addEventListener("pointermove", e => {
      const box = canvas.getBoundingClientRect()
      const k = Math.floor((e.clientX - box.left - pad.left) / w), i = low + Math.floor((height - pad.bottom - (e.clientY - box.top)) / rowHeight)
      const v = columns[k]?.[i]
      note.textContent = v ? `${clock(times[k])}  ${format(rows[i])} to ${rows[i + 1] ? format(rows[i + 1]) : "more"}: fewer than ${number(2 ** v)}` : ""
    })
  }
  watch(chart, draw)
  return { el, update(times, columns, rows) { shown = { times, columns, rows }; draw() } }
}

// color resolves a colour of the style sheet for a canvas, which knows no variables.
function color(el, value) {
  el.style.color = value
  const resolved = getComputedStyle(el).color
  el.style.color = ""
  return resolved
}
