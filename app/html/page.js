'use strict';
const root = document.documentElement;
document.getElementById('theme').addEventListener('click', () => {
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
});

const search = document.getElementById('search');
const maps = [];
function find() {
  const wanted = search.value.toLowerCase();
  const rows = document.querySelectorAll('table.list tbody tr:not(.group)');
  let shown = 0;
  for (const row of rows) {
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    shown += !row.hidden;
  }
  document.querySelector('output').value = wanted ? `${shown} of ${rows.length}` : '';
  for (const map of maps) map.dim();
}
search.addEventListener('input', find);
document.addEventListener('keydown', event => {
  if (event.key !== '/' || event.target === search) return;
  event.preventDefault();
  search.select();
});

const full = new Intl.NumberFormat('en'), short = new Intl.NumberFormat('en', {notation: 'compact'});
const kLevels = 12, kStrip = 18, kLeast = 4, kLabel = 24;  // a name of a thousand dots is no thousand levels; pixels

function layers(rows) {
  const top = {path: '', total: 0, parts: new Map(), row: null};
  for (const row of rows) {
    const n = Number(row.dataset.n), name = row.cells[0].textContent;
    if (n === 0) continue;
    const ends = [...name.matchAll(/[.:\/]/g)].map(dot => dot.index).slice(0, kLevels);
    top.total += n;
    let node = top;
    for (const end of [...ends, name.length]) {
      // A tensor and a layer may have the same name: a leaf's key is its row.
      const leaf = end === name.length, path = name.slice(0, end), key = leaf ? row : path;
      if (!node.parts.has(key)) node.parts.set(key, {path, total: 0, parts: new Map(), row: leaf ? row : null});
      node = node.parts.get(key);
      node.total += n;
    }
  }
  return joined(top, null);
}

// A layer of one part is shown as that part, under both names.
function joined(node, above) {
  while (node.parts.size === 1) [node] = node.parts.values();
  node.above = above;
  node.label = node.path.slice(above && above.path ? above.path.length + 1 : 0);
  node.parts = [...node.parts.values()].map(part => joined(part, node)).sort((a, b) => b.total - a.total);
  return node;
}

// Squarified Treemaps (Bruls, Huizing, van Wijk 2000): a strip along the shorter side takes parts as long as that
// makes their shapes better.
function split(parts, {x, y, w, h}, place) {
  let left = parts.reduce((sum, part) => sum + part.total, 0);
  for (let first = 0; first < parts.length && Math.min(w, h) >= kLeast;) {
    const side = Math.min(w, h), scale = w * h / left;
    let end = first, sum = 0;
    for (let worst = Infinity; end < parts.length; ++end) {
      const thick = (sum + parts[end].total) * scale / side;
      const ratio = Math.max(thick * thick / (parts[end].total * scale), parts[first].total * scale / (thick * thick));
      if (ratio > worst) break;
      worst = ratio;
      sum += parts[end].total;
    }
    const thick = sum * scale / side, wide = w >= h;
    for (let at = 0; first < end; ++first) {
      const length = parts[first].total / sum * side;
      const box = wide ? {x, y: y + at, w: thick, h: length} : {x: x + at, y, w: length, h: thick};
      if (Math.min(box.w, box.h) >= kLeast) place(parts[first], box, first);
      at += length;
    }
    if (wide) { x += thick; w -= thick; } else { y += thick; h -= thick; }
    left -= sum;
  }
}

class TreeMap {
  constructor(element) {
    this.element = element;
    this.all = this.top = layers(element.closest('section').querySelectorAll('tbody.mapped tr:not(.group)'));
    this.trail = document.createElement('p');
    this.trail.className = 'trail';
    element.before(this.trail);
    element.hidden = false;
    element.addEventListener('keydown', event => this.key(event));
    let width = element.clientWidth;
    new ResizeObserver(() => {
      if (width !== element.clientWidth) this.draw();
      width = element.clientWidth;
    }).observe(element);
    this.draw();
  }

  draw() {
    this.cells = new Map();
    const place = (node, {x, y, w, h}, hue) => {
      const cell = document.createElement('button'), share = 100 * node.total / this.all.total;
      cell.type = 'button';
      cell.tabIndex = this.cells.size ? -1 : 0;  // one stop for Tab, arrows inside
      cell.className = node.row ? 'leaf' : '';
      cell.textContent = w < kLabel || h < kStrip ? '' : `${node.label} ${short.format(node.total)}`;
      cell.title = `${node.path}: ${full.format(node.total)} (${share.toFixed(1)} %)`;
      cell.setAttribute('aria-label', cell.title);
      for (const [key, value] of [['left', x], ['top', y], ['width', w], ['height', h]]) cell.style[key] = `${value}px`;
      cell.style.setProperty('--hue', hue);
      cell.addEventListener('click', () => this.open(node));
      this.cells.set(node, cell);
      split(node.parts, {x: x + 3, y: y + kStrip, w: w - 6, h: h - kStrip - 3}, (part, box) => place(part, box, hue));
    };
    const {clientWidth: w, clientHeight: h} = this.element;
    const parts = this.top.row ? [this.top] : this.top.parts;
    split(parts, {x: 0, y: 0, w, h}, (part, box, i) => place(part, box, (215 + 137.5 * i) % 360));
    this.element.replaceChildren(...this.cells.values());
    this.trail.replaceChildren();
    for (let node = this.top; node; node = node.above) {
      const step = document.createElement('button');
      step.type = 'button';
      step.textContent = `${node.path || 'all'} ${short.format(node.total)}`;
      step.disabled = node === this.top;
      step.addEventListener('click', () => this.zoom(node));
      this.trail.prepend(step, ' ');
    }
    this.dim();
  }

  dim() {
    const shown = node => node.row ? !node.row.hidden : node.parts.some(shown);
    for (const [node, cell] of this.cells) cell.classList.toggle('dim', !shown(node));
  }

  zoom(node) {
    const from = this.top;
    this.top = node;
    this.draw();
    if (this.cells.size) this.focus(this.cells.has(from) ? from : this.cells.keys().next().value);
  }

  open(node) {
    if (!node.row) return this.zoom(node);
    if (node.row.hidden) {
      search.value = '';
      find();
    }
    node.row.tabIndex = -1;
    node.row.scrollIntoView({block: 'center'});
    node.row.focus({preventScroll: true});
  }

  focus(node) {
    for (const cell of this.cells.values()) cell.tabIndex = -1;
    this.cells.get(node).tabIndex = 0;
    this.cells.get(node).focus();
  }

  key(event) {
    const drawn = parts => parts.filter(part => this.cells.has(part));
    const node = [...this.cells.keys()].find(key => this.cells.get(key) === event.target);
    if (!node) return;
    const beside = node.above ? drawn(node.above.parts) : [node], at = beside.indexOf(node);
    const to = {ArrowRight: beside[at + 1], ArrowLeft: beside[at - 1], ArrowDown: drawn(node.parts)[0], ArrowUp: node.above}[event.key];
    if (event.key === 'Escape' && this.top.above) this.zoom(this.top.above);
    else if (to && this.cells.has(to)) this.focus(to);
    else if (!event.key.startsWith('Arrow')) return;
    event.preventDefault();
  }
}

for (const element of document.querySelectorAll('.map')) maps.push(new TreeMap(element));
