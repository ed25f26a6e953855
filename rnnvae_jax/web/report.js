// What the reader does with charts: visits points by pointer and by arrow keys,
// searches the map, chooses its plane and its colours. Texts of runs enter the
// page as text alone.
'use strict';
document.documentElement.classList.add('script');

const SVG = 'http://www.w3.org/2000/svg';
const NEAR = 28; // Pixels between the pointer and what it visits.
const LISTED = 12; // Sentences that a search lists.

function make(name, text, className) {
  const element = document.createElement(name);
  if (text) element.textContent = text;
  if (className) element.className = className;
  return element;
}

const tip = make('div', '', 'tip');
tip.setAttribute('role', 'status');
document.body.append(tip);

function hideTip() {
  tip.textContent = '';
}

// Shows a text above or below a place in the window, where there is room.
function showTip(x, top, bottom, text, below = false) {
  tip.textContent = text;
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  const left = Math.max(8, Math.min(x - tip.offsetWidth / 2, room));
  const above = top - tip.offsetHeight - 8;
  const end = bottom + 8 + tip.offsetHeight;
  const isBelow = above < 4 || (below && end < window.innerHeight);
  tip.style.left = `${left + window.scrollX}px`;
  tip.style.top = `${(isBelow ? bottom + 8 : above) + window.scrollY}px`;
}

// A chart whose points [x, y, text, series] can be visited.
class Chart {
  constructor(figure, points) {
    this.figure = figure;
    this.svg = figure.querySelector('svg.plot');
    this.points = points;
    this.current = -1;
    this.isLine = figure.classList.contains('line');
    this.ring = document.createElementNS(SVG, 'circle');
    this.ring.setAttribute('class', 'ring');
    this.ring.setAttribute('r', 7);
    this.ring.setAttribute('visibility', 'hidden');
    this.svg.append(this.ring);
    this.svg.addEventListener('pointermove', event => this.point(event));
    this.svg.addEventListener('pointerdown', event => this.point(event));
    this.svg.addEventListener('pointerleave', () => this.leave());
    this.svg.addEventListener('focus', () => {
      if (this.svg.matches(':focus-visible')) {
        this.visit(Math.max(this.current, 0));
      }
    });
    this.svg.addEventListener('blur', () => this.leave());
    this.svg.addEventListener('keydown', event => this.key(event));
  }

  isShown(number) {
    return number >= 0 && number < this.points.length;
  }

  visit(number) {
    if (!this.isShown(number)) return;
    this.current = number;
    const point = this.points[number];
    this.ring.setAttribute('cx', point[0]);
    this.ring.setAttribute('cy', point[1]);
    this.ring.setAttribute('visibility', 'visible');
    for (const line of this.svg.querySelectorAll('[data-series]')) {
      line.classList.toggle('on', Number(line.dataset.series) === point[3]);
    }
    const box = this.svg.getBoundingClientRect();
    const scale = box.width / this.svg.viewBox.baseVal.width;
    const y = box.top + point[1] * scale;
    showTip(box.left + point[0] * scale, y - 4, y + 4, this.text(number));
  }

  text(number) {
    return this.points[number][2];
  }

  leave() {
    this.ring.setAttribute('visibility', 'hidden');
    for (const line of this.svg.querySelectorAll('.on')) {
      line.classList.remove('on');
    }
    hideTip();
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    const scale = this.svg.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale;
    const y = (event.clientY - box.top) * scale;
    let best = -1;
    let least = (NEAR * scale) ** 2;
    this.points.forEach((point, number) => {
      const distance = (point[0] - x) ** 2 + (point[1] - y) ** 2;
      if (distance < least && this.isShown(number)) {
        best = number;
        least = distance;
      }
    });
    if (best < 0) this.leave();
    else this.visit(best);
  }

  key(event) {
    const ways = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
    };
    if (event.key === 'Escape') {
      this.leave();
    } else if (event.key in ways) {
      event.preventDefault();
      this.visit(this.next(...ways[event.key]));
    }
  }

  // The neighbour in a direction: along a series, or to the nearest point.
  next(right, down) {
    const [x, y, , series] = this.points[this.current];
    let best = this.current;
    let least = Infinity;
    this.points.forEach((point, number) => {
      const along = right * (point[0] - x) + down * (point[1] - y);
      const across = right ? Math.abs(point[1] - y) : Math.abs(point[0] - x);
      const isSame = point[3] === series;
      const isFit = this.isLine
        ? (right ? isSame && along > 0 : !isSame && along > 0)
        : along > 0 && along >= across / 2;
      const cost = this.isLine && right ? along : along + 2 * across;
      if (isFit && cost < least && this.isShown(number)) {
        best = number;
        least = cost;
      }
    });
    return best;
  }
}

// The map of sentences: its points are those of the chosen plane.
class SentenceMap extends Chart {
  constructor(figure, data) {
    super(figure, []);
    this.data = data;
    this.marks = [...figure.querySelectorAll('.points .mark')];
    this.found = null; // Numbers of what the search has found; null: all.
    this.legend = figure.querySelector('.key');
    this.status = figure.querySelector('.found');
    this.results = figure.querySelector('.results');
    this.select = figure.querySelector('[name=label]');
    for (const radio of figure.querySelectorAll('[name=plane]')) {
      radio.addEventListener('change', () => this.place(radio.value));
      if (radio.checked) this.place(radio.value);
    }
    if (this.select) {
      this.select.addEventListener('change', () => this.colour());
      this.colour();
    }
    const search = figure.querySelector('[name=search]');
    search.addEventListener('input', () => this.search(search.value));
  }

  place(plane) {
    const [xs, ys] = this.data.planes[plane];
    this.points = xs.map((x, number) => [x, ys[number], '', number]);
    this.marks.forEach((mark, number) => {
      mark.setAttribute('x', xs[number]);
      mark.setAttribute('y', ys[number]);
    });
    this.leave();
  }

  colour() {
    const label = this.data.labels[this.select.value];
    const symbols = document.querySelectorAll('.symbols path').length;
    this.marks.forEach((mark, number) => {
      const kind = label.of[number] % symbols;
      mark.setAttribute('href', `#s${kind}`);
      mark.setAttribute('class', `mark c${kind}`);
    });
    const list = make('ul', '', 'legend');
    label.kinds.forEach((name, kind) => {
      const item = make('li', name);
      const svg = document.createElementNS(SVG, 'svg');
      const mark = document.createElementNS(SVG, 'use');
      for (const [key, value] of Object.entries(
        { width: 14, height: 14, viewBox: '0 0 14 14', 'aria-hidden': 'true' }
      )) svg.setAttribute(key, value);
      for (const [key, value] of Object.entries(
        { href: `#s${kind}`, class: `mark c${kind}`, x: 7, y: 7 }
      )) mark.setAttribute(key, value);
      svg.append(mark);
      item.prepend(svg);
      list.append(item);
    });
    this.legend.replaceChildren(list);
    this.fade();
  }

  text(number) {
    const labels = Object.entries(this.data.labels).map(
      ([name, label]) => `${name}: ${label.kinds[label.of[number]]}`
    );
    return [this.data.texts[number], labels.join(', ')].join('\n').trim();
  }

  isShown(number) {
    return super.isShown(number) && (!this.found || this.found.has(number));
  }

  search(words) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    this.found = null;
    if (wanted.length) {
      this.found = new Set(this.data.texts.keys());
      this.data.texts.forEach((text, number) => {
        const spelt = text.toLowerCase();
        if (!wanted.every(word => spelt.includes(word))) {
          this.found.delete(number);
        }
      });
    }
    this.leave();
    this.fade();
    this.list();
  }

  fade() {
    this.marks.forEach((mark, number) => {
      mark.classList.toggle('out', !!this.found && !this.found.has(number));
    });
  }

  list() {
    this.results.replaceChildren();
    this.status.textContent = '';
    if (!this.found) return;
    const count = this.found.size;
    const spelt = [count, this.data.texts.length].map(n => n.toLocaleString('en'));
    this.status.textContent = `${spelt.join(' of ')} sentences`;
    for (const number of [...this.found].slice(0, LISTED)) {
      const button = make('button', this.data.texts[number]);
      button.type = 'button';
      for (const kind of ['focus', 'click', 'pointerenter']) {
        button.addEventListener(kind, () => this.visit(number));
      }
      for (const kind of ['blur', 'pointerleave']) {
        button.addEventListener(kind, () => this.leave());
      }
      const item = make('li');
      item.append(button);
      this.results.append(item);
    }
  }
}

const read = element => JSON.parse(element.textContent);
for (const figure of document.querySelectorAll('figure.chart')) {
  const points = figure.querySelector('.points[type]');
  const map = figure.querySelector('.map-data');
  if (points) new Chart(figure, read(points));
  else if (map) new SentenceMap(figure, read(map));
}

// Explanations: under the pointer or once focused; Escape closes them.
for (const term of document.querySelectorAll('.term')) {
  const open = () => {
    const box = term.getBoundingClientRect();
    const text = term.querySelector('.note').textContent;
    showTip(box.left + box.width / 2, box.top, box.bottom, text, true);
  };
  term.addEventListener('pointerenter', open);
  term.addEventListener('focus', open);
  term.addEventListener('pointerleave', hideTip);
  term.addEventListener('blur', hideTip);
}
addEventListener('keydown', event => {
  if (event.key === 'Escape') hideTip();
});

// On paper everything is open but the whole config, which is long.
addEventListener('beforeprint', () => {
  for (const details of document.querySelectorAll('details:not([open])')) {
    if (details.closest('#config')) continue;
    details.open = true;
    details.dataset.printed = '';
  }
});
addEventListener('afterprint', () => {
  for (const details of document.querySelectorAll('[data-printed]')) {
    details.open = false;
    delete details.dataset.printed;
  }
});
