// The cost strips: a segment names its layer and selects it; what-if draws them anew.

function startStrips() {
  const readout = byId('cost-readout');
  const [rest, costs] = [readout.textContent, [...document.querySelectorAll('#costs .cost')]];
  const units = { macs: 'MACs', params: 'parameters', live: 'bytes alive' };
  let changed = null;

  const rowsNow = () => changed?.rows ?? view.layers.map((row, i) => ({ ...row, live: view.live[i] }));
  const costOf = (row, name) => row[name] ?? null;
  // Rows of a changed network stand for the report's layer of the same name.
  const placeOf = (row) => view.layers.findIndex((layer) => nameOf(layer) === nameOf(row));

  function words(row, name) {
    const value = costOf(row, name);
    const total = name === 'live' ? 0 : sum(rowsNow().map((each) => costOf(each, name) ?? 0));
    const share = total && value !== null ? ` (${((100 * value) / total).toFixed(1)} %)` : '';
    return `${number(value)} ${units[name]}${share}`;
  }

  function tell(row) {
    const names = costs.map((box) => box.dataset.cost);
    readout.replaceChildren(element('b', {}, nameOf(row)), `: ${names.map((name) => words(row, name)).join(', ')}`);
  }

  function fit() {
    for (const span of document.querySelectorAll('#costs .stage-names span')) {
      span.classList.toggle('tight', span.scrollWidth > span.clientWidth);
    }
  }

  // ---- the strips of a changed network, above those of the report's own

  function segments(rows, name, scale) {
    const made = [];
    let [stage, turn] = ['', 0];
    rows.forEach((row, i) => {
      const value = costOf(row, name);
      if (!value) return;
      const own = row.path.split('.')[0];
      if (own !== stage) turn += 1;
      const cls = `${turn % 2 ? '' : 'odd'} ${own === stage ? '' : 'first'}`;
      stage = own;
      const size = name === 'live' ? `height:${(100 * value) / scale}%` : `flex:${value}`;
      made.push(element('i', { class: cls, style: size, 'data-row': i }));
    });
    const spare = scale - sum(rows.map((row) => costOf(row, name) ?? 0));
    if (name !== 'live' && spare > 0) made.push(element('i', { class: 'spare', style: `flex:${spare}` }));
    return made;
  }

  function stageNames(rows, scale, name) {
    const spans = [];
    let used = 0;
    for (const row of rows) {
      const [own, value] = [row.path.split('.')[0], costOf(row, name) ?? 0];
      const last = spans[spans.length - 1];
      if (last && last.own === own) last.value += value;
      else spans.push({ own, value });
      used += value;
    }
    const made = spans.filter((span) => span.value).map(({ own, value }) =>
      element('span', { style: `flex:${value}` }, own));
    if (scale > used) made.push(element('span', { style: `flex:${scale - used}` }));
    return made;
  }

  const parts = costs.map((box) => {
    const found = {
      box, name: box.dataset.cost, strip: box.querySelector('.strip:not(.other)'), line: box.querySelector('.limit-at'),
      total: box.querySelector('.total'), names: box.querySelector('.stage-names'),
    };
    found.limit = Number(box.dataset.high ?? 0);
    found.at = found.line?.getAttribute('style');
    found.beyondAt = box.querySelector('.beyond')?.getAttribute('style').replace(/^[^;]*/, '');
    found.restore = [found.strip, found.total, found.names].filter(Boolean).map(keeper);
    return found;
  });

  function draw({ box, name, strip, line, total, names, limit, at, beyondAt, restore }) {
    box.querySelector('.strip.ghost')?.remove();
    const beyond = box.querySelector('.beyond');
    const place = (style, width) => {
      line.setAttribute('style', style);
      beyond?.setAttribute('style', style + width);
    };
    restore.forEach((put) => put());
    if (line) place(at, beyondAt);
    if (!changed) return;
    const own = view.layers.map((row, i) => ({ ...row, live: view.live[i] }));
    const sums = [changed.rows, own].map((rows) => {
      const values = rows.map((row) => costOf(row, name) ?? 0);
      return name === 'live' ? Math.max(...values) : sum(values);
    });
    const scale = Math.max(...sums, limit, 1);
    strip.replaceChildren(...segments(changed.rows, name, scale));
    names?.replaceChildren(...stageNames(changed.rows, scale, name));
    total.replaceChildren(...withGhost(short(sums[0]), short(sums[1])));
    total.title = number(sums[0]);
    const over = Math.max(0, (100 * (sums[0] - limit)) / scale);
    if (line) place(`${name === 'live' ? 'bottom' : 'left'}:${(100 * limit) / scale}%`, `;width:${over}%`);
    const ghost = element('div', { class: `strip ghost ${name}`, 'aria-hidden': 'true' });
    ghost.append(...segments(own, name, scale));
    box.append(ghost);
  }

  function mark() {
    parts.forEach(({ name, strip }) => {
      const here = rowsNow().findIndex((row) => placeOf(row) === chosen);
      for (const segment of strip.children) {
        const is = changed ? segment.dataset.row === String(here) : segment.dataset.layer === String(chosen);
        segment.classList.toggle('here', is);
      }
      const row = rowsNow()[here];
      strip.setAttribute('aria-valuenow', String(chosen + 1));
      if (row) strip.setAttribute('aria-valuetext', `${nameOf(row)}: ${words(row, name)}`);
    });
    fit();
  }

  // ---- input

  const rowAt = (segment) =>
    segment.dataset.row !== undefined ? rowsNow()[segment.dataset.row] : view.layers[segment.dataset.layer];
  for (const { strip } of parts) {
    strip.addEventListener('pointerover', (event) => {
      const row = rowAt(event.target);
      if (row) tell(changed ? row : { ...row, live: view.live[event.target.dataset.layer] });
    });
    strip.addEventListener('pointerleave', () => { readout.textContent = rest; });
    strip.addEventListener('click', (event) => {
      const row = rowAt(event.target);
      if (row) choose(event.target.dataset.layer === undefined ? placeOf(row) : Number(event.target.dataset.layer));
    });
    strip.addEventListener('keydown', (event) => {
      const last = view.layers.length - 1;
      const to = {
        ArrowRight: chosen + 1, ArrowUp: chosen + 1, ArrowLeft: chosen - 1, ArrowDown: chosen - 1, Home: 0, End: last,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(Math.max(0, Math.min(last, to)));
      const row = rowsNow().find((each) => placeOf(each) === chosen);
      if (row) tell(row);
    });
  }
  listeners.push(mark);
  networkListeners.push((network) => {
    changed = network;
    parts.forEach(draw);
    mark();
  });
  new ResizeObserver(fit).observe(byId('costs'));
}

startStrips();
