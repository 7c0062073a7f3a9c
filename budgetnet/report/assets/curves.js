// The curves: the chosen layer in all of them, and what-if's network with the report's own as a ghost.

function startCurves() {
  const [width, height, left, right, top, foot, inset] = view.chart;
  const charts = [...document.querySelectorAll('#growth figure')].map((figure) => ({
    figure, svg: figure.querySelector('svg'), at: figure.querySelector('.at'),
    restore: keeper(figure.querySelector('svg')),
  }));
  const least = (values) => (values.length ? Math.min(...values.map(fraction)) : null);
  const fraction = (text) => {
    const [above, below = 1] = String(text).split('/').map(Number);
    return above / below;
  };
  const own = view.layers.map((row) => ({
    ...row, size: row.global || !row.field ? null : least(row.field.size),
    whole: row.global && row.field ? least(row.field.size) : null,
    jump: row.global || !row.field ? null : least(row.field.stride),
  }));
  const ofChanged = (row) => ({
    ...row, size: row.global ? null : least(row.field.map((axis) => axis.size)),
    whole: row.global ? least(row.field.map((axis) => axis.size)) : null,
    jump: row.global ? null : least(row.field.map((axis) => axis.jump)),
  });
  const running = (rows, read) => {
    let total = 0;
    return rows.map((row) => {
      total = total === null || read(row) === null ? null : total + read(row);
      return total;
    });
  };
  // In the order of curves.py.
  const reads = [
    (rows) => rows.map((row) => row.size),
    (rows) => rows.map((row) => row.jump),
    (rows) => rows.map((row) => (row.size === null ? null : least(row.shape.slice(1)))),
    (rows) => rows.map((row) => product(row.shape)),
    (rows) => rows.map((row) => row.params),
    (rows) => running(rows, (row) => row.params),
    (rows) => rows.map((row) => row.macs),
    (rows) => running(rows, (row) => row.macs),
  ];
  let rows = own;

  const stepOf = (count) => (width - left - right - 2 * inset) / Math.max(1, count - 1);

  function draw({ svg, figure }, k, before) {
    const [now, then] = [reads[k](rows), reads[k](before)];
    const line = Number(figure.dataset.line ?? 0);
    const whole = k ? [] : rows.map((row) => row.whole);
    const most = Math.max(1, line, ...now, ...then, ...whole);
    const count = Math.max(now.length, then.length);
    const step = stepOf(count);
    const x = (i) => (left + inset + i * step).toFixed(1);
    const y = (value) => (top + (height - top - foot) * (1 - value / most)).toFixed(1);
    const isBars = figure.dataset.bars !== undefined;
    const path = (values) => {
      let pen = 'M';
      return values.map((value, i) => {
        if (value === null || (isBars && !value)) {
          pen = 'M';
          return '';
        }
        const point = isBars ? `M${x(i)} ${y(0)}V${y(value)}` : `${pen}${x(i)} ${y(value)}`;
        pen = 'L';
        return point;
      }).join('');
    };
    const words = (text, attributes) => shape('text', attributes, text);
    const bar = { style: `stroke-width:${Math.min(18, Math.max(0.7, 0.7 * step)).toFixed(1)}` };
    svg.replaceChildren(
      shape('path', { class: 'axis', d: `M${left} ${top}V${y(0)}H${width - right}` }),
      words(short(most), { x: left - 6, y: top + 4, 'text-anchor': 'end' }),
      words('0', { x: left - 6, y: y(0), 'text-anchor': 'end' }),
      words('layer 1', { x: left, y: height - 8 }),
      words(String(count), { x: width - right, y: height - 8, 'text-anchor': 'end' }),
    );
    if (line) svg.append(shape('g', { class: 'limit-line' }, shape('path', { d: `M${left} ${y(line)}H${width - right}` })));
    svg.append(
      shape('path', { class: `${isBars ? 'bars' : 'curve'} ghost`, d: path(then), ...(isBars ? bar : {}) }),
      shape('path', { class: isBars ? 'bars' : 'curve', d: path(now), ...(isBars ? bar : {}) }),
      shape('path', { class: 'whole', d: path(whole).replace(/(?=[ML]|$)/g, (_, at) => (at ? 'h0' : '')) }),
    );
  }

  function mark() {
    const here = rows === own ? chosen : rows.findIndex((row) => nameOf(row) === nameOf(view.layers[chosen] ?? {}));
    charts.forEach(({ svg, at }, k) => {
      svg.querySelector('.here')?.remove();
      const value = here < 0 ? null : reads[k](rows)[here];
      at.textContent = here < 0 ? '' : `${nameOf(rows[here])}: ${value === null ? !k && rows[here].whole ? `${number(rows[here].whole)}, the whole map` : 'none' : number(value)}`;
      if (here < 0) return;
      const count = rows === own ? rows.length : Math.max(rows.length, own.length);
      const place = left + inset + here * stepOf(count);
      svg.prepend(shape('path', { class: 'here', d: `M${place.toFixed(1)} ${top}V${height - foot}` }));
    });
  }

  for (const { svg } of charts) {
    svg.addEventListener('click', (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const count = Math.max(rows.length, own.length);
      const i = Math.max(0, Math.min(rows.length - 1, Math.round((at.x - left - inset) / stepOf(count))));
      choose(rows === own ? i : own.findIndex((row) => nameOf(row) === nameOf(rows[i])));
    });
  }
  listeners.push(mark);
  networkListeners.push((network) => {
    rows = network ? network.rows.map(ofChanged) : own;
    charts.forEach((chart, k) => (network ? draw(chart, k, own) : chart.restore()));
    mark();
  });
}

startCurves();
