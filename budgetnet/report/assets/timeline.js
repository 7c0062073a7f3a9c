// The memory of a device: buffers as rectangles over steps and bytes, and below what is in memory.

function startTimeline() {
  const { steps, plans, limit } = view.memory;
  const stage = byId('memory-stage');
  const [left, right, top, high, between, low, foot] = [60, 10, 24, 230, 26, 64, 20];
  const ruler = document.createElement('canvas').getContext('2d');
  ruler.font = '11.5px system-ui, sans-serif';
  const nameIn = (named) => (typeof named === 'number' ? nameOf(view.layers[named]) : named);
  let plan = plans[0];
  let at = -1; // the step at hand, from 1

  const live = (step) => plan.at.filter(([first, last]) => first <= step && step <= last);
  const bytesAt = (step) => sum(live(step).map(([, , , bytes]) => bytes));
  const operator = (step) => steps[plan.order[step - 1]];
  const layerOf = (step) => operator(step)[0];

  function peakOf() {
    const all = steps.map((_, k) => bytesAt(k + 1));
    return 1 + all.indexOf(Math.max(...all));
  }

  function draw() {
    const width = Math.max(260, Math.round(stage.clientWidth)) || 600;
    const height = top + high + between + low + foot;
    const most = Math.max(...plans.map(({ size }) => size), limit ?? 0, 1); // one scale for all plans
    const column = (width - left - right) / (steps.length + 1);
    const x = (step) => left + step * column;
    const y = (bytes) => top + high * (1 - bytes / most);
    const base = top + high + between + low;
    const all = steps.map((_, k) => bytesAt(k + 1));
    const peak = peakOf();
    const bar = (bytes) => (low * bytes) / Math.max(...all, 1);
    const wordsHere = 'In memory at step';
    const svg = shape('svg', { viewBox: `0 0 ${width} ${height}`, role: 'presentation', 'aria-hidden': 'true', class: column < 6 ? 'narrow' : '' },
      shape('defs', {}, shape('pattern', { id: 'scratch', width: 5, height: 5, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
        shape('path', { d: 'M0 0V5', class: 'scratch-line' }))),
      shape('rect', { x: x(peak), y: top, width: column, height: base - top, class: 'peak-band' }),
      shape('path', { d: `M${left} ${top}V${top + high}H${width - right}M${left} ${base - low}V${base}H${width - right}`, class: 'axis' }));
    plan.at.forEach((buffer, k) => svg.append(...bufferShapes(buffer, k, { x, y, column, peak })));
    all.forEach((bytes, k) => svg.append(shape('rect', {
      x: x(k + 1) + Math.min(1, column / 8), y: base - bar(bytes), height: bar(bytes), width: Math.max(0.5, column - Math.min(2, column / 4)),
      class: `bar${k + 1 === peak ? ' peak' : ''}`, 'data-step': k + 1, 'data-bytes': bytes,
    })));
    for (const [bytes, name] of [[plan.size, 'planned'], [Math.max(...all), 'bound'], ...(limit === null ? [] : [[limit, 'allowed']])]) {
      svg.append(shape('path', { d: `M${left} ${y(bytes)}H${width - right}`, class: `line ${name}`, 'data-bytes': bytes }));
    }
    svg.append(...scale({ width, x, y, base, most, peak, column, wordsHere }));
    stage.replaceChildren(svg);
    mark();
  }

  function bufferShapes([first, last, offset, bytes, named], k, { x, y, column, peak }) {
    if (last < 0 || !bytes) return [];
    const isScratch = typeof named === 'string' && named.startsWith('scratch of ');
    const [from, to] = [x(first), x(last + 1)];
    const box = { x: from + 0.5, y: y(offset + bytes), width: Math.max(0.5, to - from - 1), height: Math.max(0.5, y(offset) - y(offset + bytes)) };
    const kind = isScratch ? 'scratch' : first <= peak && peak <= last ? 'at-peak' : 'map';
    const made = [shape('rect', { ...box, class: `buffer ${kind}`, 'data-buffer': k, 'data-bytes': bytes, 'data-offset': offset })];
    const name = nameIn(named);
    if (!isScratch && box.height > 15 && ruler.measureText(name).width + 8 < box.width) {
      made.push(shape('text', { x: from + box.width / 2, y: box.y + box.height / 2 + 4, 'text-anchor': 'middle', class: 'inside' }, name));
    }
    return made;
  }

  function scale({ width, x, y, base, most, peak, column, wordsHere }) {
    const write = (text, column, row, anchor, more = {}) => shape('text', { x: column, y: row, 'text-anchor': anchor, ...more }, text);
    const middle = x(peak) + column / 2;
    const words = shortened(`peak: ${nameIn(layerOf(peak))}`, width - left - right);
    const wide = ruler.measureText(words).width / 2 + 6;
    const last = `step ${steps.length}`;
    return [
      write(short(most), left - 6, top + 4, 'end'),
      write('0', left - 6, y(0), 'end'),
      write(wordsHere, left, base - low - 6, 'start'),
      write(short(bytesAt(peak)), left - 6, base - low + 9, 'end'),
      write('0', left - 6, base, 'end'),
      write('input', left, base + 15, 'start'),
      write(last, width - right, base + 15, 'end'),
      write(words, Math.min(Math.max(middle, left + wide), width - right - wide), top - 8, 'middle', { class: 'peak-name' }),
    ];
  }

  function shortened(text, room) {
    let words = text;
    while (words.length > 6 && ruler.measureText(words).width + 12 > room) words = `${words.slice(0, -2)}…`;
    return words;
  }

  function short(bytes) {
    const unit = [[1e9, 'GB'], [1e6, 'MB'], [1e3, 'kB']].find(([size]) => bytes >= 10 * size || (bytes >= size && size > 1e3));
    return unit ? `${Number((bytes / unit[0]).toPrecision(3))} ${unit[1]}` : `${number(bytes)} B`;
  }

  // ---- what is pointed at, and the chosen layer

  function tellStep(step) {
    const [named, kind] = operator(step);
    const held = live(step).sort((one, two) => two[3] - one[3]).map(([, , , bytes, name]) => `${nameIn(name)} ${number(bytes)}`);
    const listed = held.slice(0, 6).join(', ') + (held.length > 6 ? ` and ${held.length - 6} more` : '');
    byId('memory-readout').replaceChildren(element('b', {}, `Step ${step}, ${nameIn(named)}`),
      ` (${kind}): ${number(bytesAt(step))} bytes in memory: ${listed}.`);
  }

  function tellBuffer([first, last, offset, bytes, named]) {
    const when = first === last ? `at step ${first}` : `from step ${first} to ${last}`;
    byId('memory-readout').replaceChildren(element('b', {}, nameIn(named)), `: ${number(bytes)} bytes at ${number(offset)}, in memory ${when}.`);
  }

  function mark() {
    for (const drawn of stage.querySelectorAll('[data-buffer], [data-step]')) {
      const layer = drawn.dataset.buffer ? plan.at[drawn.dataset.buffer][4] : layerOf(Number(drawn.dataset.step));
      drawn.classList.toggle('here', layer === chosen);
    }
  }

  const hovered = ({ target }) => {
    if (target.dataset.buffer) tellBuffer(plan.at[target.dataset.buffer]);
    else if (target.dataset.step) tellStep(Number(target.dataset.step));
  };
  stage.addEventListener('pointerover', hovered);
  stage.addEventListener('click', (event) => {
    const { buffer, step } = event.target.dataset;
    const named = buffer ? plan.at[buffer][4] : step ? layerOf(Number(step)) : undefined;
    if (typeof named === 'number') choose(named);
    if (step) at = Number(step);
    hovered(event);
  });
  stage.addEventListener('keydown', (event) => {
    const target = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 1, End: steps.length }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    at = Math.max(1, Math.min(steps.length, at < 0 && event.key.startsWith('Arrow') ? peakOf() : target));
    if (typeof layerOf(at) === 'number') choose(layerOf(at));
    tellStep(at);
  });
  for (const input of document.querySelectorAll('.plans input')) {
    input.addEventListener('change', () => {
      plan = plans[Number(input.value)];
      at = -1;
      draw();
      tellStep(peakOf());
    });
  }
  listeners.push(mark);
  networkListeners.push((network) => {
    byId('memory').classList.toggle('stale', !!network);
    byId('memory-stale').hidden = !network;
  });
  draw();
  new ResizeObserver(() => {
    const [, , width] = stage.firstChild.getAttribute('viewBox').split(' ');
    if (stage.clientWidth && Math.abs(stage.clientWidth - width) > 1) draw();
  }).observe(stage);
}

if (view.memory && byId('memory-stage')) startTimeline();
