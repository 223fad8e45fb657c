// Draws a flame graph from /debug/pprof/ui/data. Frames are [name, value, base, [frames under it]].
const NAME = 0, VALUE = 1, BASE = 2, UNDER = 3, ROW = 20;
const $ = id => document.getElementById(id);
const here = '/debug/pprof/ui', keys = $('about').textContent;
let graph = null, zoomed = [], query = '', table = false, sortBy = 'self', sources = [], asked = 0;

const width = f => graph.diff ? Math.max(f[VALUE], f[BASE]) : f[VALUE];
const share = (v, all) => all ? (100 * v / all).toFixed(Math.abs(v / all) < 0.1 ? 2 : 1) + ' %' : '0 %';

function amount(v) {
  const steps = { nanoseconds: [[1e9, ' s'], [1e6, ' ms'], [1e3, ' µs'], [1, ' ns']], bytes: [[2 ** 30, ' GiB'], [2 ** 20, ' MiB'], [2 ** 10, ' KiB'], [1, ' B']] }[graph.unit];
  if (!steps) return v.toLocaleString('en');
  const [by, unit] = steps.find(([by]) => Math.abs(v) >= by) || steps.at(-1);
  return (v / by).toFixed(by === 1 ? 0 : Math.abs(v / by) < 10 ? 2 : 1) + unit;
}

const short = name => name.slice(name.lastIndexOf('/') + 1);
// The import path: up to the first dot behind the last slash.
function packageOf(name) {
  const slash = name.lastIndexOf('/'), dot = name.indexOf('.', slash + 1);
  return dot < 0 ? name : name.slice(0, dot);
}
function hue(text) {
  let h = 2166136261;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619);
  return 10 + (h >>> 0) % 50 + ((h >>> 8) % 4) * 75;
}
const standard = name => !packageOf(name).split('/')[0].includes('.') && packageOf(name) !== 'main';
const found = f => query !== '' && graph.names[f[NAME]].toLowerCase().includes(query);

function say(text, wrong) {
  $('state').textContent = text;
  $('state').classList.toggle('wrong', !!wrong);
}

function about(f) {
  const all = graph.root;
  let text = `${graph.names[f[NAME]]}   ${amount(f[VALUE])}, ${share(f[VALUE], all[VALUE])}`;
  const self = f[VALUE] - f[UNDER].reduce((n, u) => n + u[VALUE], 0);
  if (self > 0 && f !== all) text += `, itself ${amount(self)}`;
  if (graph.diff) text += `, before ${amount(f[BASE])}, ${share(f[BASE], all[BASE])}`;
  if (graph.files[f[NAME]]) text += `   ${graph.files[f[NAME]]}`;
  $('about').textContent = text;
}

function paint(box, f) {
  const name = graph.names[f[NAME]];
  if (found(f)) return box.classList.add('found');
  if (graph.diff) {
    const now = f[VALUE] / (graph.root[VALUE] || 1), before = f[BASE] / (graph.root[BASE] || 1);
    box.classList.add(now >= before ? 'more' : 'less');
    // Twice as much, or half, is the full colour, but not of what is next to nothing: a sample or two.
    box.style.setProperty('--much', Math.round(100 * Math.min(1, Math.abs(Math.log2((now + 5e-3) / (before + 5e-3))))) + '%');
    return;
  }
  box.style.setProperty('--hue', hue(packageOf(name)));
  if (standard(name)) box.classList.add('std');
}

function draw() {
  const flame = $('flame');
  flame.replaceChildren();
  if (!graph) return;
  const boxes = document.createDocumentFragment(), wide = flame.clientWidth || 1000;
  let rows = 0;
  const put = (f, path, left, size, row) => {
    const box = document.createElement('button');
    box.type = 'button';
    box.className = 'f';
    box.style.left = left + '%';
    box.style.width = size + '%';
    box.style.top = row * ROW + 'px';
    box.setAttribute('role', 'treeitem');
    box.setAttribute('aria-level', row + 1);
    const name = graph.names[f[NAME]];
    box.setAttribute('aria-label', `${name}, ${share(f[VALUE], graph.root[VALUE])}`);
    if (size * wide / 100 > 24) box.textContent = short(name);
    box.tabIndex = -1;
    box.frame = f;
    box.path = path;
    paint(box, f);
    boxes.append(box);
    rows = Math.max(rows, row + 1);
    return box;
  };
  zoomed.forEach((f, i) => { if (i < zoomed.length - 1) put(f, zoomed.slice(0, i + 1), 0, 100, i).classList.add('above'); });
  const top = zoomed.at(-1);
  const walk = (f, path, left, size, row) => {
    put(f, path, left, size, row);
    let x = left;
    for (const u of f[UNDER]) {
      const w = width(f) ? size * width(u) / width(f) : 0;
      if (w * wide / 100 >= 1) walk(u, [...path, u], x, Math.min(w, left + size - x), row + 1);
      x += w;
    }
  };
  walk(top, zoomed, 0, 100, zoomed.length - 1);
  flame.style.height = rows * ROW + 'px';
  flame.append(boxes);
  const first = [...flame.children].find(b => b.frame === top);
  if (first) first.tabIndex = 0;
}

function focusOn(frame) {
  const box = [...$('flame').children].find(b => b.frame === frame);
  if (!box) return false;
  for (const b of $('flame').querySelectorAll('[tabindex="0"]')) b.tabIndex = -1;
  box.tabIndex = 0;
  box.focus();
  return true;
}

function zoom(path) {
  zoomed = path;
  draw();
  focusOn(path.at(-1));
  about(path.at(-1));
}

function tops() {
  const rows = new Map();
  const walk = (f, on) => {
    let row = rows.get(f[NAME]);
    if (!row) rows.set(f[NAME], row = { name: f[NAME], self: 0, total: 0, base: 0 });
    const first = !on.has(f[NAME]); // a function that calls itself counts once
    if (first) { row.total += f[VALUE]; row.base += f[BASE]; on.add(f[NAME]); }
    row.self += f[VALUE] - f[UNDER].reduce((n, u) => n + u[VALUE], 0);
    for (const u of f[UNDER]) walk(u, on);
    if (first) on.delete(f[NAME]);
  };
  for (const u of graph.root[UNDER]) walk(u, new Set());
  const by = { self: r => r.self, total: r => r.total, change: r => Math.abs(r.total - r.base) }[sortBy];
  return [...rows.values()].sort((a, b) => by(b) - by(a)).slice(0, 500);
}

function drawTable() {
  const [head, body] = [$('top').tHead, $('top').tBodies[0]];
  head.replaceChildren();
  body.replaceChildren();
  if (!graph) return;
  const columns = [['self', 'Itself'], ['', ''], ['total', 'With callees'], ['', '']];
  if (graph.diff) columns.push(['change', 'Change']);
  const line = head.insertRow();
  for (const [key, title] of [...columns, ['', 'Function']]) {
    const cell = document.createElement('th');
    if (key) {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = title + (key === sortBy ? ' ▾' : '');
      button.onclick = () => { sortBy = key; drawTable(); };
      cell.append(button);
    } else cell.textContent = title;
    line.append(cell);
  }
  for (const r of tops()) {
    const row = body.insertRow(), name = graph.names[r.name];
    const cells = [amount(r.self), share(r.self, graph.root[VALUE]), amount(r.total), share(r.total, graph.root[VALUE])];
    if (graph.diff) cells.push((r.total >= r.base ? '+' : '−') + amount(Math.abs(r.total - r.base)));
    for (const text of cells) row.insertCell().textContent = text;
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = name;
    button.title = graph.files[r.name];
    button.onclick = () => { $('search').value = name; search(); show(false); };
    row.insertCell().append(button);
    row.classList.toggle('found', query !== '' && name.toLowerCase().includes(query));
  }
}

function show(asTable) {
  table = asTable;
  $('view').setAttribute('aria-pressed', table);
  $('top').hidden = !table;
  $('flame').hidden = table;
  table ? drawTable() : draw();
}

function search() {
  query = $('search').value.trim().toLowerCase();
  table ? drawTable() : draw();
  summary();
}

function summary() {
  if (!graph) return;
  const all = graph.root;
  let text = `${amount(all[VALUE])} of ${graph.type}`;
  if (graph.length) text += ` in ${(graph.length / 1e9).toFixed(1)} s`;
  if (graph.diff) text += `, before ${amount(all[BASE])}: red takes a larger share, blue a smaller one`;
  if (graph.cut) text += `, ${graph.cut} frames too small to draw`;
  if (all[VALUE] === 0 && all[BASE] === 0) text = 'nothing was sampled';
  if (query) {
    let sum = 0;
    const walk = f => { if (found(f)) sum += f[VALUE]; else f[UNDER].forEach(walk); };
    walk(all);
    text += `; found in ${share(sum, all[VALUE])}`;
  }
  say(text);
}

function fill(select, options, value) {
  select.replaceChildren();
  let group = null;
  for (const o of options) {
    if (o.group && (!group || group.label !== o.group)) {
      group = document.createElement('optgroup');
      group.label = o.group;
      select.append(group);
    }
    (o.group ? group : select).append(new Option(o.text, o.value));
  }
  select.value = value;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

const timed = () => sources.find(s => s.id === $('profile').value)?.timed;

async function load(take) {
  const mine = ++asked, wanted = new URLSearchParams({ profile: $('profile').value });
  $('secondsLabel').hidden = $('take').hidden = !timed();
  if (timed()) {
    if (!take) { graph = null; show(table); return say('Take records ' + $('seconds').value + ' seconds.'); }
    wanted.set('seconds', $('seconds').value);
    say(`recording ${$('seconds').value} s …`);
  } else say('reading …');
  if ($('type').value && !take) wanted.set('type', $('type').value);
  if ($('base').value) wanted.set('base', $('base').value);
  if ($('label').value) { const { key, value } = JSON.parse($('label').value); wanted.set('label', key); wanted.set('value', value); }
  const link = new URLSearchParams(wanted);
  link.delete('seconds');
  history.replaceState(null, '', here + '?' + link);
  try {
    const answer = await fetch(here + '/data?' + wanted);
    if (!answer.ok) throw new Error((await answer.text()).trim());
    const got = await answer.json();
    if (mine !== asked) return; // another was asked for meanwhile
    graph = got;
  } catch (err) {
    if (mine !== asked) return;
    graph = null;
    show(table);
    return say(err.message, true);
  }
  zoomed = [graph.root];
  $('about').textContent = keys;
  fill($('type'), graph.types.map(t => ({ text: t, value: t })), graph.type);
  const chosen = $('label').value;
  fill($('label'), [{ text: 'all', value: '' }, ...graph.labels.flatMap(l => l.values.map(v =>
    ({ group: l.key, text: `${v.value}  ${share(v.total, l.values.reduce((n, w) => n + w.total, 0))}`, value: JSON.stringify({ key: l.key, value: v.value }) })))], chosen);
  show(table);
  summary();
}

function move(box, key) {
  const path = box.path, f = box.frame, parent = path.at(-2);
  switch (key) {
    case 'ArrowUp': return parent && focusOn(parent);
    case 'ArrowDown': return focusOn([...f[UNDER]].sort((a, b) => width(b) - width(a))[0]);
    case 'ArrowLeft': case 'ArrowRight': {
      const row = [...$('flame').children].filter(b => b.style.top === box.style.top);
      const next = row[row.indexOf(box) + (key === 'ArrowLeft' ? -1 : 1)];
      return next && focusOn(next.frame);
    }
    case 'Home': return focusOn(graph.root);
  }
}

$('flame').addEventListener('click', e => { const box = e.target.closest('.f'); if (box) zoom(box.path); });
for (const kind of ['mouseover', 'focusin']) $('flame').addEventListener(kind, e => { const box = e.target.closest('.f'); if (box) about(box.frame); });
$('flame').addEventListener('keydown', e => {
  const box = e.target.closest('.f');
  if (box && (e.key.startsWith('Arrow') || e.key === 'Home')) { e.preventDefault(); move(box, e.key); }
});
document.addEventListener('keydown', e => {
  if (e.key === 'Escape') {
    if (document.activeElement === $('search') && $('search').value) { $('search').value = ''; search(); }
    else if (graph && zoomed.length > 1) zoom(zoomed.slice(0, -1));
    return;
  }
  if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT)$/.test(e.target.tagName)) return;
  if (e.key === '/') { e.preventDefault(); $('search').focus(); }
  if (e.key === 't') show(!table);
});
$('search').addEventListener('input', search);
$('view').addEventListener('click', () => show(!table));
$('reset').addEventListener('click', () => { $('search').value = ''; query = ''; if (graph) zoomed = [graph.root]; show(table); summary(); });
$('take').addEventListener('click', () => load(true));
for (const id of ['type', 'base', 'label']) $(id).addEventListener('change', () => load(timed()));
$('profile').addEventListener('change', () => { for (const id of ['type', 'label', 'base']) $(id).value = ''; load(false); });
let resized = 0;
addEventListener('resize', () => { cancelAnimationFrame(resized); resized = requestAnimationFrame(() => table || draw()); });

async function begin() {
  const wanted = new URLSearchParams(location.search);
  const answer = await fetch(here + '/sources');
  if (!answer.ok) return say((await answer.text()).trim(), true);
  const got = await answer.json();
  sources = got.sources;
  $('service').textContent = document.title = got.service + ' flame graph';
  const option = s => ({ group: s.group, text: s.about, value: s.id });
  fill($('profile'), sources.map(option), wanted.get('profile') || 'heap');
  fill($('base'), [{ text: 'nothing', value: '' }, ...sources.filter(s => !s.timed).map(option)], wanted.get('base') || '');
  fill($('type'), wanted.get('type') ? [{ text: wanted.get('type'), value: wanted.get('type') }] : [], wanted.get('type') || '');
  const label = wanted.get('label') && JSON.stringify({ key: wanted.get('label'), value: wanted.get('value') || '' });
  fill($('label'), label ? [{ text: wanted.get('value'), value: label }] : [{ text: 'all', value: '' }], label || '');
  for (const name of ['profile', 'base']) {
    if (!wanted.get(name) || sources.some(s => s.id === wanted.get(name))) continue;
    $('secondsLabel').hidden = $('take').hidden = !timed();
    return say(`What this link leads to is no longer kept: choose another ${name}.`, true); // not another in its place
  }
  load(false);
}
begin();
