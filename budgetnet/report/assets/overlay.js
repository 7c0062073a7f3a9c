// The overlay: which inputs one unit of a layer reads, from the windows of the account.

const IDENTITY = { runs: [[[0, 0]]], advance: 1 };

// Runs of inputs that output i reads, as Window.runs() moved by its period.
function runsAt(window, i) {
  const period = window.runs.length;
  const turn = Math.floor(i / period);
  return window.runs[i - turn * period].map(([lo, hi]) => [
    lo + turn * window.advance,
    hi + turn * window.advance,
  ]);
}

function hullOf(runs) {
  return runs.length ? [runs[0][0], runs[runs.length - 1][1]] : null;
}

function inside(runs, size) {
  return runs.map(([lo, hi]) => Math.max(0, Math.min(hi, size - 1) - Math.max(lo, 0) + 1));
}

function startOverlay() {
  const select = byId('layer');
  const sliders = [byId('unit-row'), byId('unit-column')];
  const size = view.size;
  const shown = view.layers.map((layer, i) => (layer.field ? i : -1)).filter((i) => i >= 0);
  for (const i of shown) {
    const layer = view.layers[i];
    const name = layer.path || layer.kind;
    select.append(element('option', { value: i }, `${name}  ${layer.shape.join('x')}`));
  }
  const windowsOf = (layer) =>
    layer.field.windows.length === 1 ? [IDENTITY, layer.field.windows[0]] : layer.field.windows;
  const placeOf = (layer, axis) => layer.field.places?.[axis] ?? axis;
  const unitsOf = (layer) =>
    layer.global ? [1, 1] : layer.shape.length === 2 ? [1, layer.shape[1]] : layer.shape.slice(1);

  // ---- the picture, made once; a change of unit moves what is in it
  const part = {
    rim: shape('path', { class: 'rim' }), // dark around the dots, which light pictures swallow
    dots: shape('path', { class: 'dots' }),
    seen: shape('path', { class: 'seen', 'clip-path': 'url(#on-input)' }),
    onpad: shape('path', { class: 'onpad', 'clip-path': 'url(#off-input)' }),
    hull: shape('path', { class: 'hull', id: 'region' }),
    centre: shape('path', { class: 'centre' }),
    measured: shape('image', { x: 0, y: 0, width: size[1], height: size[0], preserveAspectRatio: 'none' }),
    off: shape('path', { 'clip-rule': 'evenodd' }),
    pattern: shape('pattern', { id: 'hatch', patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' }),
    line: shape('path', { class: 'hatch' }),
  };
  part.pattern.append(part.line);
  const whole = { x: 0, y: 0, width: size[1], height: size[0] };
  const picture = shape(
    'svg',
    { role: 'presentation', 'aria-hidden': 'true' },
    shape(
      'defs',
      {},
      part.pattern,
      shape('clipPath', { id: 'on-input' }, shape('rect', whole)),
      shape('clipPath', { id: 'off-input' }, part.off),
    ),
    shape('image', { ...whole, href: view.image, preserveAspectRatio: 'none' }),
    shape('rect', { ...whole, class: 'border' }),
    part.onpad, part.seen, part.measured, part.rim, part.dots, part.hull, part.centre,
  );
  byId('stage').append(picture);

  let unit = [0, 0];
  let frame = [0, 0, 1, 1];
  const centres = [[], []];

  function showLayer(index) {
    const layer = view.layers[index];
    const box = byId('overlay');
    box.classList.toggle('absent', !layer.field);
    if (!layer.field) {
      byId('readout').textContent = `${layer.path || layer.kind}: its regions are unknown or no plain map.`;
      return;
    }
    select.value = String(index);
    const units = unitsOf(layer);
    const ends = windowsOf(layer).map((window, axis) => {
      let [low, high] = [0, size[axis]];
      centres[axis] = [];
      for (let i = 0; i < units[placeOf(layer, axis)]; i++) {
        const hull = hullOf(runsAt(window, i));
        centres[axis].push(hull ? (hull[0] + hull[1] + 1) / 2 : NaN);
        if (hull) [low, high] = [Math.min(low, hull[0]), Math.max(high, hull[1] + 1)];
      }
      return [low, high];
    });
    // A field many times the input would leave the input a speck: then its rim is cut off.
    ends.forEach((end, axis) => {
      end[0] = Math.max(end[0], -1.25 * size[axis]);
      end[1] = Math.min(end[1], 2.25 * size[axis]);
    });
    const margin = 0.03 * Math.max(ends[0][1] - ends[0][0], ends[1][1] - ends[1][0]);
    frame = [
      ends[1][0] - margin, ends[0][0] - margin,
      ends[1][1] - ends[1][0] + 2 * margin, ends[0][1] - ends[0][0] + 2 * margin,
    ];
    picture.setAttribute('viewBox', frame.join(' '));
    const [x, y, w, h] = frame;
    part.off.setAttribute('d', `M${x} ${y}h${w}v${h}h${-w}zM0 0h${size[1]}v${size[0]}h${-size[1]}z`);
    const step = Math.max(w, h) / 60;
    part.pattern.setAttribute('width', step);
    part.pattern.setAttribute('height', step);
    part.line.setAttribute('d', `M0 0V${step}`);
    units.forEach((count, axis) => {
      sliders[axis].max = count - 1;
      sliders[axis].disabled = count < 2;
    });
    drawDots();
    showUnit(units.map((count) => Math.floor(count / 2)));
  }

  function drawDots() {
    const count = centres[0].length * centres[1].length;
    // Dots closer than this would be one grey field.
    const skip = Math.max(1, Math.ceil(Math.sqrt(count) / 64));
    const path = [];
    for (let r = 0; r < centres[0].length; r += skip) {
      for (let c = 0; c < centres[1].length; c += skip) {
        if (centres[0][r] + centres[1][c] === centres[0][r] + centres[1][c]) {
          path.push(`M${centres[1][c]} ${centres[0][r]}h0`);
        }
      }
    }
    for (const dots of [part.rim, part.dots]) {
      dots.setAttribute('d', byId('grid').checked ? path.join('') : '');
      dots.classList.toggle('many', count > 900);
    }
  }

  function showUnit(wanted) {
    const layer = view.layers[chosen];
    const units = unitsOf(layer);
    unit = wanted.map((i, axis) => Math.max(0, Math.min(units[axis] - 1, i)));
    unit.forEach((i, axis) => {
      sliders[axis].value = i;
    });
    const runs = windowsOf(layer).map((window, axis) => runsAt(window, unit[placeOf(layer, axis)]));
    const hulls = runs.map(hullOf);
    const stage = byId('stage');
    stage.dataset.unit = unit.join(',');
    stage.dataset.rows = hulls[0] ? hulls[0].join('..') : '';
    stage.dataset.columns = hulls[1] ? hulls[1].join('..') : '';
    const cells = [];
    for (const [top, bottom] of runs[0]) {
      for (const [left, right] of runs[1]) {
        cells.push(`M${left} ${top}h${right - left + 1}v${bottom - top + 1}h${left - right - 1}z`);
      }
    }
    part.seen.setAttribute('d', cells.join(''));
    part.onpad.setAttribute('d', cells.join(''));
    if (hulls[0] && hulls[1]) {
      const [[top, bottom], [left, right]] = hulls;
      part.hull.setAttribute('d', `M${left} ${top}H${right + 1}V${bottom + 1}H${left}z`);
      const [y, x] = [(top + bottom + 1) / 2, (left + right + 1) / 2];
      const arm = Math.max(frame[2], frame[3]) / 60;
      part.centre.setAttribute('d', `M${x - arm} ${y}H${x + arm}M${x} ${y - arm}V${y + arm}`);
    } else {
      part.hull.setAttribute('d', '');
      part.centre.setAttribute('d', '');
    }
    const middle = units.every((count, axis) => unit[axis] === Math.floor(count / 2));
    const show = layer.footprint && middle && byId('footprint').checked;
    byId('footprint-label').hidden = !layer.footprint;
    stage.classList.toggle('measured', !!show);
    if (show) part.measured.setAttribute('href', layer.footprint);
    else part.measured.removeAttribute('href');
    tell(layer, runs, hulls, show);
  }

  function tell(layer, runs, hulls, measured) {
    const name = layer.path || layer.kind;
    const where = layer.global ? 'every output' : `unit (${unit.join(', ')})`;
    const words = byId('readout');
    words.replaceChildren(element('b', {}, `${name}, ${where}`));
    if (!hulls[0] || !hulls[1]) {
      words.append(' reads nothing of the input.');
      return;
    }
    const [[top, bottom], [left, right]] = hulls;
    const lengths = runs.map((axis) => sum(axis.map(([lo, hi]) => hi - lo + 1)));
    const within = runs.map((axis, k) => sum(inside(axis, size[k])));
    const all = lengths[0] * lengths[1];
    const outside = all - within[0] * within[1];
    const gaps = all < (bottom - top + 1) * (right - left + 1) ? ` (${number(all)} of them read)` : '';
    words.append(
      ` reads rows ${top} to ${bottom} and columns ${left} to ${right}: `,
      `${bottom - top + 1}x${right - left + 1} positions${gaps}, `,
      `centre (${(top + bottom) / 2}, ${(left + right) / 2}); `,
      outside ? `${number(outside)} of ${number(all)} on padding, hatched` : 'none on padding',
      layer.global ? '.' : `. Jump ${[...new Set(layer.field.stride)].join('x')}.`,
      bottom + 1 > frame[1] + frame[3] || top < frame[1] ? ' The picture shows part of it.' : '',
      measured ? ' Green: the gradient measured at this unit.' : '',
    );
  }

  // ---- input
  const move = (rows, columns) => showUnit([unit[0] + rows, unit[1] + columns]);
  const nearest = (axis, place) =>
    centres[axis].reduce(
      (best, centre, i) => (Math.abs(centre - place) < Math.abs(centres[axis][best] - place) ? i : best),
      0,
    );
  const stage = byId('stage');
  stage.addEventListener('pointermove', (event) => {
    if (!view.layers[chosen].field) return;
    const matrix = picture.getScreenCTM().inverse();
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
    showUnit([nearest(0, point.y), nearest(1, point.x)]);
  });
  stage.addEventListener('keydown', (event) => {
    const layer = view.layers[chosen];
    const at = shown.indexOf(chosen);
    const last = layer.field ? unitsOf(layer).map((count) => count - 1) : [0, 0];
    const act = {
      ArrowUp: () => move(-1, 0),
      ArrowDown: () => move(1, 0),
      ArrowLeft: () => move(0, -1),
      ArrowRight: () => move(0, 1),
      Home: () => showUnit([0, 0]),
      End: () => showUnit(last),
      PageUp: () => choose(shown[Math.max(0, at - 1)]),
      PageDown: () => choose(shown[Math.min(shown.length - 1, at + 1)]),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  sliders.forEach((slider, axis) =>
    slider.addEventListener('input', () =>
      showUnit(unit.map((i, k) => (k === axis ? Number(slider.value) : i))),
    ),
  );
  select.addEventListener('change', () => choose(Number(select.value)));
  byId('grid').addEventListener('change', drawDots);
  byId('footprint').addEventListener('change', () => showUnit(unit));
  listeners.push(showLayer);
}

if (byId('stage') && view.layers.some((layer) => layer.field)) startOverlay();
