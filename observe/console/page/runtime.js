// The runtime: does anything wait for processors, locks or the collector, and
// how far is the memory's limit.
import { h, number, duration, bytes, percent, last } from "./dom.js"
import { lines, heat } from "./charts.js"

const figures = [
  { title: "Scheduler latency: ready, and not running", format: duration, of: [["p50", "sched_p50", "c0"], ["p95", "sched_p95", "c1"], ["p99", "sched_p99", "c3"]] },
  { title: "Wake-up lag: how late a sleeper wakes", format: duration, of: [["p50", "wakeup_p50", "c0"], ["p99", "wakeup_p99", "c3"]] },
  { title: "CPU, in cores", format: number, stacked: true, of: [["user", "cpu_user", "c0"], ["system", "cpu_system", "c1"]] },
  { title: "Kept from running", format: percent, of: [["periods throttled", "throttled", "c3"], ["host busy", "host_busy", "c0"], ["stolen by the hypervisor", "steal", "c2"]] },
  { title: "Heap and its limit", format: bytes, of: [["live", "heap_live", "c0"], ["allocated", "heap_objects", "c8"], ["goal", "heap_goal", "c1", true], ["used", "memory_used", "c2"], ["limit", "memory_limit", "c3", true]], limit: true },
  { title: "Garbage collector", format: percent, of: [["of all processors", "gc_share", "c2"]] },
  { title: "GC cycles a second", format: number, of: [["cycles", "gc_cycles", "c2"]] },
  { title: "GC pauses", format: duration, of: [["p99", "gc_pause_p99", "c2"]] },
  { title: "Allocated a second", format: bytes, of: [["bytes", "allocated", "c6"]] },
  { title: "Goroutines by state", format: number, stacked: true, of: [["waiting", "waiting", "c5"], ["not in Go", "not_in_go", "c4"], ["runnable", "runnable", "c1"], ["running", "running", "c0"]] },
  { title: "Goroutines that did not get on", format: number, of: [["for a processor", "sched_wait", "c1"], ["for locks", "mutex_wait", "c3"], ["helping the collector", "gc_assist", "c2"]] },
  { title: "Threads and descriptors", format: number, of: [["threads", "threads", "c0"], ["descriptors", "descriptors", "c6"]] },
]

function open(page) {
  const forecast = h("p.muted")
  const charts = figures.map(f => lines(f))
  const map = heat({ title: "Scheduler latency: how it is spread", format: duration, empty: "nothing has waited for a processor in this time" })
  const el = h("div", null, forecast, h("div.grid", null, charts.slice(0, 2).map(c => c.el), map.el, charts.slice(2).map(c => c.el)))
  return {
    el,
    update(data) {
      const n = page.visible(), r = data.runtime, room = data.headroom
      const names = { cgroup: "the container's limit", gomemlimit: "GOMEMLIMIT", host: "the host's memory" }
      forecast.textContent = room.limit == null ? "No limit of memory is known." :
        `Memory: ${bytes(room.used)} of ${bytes(room.limit)}, ${names[room.by] ?? room.by}; ` +
        (room.after ? `at the present growth the limit is reached in ${duration(room.after)}.` : "at the present growth the limit is not reached within a day.")
      map.update(data.t.slice(-n), data.sched.slice(-n), data.about.sched_rows)
      figures.forEach((f, i) => {
        let of = f.of
        if (f.limit && !room.after) {
          if (room.by === "host") of = of.filter(s => !s[1].startsWith("memory_")) // what is used of it is mostly others'
          if (room.limit > 4 * room.used) of = of.filter(s => s[1] !== "memory_limit") // far away, it would flatten the rest
        }
        const series = of.map(([name, key, color, dash]) => ({ name, color, dash, values: (r[key] ?? []).slice(-n) })).filter(s => s.values.some(v => v != null))
        if (f.limit && room.after && last(r.memory_used) != null) {
          const forecast = ahead(data, n), limit = series.find(s => s.name === "limit")
          series.push(forecast)
          if (limit) limit.ahead = [forecast.ahead[0], room.limit] // for the two to meet
        }
        charts[i].el.hidden = !series.length
        if (series.length) charts[i].update(data.t.slice(-n), series)
      })
    },
  }
}

// ahead is where memory goes at its present growth: to the limit, or for half the
// time that is shown where that is further away.
function ahead(data, n) {
  const room = data.headroom, t = data.t.slice(-n), now = last(t), used = last(data.runtime.memory_used)
  const shown = (now - t[0]) / 1000, far = room.after <= shown ? room.after : shown / 2
  return {
    name: "forecast", color: "c2", values: [...t.slice(1).fill(null), used],
    ahead: [now + far * 1000, used + (room.limit - used) * far / room.after], text: "at the limit in " + duration(room.after),
  }
}

export default { title: "Runtime", open }
