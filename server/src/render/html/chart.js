'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const tip = document.getElementById('tip');
const color = name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();

// Numbers are differences in units of `unit`; an empty one is a gap.
function unpack(text, unit) {
  let sum = 0;
  return Float64Array.from(text.split(','), part => part === '' ? NaN : (sum += +part) * unit);
}

function show(value, unit) {
  if (Number.isNaN(value)) return '–';
  const size = Math.abs(value);
  if (size >= 1e7 || (size > 0 && size < 1e-4)) return value.toPrecision(5);
  return String(+value.toFixed(Math.max(0, Math.min(12, -Math.round(Math.log10(unit))))));
}

const clock = (ms, form) => new Date(ms).toISOString().replace('T', ' ').slice(...form);

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= raw) || raw;
  const list = [];
  for (let k = Math.ceil(low / step); k * step <= high && list.length < 20; k++) list.push(k * step);
  return list;
}

const HOURS = 3600e3, STEPS = [1e3, 5e3, 15e3, 60e3, 300e3, 900e3, 1800e3, HOURS, 3 * HOURS, 6 * HOURS, 12 * HOURS,
  24 * HOURS, 48 * HOURS, 168 * HOURS, 336 * HOURS, 720 * HOURS, 2160 * HOURS, 8760 * HOURS];

class Chart {
  constructor(raw, holder) {
    Object.assign(this, raw);
    for (const key of 'yflu') this[key] = unpack(raw[key], raw.unit);
    this.s = Float64Array.from(raw.s.split(','), part => part === '' ? NaN : part / 100);
    this.size = this.y.length;
    this.from = 0; this.to = Math.max(1, this.size - 1);
    const figure = holder.appendChild(document.createElement('figure'));
    const caption = figure.appendChild(document.createElement('figcaption'));
    caption.textContent = raw.title;
    if (raw.note) {
      const note = caption.appendChild(document.createElement('span'));
      note.textContent = raw.note;
      note.className = raw.kind;
    }
    this.canvas = figure.appendChild(document.createElement('canvas'));
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute('role', 'img');
    this.canvas.setAttribute('aria-label', raw.title + ': ' + this.s.filter(s => s > 1).length + ' anomalous points');
    this.listen();
  }

  listen() {
    const at = event => this.index(event.clientX - this.canvas.getBoundingClientRect().left);
    this.canvas.addEventListener('pointerdown', e => { this.drag = at(e); this.canvas.setPointerCapture(e.pointerId); });
    this.canvas.addEventListener('pointermove', e => { this.cursor = at(e); this.draw(); this.say(e.clientX, e.clientY); });
    this.canvas.addEventListener('pointerup', e => {
      const [a, b] = [this.drag, at(e)].sort((x, y) => x - y);
      this.drag = undefined;
      if (b - a > 2) this.zoom(a, b); else this.draw();
    });
    this.canvas.addEventListener('pointerleave', () => { this.cursor = undefined; tip.hidden = true; this.draw(); });
    this.canvas.addEventListener('dblclick', () => this.zoom(0, this.size - 1));
    this.canvas.addEventListener('keydown', e => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
      if (e.key === 'Escape') this.zoom(0, this.size - 1);
      if (!move) return;
      e.preventDefault();
      this.cursor = Math.min(this.to, Math.max(this.from, (this.cursor ?? this.from) + move));
      this.draw();
      const box = this.canvas.getBoundingClientRect();
      this.say(box.left + this.x(this.cursor), box.top + 20);
    });
  }

  index(px) {
    const part = (px - this.left) / (this.right - this.left);
    return Math.round(this.from + Math.min(1, Math.max(0, part)) * (this.to - this.from));
  }

  x(index) { return this.left + (index - this.from) / (this.to - this.from) * (this.right - this.left); }

  zoom(from, to) {
    this.from = Math.max(0, from); this.to = Math.max(this.from + 1, Math.min(this.size - 1, to));
    this.draw();
  }

  say(px, py) {
    const i = this.cursor, n = v => show(v, this.unit);
    tip.textContent = clock(this.start + i * this.step, [0, this.step % 60e3 ? 19 : 16]) + ' UTC\nvalue     ' + n(this.y[i]) +
      '\nexpected  ' + n(this.f[i]) + '\nband      ' + n(this.l[i]) + ' … ' + n(this.u[i]) + '\nscore     ' +
      (Number.isNaN(this.s[i]) ? '–' : this.s[i]);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = (px + 16 + box.width > innerWidth ? px - box.width - 16 : px + 16) + 'px';
    tip.style.top = Math.min(py + 12, innerHeight - box.height - 4) + 'px';
  }

  // The scale holds all values, and of the band what lies within one more range of them.
  scale() {
    const of = (...rows) => {
      let low = Infinity, high = -Infinity;
      for (const row of rows) for (let i = this.from; i <= this.to; i++) {
        if (row[i] < low) low = row[i];
        if (row[i] > high) high = row[i];
      }
      return [low, high];
    };
    let [low, high] = of(this.y, this.f);
    if (!(high >= low)) [low, high] = [0, 1];
    const more = high > low ? high - low : Infinity, [bl, bh] = of(this.l, this.u);
    low = Math.min(low, Math.max(bl, low - more)); high = Math.max(high, Math.min(bh, high + more));
    const pad = high > low ? (high - low) * .04 : Math.max(1, Math.abs(low)) * .1;
    return [low - pad, high + pad];
  }

  draw() {
    const ratio = devicePixelRatio || 1, width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!width) return;
    if (this.canvas.width !== Math.round(width * ratio)) { this.canvas.width = width * ratio; this.canvas.height = height * ratio; }
    const g = this.canvas.getContext('2d');
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    g.font = '12px system-ui, sans-serif';
    const [low, high] = this.scale();
    this.left = 62; this.right = width - 8;
    const top = 8, bottom = height - 24, y = v => bottom - (v - low) / (high - low) * (bottom - top);
    this.axes(g, low, high, y, top, bottom);
    g.save();
    g.beginPath(); g.rect(this.left, top, this.right - this.left, bottom - top); g.clip();
    this.wash(g, top, bottom);
    this.known(g, top, bottom);
    this.band(g, y);
    this.line(g, this.f, y, color('f'), 1, [4, 3]);
    this.line(g, this.y, y, color('y'), 1.5, []);
    this.dots(g, y);
    if (this.cursor !== undefined) this.cross(g, y, top, bottom);
    g.restore();
  }

  axes(g, low, high, y, top, bottom) {
    g.strokeStyle = color('rule'); g.fillStyle = color('faint'); g.lineWidth = 1;
    g.textAlign = 'right'; g.textBaseline = 'middle';
    const marks = ticks(low, high, 4), gap = marks[1] - marks[0];
    for (const v of marks) {
      g.beginPath(); g.moveTo(this.left, y(v)); g.lineTo(this.right, y(v)); g.stroke();
      const text = Math.abs(v) >= 1e5 || (gap < 1e-4) ? v.toExponential(2) : String(+v.toFixed(Math.max(0, Math.min(6, 1 - Math.floor(Math.log10(gap))))));
      g.fillText(text, this.left - 6, y(v));
    }
    g.textAlign = 'center'; g.textBaseline = 'top';
    const span = (this.to - this.from) * this.step, first = this.start + this.from * this.step;
    const step = STEPS.find(s => span / s <= (this.right - this.left) / 110) || STEPS.at(-1);
    const form = step >= 24 * HOURS ? [0, 10] : span > 24 * HOURS ? [5, 16] : step < 60e3 ? [11, 19] : [11, 16];
    for (let t = Math.ceil(first / step) * step; t <= first + span; t += step) {
      const px = this.x((t - this.start) / this.step);
      g.beginPath(); g.moveTo(px, bottom); g.lineTo(px, bottom + 4); g.stroke();
      if (px > this.left + 20 && px < this.right - 30) g.fillText(clock(t, form), px, bottom + 7);
    }
  }

  // Points of one pixel are drawn as their lowest and highest value, so that no spike gets lost.
  columns(row, each) {
    const per = Math.max(1, Math.floor((this.to - this.from + 1) / (this.right - this.left)));
    for (let i = this.from; i <= this.to; i += per) {
      let low = Infinity, high = -Infinity;
      for (let k = i; k < Math.min(i + per, this.to + 1); k++) { if (row[k] < low) low = row[k]; if (row[k] > high) high = row[k]; }
      each(this.x(i), low, high, i, per);
    }
  }

  line(g, row, y, style, width, dash) {
    g.strokeStyle = style; g.lineWidth = width; g.setLineDash(dash); g.beginPath();
    let pen = false;
    this.columns(row, (x, low, high) => {
      if (high < low) { pen = false; return; }
      if (pen) g.lineTo(x, y(low)); else { g.moveTo(x, y(low)); g.lineTo(x + .5, y(low)); }
      if (high !== low) g.lineTo(x, y(high));
      pen = true;
    });
    g.stroke(); g.setLineDash([]);
  }

  band(g, y) {
    g.fillStyle = color('band'); g.strokeStyle = color('edge'); g.lineWidth = 1;
    let run = [];
    const flush = () => {
      if (run.length) {
        g.beginPath();
        run.forEach(([x, , u]) => g.lineTo(x, y(u)));
        run.reverse().forEach(([x, l]) => g.lineTo(x, y(l)));
        g.fill();
      }
      run = [];
    };
    this.columns(this.l, (x, low, high, i, per) => {
      let upper = -Infinity;
      for (let k = i; k < Math.min(i + per, this.to + 1); k++) if (this.u[k] > upper) upper = this.u[k];
      if (high < low || upper === -Infinity) flush(); else run.push([x, low, upper]);
    });
    flush();
  }

  // Neighbours are drawn as one, so that many of them don't add up to a solid wall.
  wash(g, top, bottom) {
    g.fillStyle = color('wash');
    let done = -Infinity;
    for (let i = this.from; i <= this.to; i++) if (this.s[i] > 1) {
      const left = Math.max(done, this.x(i - .5) - 1.5), right = this.x(i + .5) + 1.5;
      if (right > left) g.fillRect(left, top, right - left, bottom - top);
      done = Math.max(done, right);
    }
  }

  // What is known to have happened: a bar at the foot, with a frame where nothing was said of it.
  known(g, top, bottom) {
    for (const [from, until, caught] of this.e || []) {
      const left = this.x((from - this.start) / this.step - .5), right = this.x((until - this.start) / this.step + .5);
      if (right < this.left || left > this.right) continue;
      const width = Math.max(3, right - left);
      g.fillStyle = color(caught ? 'hit' : 'a');
      g.fillRect(left, bottom - 6, width, 6);
      if (!caught) { g.strokeStyle = color('a'); g.lineWidth = 1; g.strokeRect(left, top, width, bottom - top); }
    }
  }

  dots(g, y) {
    g.fillStyle = color('a');
    const size = this.to - this.from > 1500 ? 2 : 3;
    for (let i = this.from; i <= this.to; i++) if (this.s[i] > 1) {
      g.beginPath(); g.arc(this.x(i), y(this.y[i]), size, 0, 7); g.fill();
    }
  }

  cross(g, y, top, bottom) {
    const x = this.x(this.cursor);
    g.strokeStyle = color('faint'); g.lineWidth = 1;
    g.beginPath(); g.moveTo(x, top); g.lineTo(x, bottom); g.stroke();
    if (this.drag !== undefined) { g.fillStyle = color('band'); g.fillRect(this.x(this.drag), top, x - this.x(this.drag), bottom - top); }
    if (!Number.isNaN(this.y[this.cursor])) { g.fillStyle = color('y'); g.beginPath(); g.arc(x, y(this.y[this.cursor]), 3.5, 0, 7); g.fill(); }
  }
}
