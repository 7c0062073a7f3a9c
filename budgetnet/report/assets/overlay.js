// The overlay: which inputs one unit of a layer reads, over the picture of the input.

function startOverlay() {
  const select = byId('layer');
  const sliders = [byId('unit-row'), byId('unit-column')];
  let layers = view.layers; // those of the report, or of the network that what-if has made
  let size = view.size;
  let current = -1; // of `layers`
  let listed = [];

  // ---- the picture, made once; a change of unit moves what is in it
  const part = {
    input: shape('image', { href: view.image, preserveAspectRatio: 'none' }),
    border: shape('rect', { class: 'border' }),
    clip: shape('rect'),
    rim: shape('path', { class: 'rim' }), // dark around the dots, which light pictures swallow
    dots: shape('path', { class: 'dots' }),
    seen: shape('path', { class: 'seen', 'clip-path': 'url(#on-input)' }),
    onpad: shape('path', { class: 'onpad', 'clip-path': 'url(#off-input)' }),
    ghost: shape('path', { class: 'was', id: 'ghost' }),
    hull: shape('path', { class: 'hull', id: 'region' }),
    centre: shape('path', { class: 'centre' }),
    measured: shape('image', { preserveAspectRatio: 'none' }),
    off: shape('path', { 'clip-rule': 'evenodd' }),
    pattern: shape('pattern', { id: 'hatch', patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' }),
    line: shape('path', { class: 'hatch' }),
  };
  part.pattern.append(part.line);
  const picture = shape(
    'svg',
    { role: 'presentation', 'aria-hidden': 'true' },
    shape(
      'defs',
      {},
      part.pattern,
      shape('clipPath', { id: 'on-input' }, part.clip),
      shape('clipPath', { id: 'off-input' }, part.off),
    ),
    part.input, part.border,
    part.onpad, part.seen, part.measured, part.rim, part.dots, part.ghost, part.hull, part.centre,
  );
  const stage = byId('stage');
  stage.append(picture);

  let unit = [0, 0];
  let frame = [0, 0, 1, 1];
  let centres = [[], []];

  // The network is the report's own (null) or another, perhaps on an input of another size.
  function showLayers(network) {
    layers = network ? layersOf(network) : view.layers;
    size = network ? network.input_shape.slice(1) : view.size;
    const whole = { x: 0, y: 0, width: size[1], height: size[0] };
    for (const drawn of [part.input, part.border, part.clip, part.measured]) {
      for (const [key, value] of Object.entries(whole)) drawn.setAttribute(key, value);
    }
    picture.classList.toggle('coarse', Math.max(...size) <= 64); // then positions are to be seen
    listed = layers.map((layer, i) => (layer.field ? i : -1)).filter((i) => i >= 0);
    select.replaceChildren(...listed.map((i) =>
      element('option', { value: i }, `${nameOf(layers[i])}  ${layers[i].shape.join('x')}`)));
    if (chosen >= 0) showChosen(chosen);
  }

  const isOwn = () => layers === view.layers;
  const originalOf = (layer) =>
    isOwn() ? undefined : view.layers.find((own) => own.path === layer.path && own.field);

  function showChosen(layer) {
    const at = isOwn() ? layer : layers.findIndex((other) => other.path === view.layers[layer].path);
    if (at >= 0) showLayer(at);
    else byId('readout').textContent = `${nameOf(view.layers[layer])} is not in the changed network.`;
  }

  // A layer of the changed network may have no counterpart that the other parts could show.
  function pick(index) {
    const own = isOwn() ? index : view.layers.findIndex((other) => other.path === layers[index].path);
    if (own >= 0) choose(own);
    if (index !== current) showLayer(index);
  }

  function centresOf(layer) {
    const units = unitsOf(layer);
    return windowsOf(layer).map((window, axis) =>
      Array.from({ length: units[placeOf(layer, axis)] }, (_, i) => {
        const hull = hullOf(runsAt(window, i));
        return hull ? (hull[0] + hull[1] + 1) / 2 : NaN;
      }));
  }

  function endsOf(layer, axis) {
    const window = windowsOf(layer)[axis];
    const hulls = Array.from({ length: unitsOf(layer)[placeOf(layer, axis)] }, (_, i) => hullOf(runsAt(window, i)));
    const known = hulls.filter(Boolean);
    return [Math.min(0, ...known.map(([lo]) => lo)), Math.max(size[axis], ...known.map(([, hi]) => hi + 1))];
  }

  function showLayer(index) {
    current = index;
    const layer = layers[index];
    byId('overlay').classList.toggle('absent', !layer.field);
    byId('measured-units').replaceChildren();
    if (!layer.field) {
      byId('readout').textContent = `${nameOf(layer)}: its regions are unknown or no plain map.`;
      return;
    }
    select.value = String(index);
    centres = centresOf(layer);
    const both = [layer, originalOf(layer)].filter(Boolean);
    // A field many times the input would leave the input a speck: then its rim is cut off.
    const ends = [0, 1].map((axis) => [
      Math.max(-1.25 * size[axis], Math.min(...both.map((each) => endsOf(each, axis)[0]))),
      Math.min(2.25 * size[axis], Math.max(...both.map((each) => endsOf(each, axis)[1]))),
    ]);
    setFrame(ends);
    const units = unitsOf(layer);
    units.forEach((count, axis) => {
      sliders[axis].max = count - 1;
      sliders[axis].disabled = count < 2;
    });
    byId('measured-units').append(...footprintsOf(layer).map(({ unit: [row, column] }) => {
      const button = element('button', { type: 'button' }, `measured at ${row}, ${column}`);
      button.addEventListener('click', () => showUnit([row, column]));
      return button;
    }));
    drawDots();
    const middle = middleOf(layer);
    const isMeasured = footprintsOf(layer).some(({ unit: at }) => String(at) === String(middle));
    showUnit(isMeasured ? middle : footprintsOf(layer)[0]?.unit ?? middle);
  }

  function setFrame(ends) {
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
  }

  function drawDots() {
    const count = centres[0].length * centres[1].length;
    // Dots closer than this would be one grey field.
    const skip = Math.max(1, Math.ceil(Math.sqrt(count) / 64));
    const path = [];
    for (let r = 0; r < centres[0].length; r += skip) {
      for (let c = 0; c < centres[1].length; c += skip) {
        if (!Number.isNaN(centres[0][r] + centres[1][c])) path.push(`M${centres[1][c]} ${centres[0][r]}h0`);
      }
    }
    for (const dots of [part.rim, part.dots]) {
      dots.setAttribute('d', byId('grid').checked ? path.join('') : '');
      dots.classList.toggle('many', count > 900);
    }
  }

  const outline = (hulls) => {
    if (!hulls[0] || !hulls[1]) return '';
    const [[top, bottom], [left, right]] = hulls;
    return `M${left} ${top}H${right + 1}V${bottom + 1}H${left}z`;
  };

  function showUnit(wanted) {
    const layer = layers[current];
    const units = unitsOf(layer);
    unit = wanted.map((i, axis) => Math.max(0, Math.min(units[axis] - 1, i)));
    unit.forEach((i, axis) => {
      sliders[axis].value = i;
    });
    const runs = regionOf(layer, unit);
    const hulls = runs.map(hullOf);
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
    part.hull.setAttribute('d', outline(hulls));
    part.centre.setAttribute('d', hulls[0] && hulls[1] ? cross(hulls) : '');
    const measured = footprintsOf(layer).find(({ unit: at }) => String(at) === String(unit));
    const isShown = measured && byId('footprint').checked;
    byId('footprint-label').hidden = !footprintsOf(layer).length;
    stage.classList.toggle('measured', !!isShown);
    if (isShown) part.measured.setAttribute('href', measured.image);
    else part.measured.removeAttribute('href');
    const before = ghostOf(layer, hulls);
    part.ghost.setAttribute('d', before ? outline(before) : '');
    tell(layer, runs, hulls, isShown, before);
  }

  function cross([[top, bottom], [left, right]]) {
    const [y, x] = [(top + bottom + 1) / 2, (left + right + 1) / 2];
    const arm = Math.max(frame[2], frame[3]) / 60;
    return `M${x - arm} ${y}H${x + arm}M${x} ${y - arm}V${y + arm}`;
  }

  // What the same layer of the report's own network reads at the same place of the input.
  function ghostOf(layer, hulls) {
    const original = originalOf(layer);
    if (!original || !hulls[0] || !hulls[1]) return null;
    const at = [0, 0];
    centresOf(original).forEach((own, axis) => {
      at[placeOf(original, axis)] = nearest(own, (hulls[axis][0] + hulls[axis][1] + 1) / 2);
    });
    const before = regionOf(original, at).map(hullOf);
    return before[0] && before[1] ? before : null;
  }

  function tell(layer, runs, hulls, measured, before) {
    const where = layer.global ? 'every output' : `unit (${unit.join(', ')})`;
    const words = byId('readout');
    words.replaceChildren(element('b', {}, `${nameOf(layer)}, ${where}`));
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
      isOwn() ? '' : before ? ` Dashed: the report's own, ${sizeText(before)}.` : " The report's own has no such layer.",
    );
  }

  const sizeText = (hulls) => hulls.map(([lo, hi]) => hi - lo + 1).join('x');

  // ---- input
  const nearest = (places, place) =>
    places.reduce((best, other, i) => (Math.abs(other - place) < Math.abs(places[best] - place) ? i : best), 0);
  const move = (rows, columns) => showUnit([unit[0] + rows, unit[1] + columns]);
  stage.addEventListener('pointermove', (event) => {
    if (!layers[current]?.field) return;
    const matrix = picture.getScreenCTM().inverse();
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
    showUnit([nearest(centres[0], point.y), nearest(centres[1], point.x)]);
  });
  stage.addEventListener('keydown', (event) => {
    const at = listed.indexOf(current);
    const act = {
      ArrowUp: () => move(-1, 0),
      ArrowDown: () => move(1, 0),
      ArrowLeft: () => move(0, -1),
      ArrowRight: () => move(0, 1),
      Home: () => showUnit([0, 0]),
      End: () => showUnit(unitsOf(layers[current]).map((count) => count - 1)),
      PageUp: () => pick(listed[Math.max(0, at - 1)]),
      PageDown: () => pick(listed[Math.min(listed.length - 1, at + 1)]),
    }[event.key];
    if (!act || (at < 0 && !event.key.startsWith('Page'))) return;
    event.preventDefault();
    act();
  });
  sliders.forEach((slider, axis) =>
    slider.addEventListener('input', () =>
      showUnit(unit.map((i, k) => (k === axis ? Number(slider.value) : i))),
    ),
  );
  select.addEventListener('change', () => pick(Number(select.value)));
  byId('grid').addEventListener('change', drawDots);
  byId('footprint').addEventListener('change', () => showUnit(unit));
  showLayers(null);
  listeners.push(showChosen);
  networkListeners.push(showLayers);
}

if (byId('stage') && view.layers.some((layer) => layer.field)) startOverlay();
