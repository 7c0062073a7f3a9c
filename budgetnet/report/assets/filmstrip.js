// The filmstrip: a small picture for each stage, and all of them as one PNG.

const FEW_STAGES = 5; // fewer are split into their parts, and so is what holds half of the layers
const MOST_STAGES = 12; // of more, those that differ least are shown as one

const sizeOf = (layer) => layer.field.windows.map((window) => Math.max(...window.runs.map((runs) => {
  const hull = hullOf(runs);
  return hull ? hull[1] - hull[0] + 1 : 0;
})));

// Layers in a row whose paths begin alike, `depth` parts deep.
function alike(indices, layers, depth) {
  const groups = [];
  for (const i of indices) {
    const name = layers[i].path ? layers[i].path.split('.').slice(0, depth).join('.') : layers[i].kind;
    const last = groups[groups.length - 1];
    if (last && last.name === name && layers[i].path) last.indices.push(i);
    else groups.push({ name, depth, indices: [i] });
  }
  return groups;
}

// What is shown of a stage: its last map, or its first read of a whole map.
function shownOf(group, layers) {
  const known = group.indices.filter((i) => layers[i].field);
  const maps = known.filter((i) => !layers[i].global);
  return maps.length ? maps[maps.length - 1] : known[0];
}

function stagesOf(layers) {
  let groups = alike(layers.map((_, i) => i), layers, 1);
  for (let tries = 0; tries < 40; tries += 1) {
    const counts = groups.map(({ indices, depth }) =>
      indices.some((i) => layers[i].path.split('.').length > depth) ? indices.length : 0);
    const most = counts.indexOf(Math.max(...counts));
    const isEnough = counts[most] <= layers.length / 2 && told(groups, layers).length >= FEW_STAGES;
    if (!counts[most] || isEnough) break;
    groups.splice(most, 1, ...alike(groups[most].indices, layers, groups[most].depth + 1));
  }
  groups = withRead(told(groups, layers), layers);
  while (groups.length > MOST_STAGES) {
    const grown = groups.slice(1).map((group, k) => growth(layers[groups[k].layer], layers[group.layer]));
    const least = grown.indexOf(Math.min(...grown));
    groups[least + 1].indices.unshift(...groups[least].indices);
    groups.splice(least, 1);
  }
  return groups;
}

// Groups with the layer that is shown of each; one that adds nothing belongs to the one before.
function told(groups, layers) {
  const found = [];
  let [before, waiting] = ['', []];
  for (const group of groups) {
    const layer = shownOf(group, layers);
    const region = layer === undefined ? before : `${regionOf(layers[layer], middleOf(layers[layer]))} ${sizeOf(layers[layer])}`;
    if (found.length && region === before) found[found.length - 1].indices.push(...group.indices);
    else if (layer === undefined) waiting.push(...group.indices);
    else {
      found.push({ ...group, layer, indices: [...waiting, ...group.indices] });
      [before, waiting] = [region, []];
    }
  }
  return found;
}

// With a stage of its own for a last read of the whole map.
function withRead(groups, layers) {
  const last = groups[groups.length - 1];
  const reads = last ? last.indices.filter((i) => i > last.layer && layers[i].global && layers[i].field) : [];
  if (!reads.length || layers[last.layer].global) return groups;
  const indices = last.indices.splice(last.indices.indexOf(reads[0]), Infinity);
  return [...groups, { name: nameOf(layers[reads[0]]), layer: reads[0], indices }];
}

// By what factor the region of the middle unit grows; a read of all is never left out.
function growth(one, two) {
  if (two.global && !one.global) return Infinity;
  const [before, after] = [sizeOf(one), sizeOf(two)].map(product);
  return Math.abs(Math.log(Math.max(1, after) / Math.max(1, before)));
}

// As budget/advice.py has it: the first map whose field is no smaller than the input.
const firstToCover = (layers, size) =>
  layers.findIndex((layer) => layer.field && !layer.global && sizeOf(layer).every((n, axis) => n >= size[axis]));

function cellsOf(runs) {
  const cells = [];
  for (const [top, bottom] of runs[0]) {
    for (const [left, right] of runs[1]) {
      cells.push(`M${left} ${top}h${right - left + 1}v${bottom - top + 1}h${left - right - 1}z`);
    }
  }
  return cells.join('');
}

// Names may break after their dots.
const breakable = (text) => text.split(/(?<=[^ ]\.)(?=[^ ])/).flatMap((part, k) => (k ? [element('wbr'), part] : [part]));

function startFilmstrip() {
  const place = byId('frames');
  let layers = view.layers;
  let size = view.size;
  let stages = [];

  const clipped = (runs) => runs.map((axis, k) =>
    axis.map(([lo, hi]) => [Math.max(0, lo), Math.min(size[k] - 1, hi)]).filter(([lo, hi]) => lo <= hi));

  // Looks are attributes, so that the saved picture has them too.
  function drawn(layer, before) {
    const runs = clipped(regionOf(layer, middleOf(layer)));
    const hulls = runs.map(hullOf);
    const whole = { x: 0, y: 0, width: size[1], height: size[0], preserveAspectRatio: 'none' };
    const rendering = Math.max(...size) <= 64 ? 'pixelated' : 'auto';
    const made = shape('svg', { viewBox: `0 0 ${size[1]} ${size[0]}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      shape('image', { ...whole, href: view.image, 'image-rendering': rendering }),
      shape('path', { d: `M0 0H${size[1]}V${size[0]}H0z${cellsOf(runs)}`, 'fill-rule': 'evenodd', fill: '#05080d', 'fill-opacity': '.68' }));
    const middle = String(middleOf(layer));
    const measured = footprintsOf(layer).find(({ unit }) => String(unit) === middle);
    if (measured) made.append(shape('image', { ...whole, href: measured.image }));
    const line = { fill: 'none', 'stroke-width': '2', 'vector-effect': 'non-scaling-stroke' };
    const box = ([[top, bottom], [left, right]]) => `M${left} ${top}H${right + 1}V${bottom + 1}H${left}z`;
    const was = before && clipped(regionOf(before, middleOf(before))).map(hullOf);
    if (was?.[0] && was[1]) made.append(shape('path', { ...line, d: box(was), stroke: '#fff', 'stroke-dasharray': '5 4' }));
    if (hulls[0] && hulls[1] && seenOf(layer) < product(size)) made.append(shape('path', { ...line, d: box(hulls), stroke: '#ff6a1f' }));
    return made;
  }

  const seenOf = (layer) =>
    product(clipped(regionOf(layer, middleOf(layer))).map((runs) => sum(runs.map(([lo, hi]) => hi - lo + 1))));

  function show(network) {
    layers = network ? layersOf(network) : view.layers;
    size = network ? network.input_shape.slice(1) : view.size;
    stages = stagesOf(layers);
    const first = firstToCover(layers, size);
    const covering = first >= 0
      ? stages.findIndex(({ indices }) => indices[indices.length - 1] >= first)
      : stages.findIndex(({ layer }) => layers[layer].global && seenOf(layers[layer]) === product(size));
    byId('film-note').textContent = covering < 0 ? 'No stage sees the whole input.' : '';
    stages.forEach((stage, k) => {
      const from = first >= 0 ? layers[first] : layers[stage.layer];
      Object.assign(stage, frameOf(stage, k === covering ? from : null, network));
    });
    place.replaceChildren(...stages.map(({ item }) => item));
    mark(chosen);
  }

  function frameOf({ name, layer: at }, covers, network) {
    const layer = layers[at];
    const before = network && view.layers.find((own) => own.path === layer.path && own.field);
    const made = drawn(layer, before);
    const ratio = Math.min(2.5, Math.max(0.6, size[1] / size[0])); // a signal of one row is no hairline
    made.style.aspectRatio = String(ratio);
    const seen = seenOf(layer);
    const share = Math.floor((1000 * seen) / product(size)) / 10;
    const own = covers && covers !== layer ? nameOf(covers).slice(covers.path.startsWith(`${name}.`) ? name.length + 1 : 0) : '';
    const words = [
      layer.global ? 'whole map' : `field ${[...new Set(sizeOf(layer))].join('x')}`,
      `${share || '< 0.1'} % of the input`,
      ...(covers ? ['covers the input first'] : []),
      ...(own ? [`from ${own} on`] : []),
    ];
    const lines = words.map((text, k) => element('span', k > 1 ? { class: 'mark-text' } : {}, ...(k === 1 ? [text] : breakable(text))));
    const button = element('button', { type: 'button', 'data-layer': at, 'data-field': sizeOf(layer).join('x'), 'data-seen': seen },
      made, element('b', {}, ...breakable(name)), ...lines);
    button.addEventListener('click', () => {
      choose(view.layers.findIndex((own) => own.path === layer.path));
    });
    const item = element('li', covers ? { class: 'covers' } : {}, button);
    return { item, button, ratio, words: [name, ...words], covers };
  }

  function mark(layer) {
    const path = view.layers[layer]?.path;
    for (const { button, indices } of stages) {
      const isHere = indices.some((i) => (layers === view.layers ? i === layer : layers[i].path === path));
      button.setAttribute('aria-pressed', String(isHere));
    }
  }

  // ---- all frames as one picture: an SVG, drawn on a canvas; nothing leaves the page

  const title = document.querySelector('h1').textContent;

  function sheet() {
    const [wide, gap, line, top] = [200, 24, 18, 58];
    const high = Math.round(wide / stages[0].ratio);
    const rows = Math.ceil(stages.length / 6);
    const columns = Math.ceil(stages.length / rows);
    const cell = high + 5 * line + gap;
    const [width, height] = [columns * (wide + gap) + gap, top + rows * cell];
    const write = (text, x, y, more = {}) => shape('text', { x, y, 'font-size': 13, fill: '#556070', ...more }, fitted(text, more['font-size'] ? width - 2 * gap : wide));
    const all = shape('svg', { width, height, viewBox: `0 0 ${width} ${height}`, 'font-family': 'system-ui, sans-serif' },
      shape('rect', { width, height, fill: '#fff' }),
      write(`${title}: receptive fields`, gap, 36, { 'font-size': 18, 'font-weight': 650, fill: '#1b2330' }));
    stages.forEach((stage, k) => {
      const [x, y] = [gap + (k % columns) * (wide + gap), top + Math.floor(k / columns) * cell];
      const frame = stage.button.querySelector('svg').cloneNode(true);
      for (const [key, value] of Object.entries({ x, y, width: wide, height: high })) frame.setAttribute(key, value);
      frame.removeAttribute('style');
      all.append(frame);
      if (stage.covers) all.append(shape('rect', { x: x - 3, y: y - 3, width: wide + 6, height: high + 6, fill: 'none', stroke: '#17693f', 'stroke-width': 3 }));
      stage.words.forEach((text, row) => all.append(write(text, x, y + high + (row + 1) * line + 3,
        row === 0 ? { fill: '#1b2330', 'font-weight': 650 } : row > 2 ? { fill: '#17693f' } : {})));
    });
    return { all, width, height };
  }

  const ruler = document.createElement('canvas').getContext('2d');
  function fitted(text, room) {
    ruler.font = `650 ${room > 200 ? 18 : 13}px system-ui, sans-serif`;
    let words = text;
    while (words.length > 1 && ruler.measureText(words).width > room) words = `${words.slice(0, -2)}…`;
    return words;
  }

  async function save() {
    const { all, width, height } = sheet();
    const picture = new Image();
    picture.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(all))}`;
    await picture.decode();
    const canvas = element('canvas', { width: 2 * width, height: 2 * height });
    canvas.getContext('2d').drawImage(picture, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, 'image/png'));
    const name = title.replace(/[^\p{L}\p{N}._-]+/gu, '-').slice(0, 60) || 'network';
    const link = element('a', { href: URL.createObjectURL(blob), download: `${name}-fields.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  byId('film-save').addEventListener('click', () => save().catch(() => {
    byId('film-note').textContent = 'This browser could not draw the picture.';
  }));
  show(null);
  listeners.push(mark);
  networkListeners.push(show);
}

if (byId('frames') && view.layers.some((layer) => layer.field)) startFilmstrip();
