// The diagram, as report/scene.py and report/drawing.py make it, for any folds that are open.

const [WIDTH, HEIGHT, LOW, INPUT, PORT, NAMED_PORT, EXIT, HEADER] = [300, 70, 44, 30, 4, 10, 4, 24];
const [BAR, CORNER, PAD, HUES] = [134, 6, 12, 5];

const keyOf = (fold) => fold.at.join('-');

const shortCount = (count) => {
  for (const [unit, size] of [['P', 1e15], ['T', 1e12], ['G', 1e9], ['M', 1e6]]) {
    const value = count / size;
    if (value >= 1) return `${value.toFixed(2 - (value >= 9.995) - (value >= 99.95))} ${unit}`;
  }
  return number(count);
};
const shareText = (part, whole) => (part && whole ? ` · ${((100 * part) / whole).toFixed(1)} %` : '');
const amountText = (part, whole) =>
  (part === null ? 'unknown' : part ? shortCount(part) + shareText(part, whole) : '');
const isFree = ({ costs, was }) => [...costs, ...(was ?? [])].every((cost) => cost === 0);

// What a box says: as Python has cut it, and what follows from its layers.
function textsOf({ at, texts, costs, folds, path, sliding, said }) {
  if (said) return said;
  const [name, kind, field] = texts;
  const last = view.layers[at[1] - 1];
  const all = view.map.totals;
  const [params, macs] = costs.map((cost, i) => amountText(cost, all[i]));
  const [before, own] = folds ? [`${at[1] - at[0]} layers`, path] : [last.kind, last.path];
  const output = last.shape.join('x');
  const exact = costs.map((cost, i) => number(cost) + shareText(cost, all[i]));
  const title = `${own || last.kind}: ${before}${sliding ? `  ${sliding}` : ''}; output ${output}; ${field}; parameters ${exact[0]}; MACs ${exact[1]}`;
  return { name, kind, field, params, macs, output, title };
}
const shareOf = (part, whole) => (part && whole ? part / whole : 0);
const sharesOf = ({ costs, all }) => costs.map((cost, i) => shareOf(cost, (all ?? view.map.totals)[i]));

// Lay out a fold and what is open in it.
function placedFold(fold, opened, room, isRoot = false) {
  if (!isRoot && !(fold.folds && opened.has(keyOf(fold)))) {
    return { fold, size: [WIDTH, isFree(fold) ? LOW : HEIGHT] };
  }
  const children = fold.folds.map((child) => placedFold(child, opened, room));
  const sizes = new Map(children.map((child, i) => [i, child.size]));
  const named = fold.ports.length > 1 ? NAMED_PORT : PORT;
  for (const [box] of fold.places) if (box < 0) sizes.set(box, [WIDTH, isRoot ? INPUT : named]);
  if (fold.exit !== null) sizes.set(fold.exit, [WIDTH, EXIT]);
  const grid = gridOf(fold, sizes, room);
  const [wide, high] = grid.size;
  return { fold, grid, children, size: [wide, high + (isRoot ? 0 : HEADER)] };
}

// What stands in an open fold, from its own corner.
function drawnInside({ fold, grid, children }, isRoot) {
  const sockets = fold.places.filter(([box]) => box < 0).map(([box]) => {
    const words = fold.ports[-1 - box] ?? '';
    return isRoot ? drawnInput(...grid.corner(box), words) : drawnSocket(...grid.corner(box), words);
  });
  if (fold.exit !== null) sockets.push(drawnSocket(...grid.corner(fold.exit)));
  const edges = fold.edges.map((edge) => drawnEdge(edge, grid.path(edge), edge[1] === fold.exit));
  const boxes = children.map((child, i) => drawnBox(child, ...grid.corner(i)));
  return [...sockets, shape('g', { class: 'edges' }, ...edges), ...boxes];
}

function drawnInput(x, y, words) {
  return shape('g', { class: 'source' }, shape('rect', { x, y, width: WIDTH, height: INPUT, rx: 15 }),
    shape('text', { x: x + 16, y: y + 20, class: 'name' }, words));
}

function drawnSocket(x, y, words = '') {
  const bar = { x: x + 8, y, width: 52, height: words ? NAMED_PORT : PORT, rx: 2 };
  const label = words ? [shape('text', { x: x + 68, y: y + 9, class: 'kind' }, words)] : [];
  return shape('g', { class: 'socket' }, shape('rect', bar), ...label);
}

function drawnBox(scene, x, y) {
  const { fold, grid, size: [width, height] } = scene;
  const kind = grid ? 'frame' : `node${fold.folds ? ' fold' : ''}${fold.look ? ` ${fold.look}` : ''}`;
  const at = fold.folds ? { 'data-fold': keyOf(fold) } : { 'data-layer': fold.at[0] };
  const behind = fold.repeats && !grid ? [2, 1] : [];
  return shape('g', { class: kind, transform: `translate(${x} ${y})`, ...at },
    shape('title', {}, textsOf(fold).title),
    ...behind.map((k) => shape('rect', { x: 3 * k, y: 3 * k, width, height, rx: 7, class: 'behind' })),
    shape('rect', { width, height, rx: 7 }),
    ...(grid ? drawnHeader(fold, width) : drawnContents(fold, height)),
    ...(grid ? [shape('g', { transform: `translate(0 ${HEADER})` }, ...drawnInside(scene, false))] : []));
}

function drawnContents(fold, height) {
  const { name, output, kind, field, params, macs } = textsOf(fold);
  const { folds, was } = fold;
  const [free, shares] = [isFree(fold), sharesOf(fold)];
  const [middle, mark] = [WIDTH / 2 + 4, folds ? 16 : 0];
  const line = (x, y, words, cls, end) =>
    words ? [shape('text', { x, y, class: cls, ...(end && { 'text-anchor': 'end' }) }, words)] : [];
  const bar = (x, share, cls) => (share ? [
    shape('rect', { x, y: 59, width: BAR, height: 4, rx: 2, class: 'rest' }),
    shape('rect', { x, y: 59, width: Math.max(1, BAR * share).toFixed(1), height: 4, rx: 2, class: `bar ${cls}` }),
  ] : []);
  const ghost = (x, i) => (was?.[i] ? [
    shape('rect', { x, y: 57.5, width: Math.max(1, BAR * shareOf(was[i], view.map.totals[i])).toFixed(1), height: 7, rx: 2, class: 'was' }),
  ] : []);
  const tint = { width: WIDTH, height, rx: 7, class: 'tint', opacity: (0.6 * shares[1] ** 0.75).toFixed(3) };
  return [
    ...(shares[1] ? [shape('rect', tint)] : []),
    ...(mark ? [drawnMark(PAD, 10, false)] : []),
    ...line(PAD + mark, 19, name, 'name'), ...line(WIDTH - PAD, 19, output, 'shape', true),
    ...line(PAD, 36, kind, 'kind'), ...line(WIDTH - PAD, 36, field, 'field', true),
    ...(free ? [] : [
      ...line(PAD, 53, params, 'params'), ...line(middle, 53, macs, 'macs'),
      ...bar(PAD, shares[0], 'params'), ...bar(middle, shares[1], 'macs'),
      ...ghost(PAD, 0), ...ghost(middle, 1),
    ]),
  ];
}

function drawnHeader(fold, width) {
  const { name, params, macs } = textsOf(fold);
  const costs = shape('text', { x: width - PAD, y: 17, 'text-anchor': 'end' },
    shape('tspan', { class: 'params' }, params), '   ', shape('tspan', { class: 'macs' }, macs));
  return [
    shape('rect', { width, height: HEADER, rx: 7, class: 'title' }), drawnMark(PAD, 9, true),
    shape('text', { x: PAD + 16, y: 17, class: 'name' }, fold.repeats ? `×${fold.repeats}  ${name}` : name),
    ...(fold.needs < width && !isFree(fold) ? [costs] : []),
  ];
}

function drawnMark(x, y, isOpen) {
  const d = isOpen ? `M${x} ${y}h10l-5 7z` : `M${x} ${y}v10l7 -5z`;
  return shape('path', { d, class: 'mark' });
}

function drawnEdge([source, reader, lane], points, isOut) {
  const towards = ([x, y], [a, b]) => {
    const length = Math.abs(a - x) + Math.abs(b - y);
    const part = Math.min(CORNER, length / 2) / length;
    return [x + part * (a - x), y + part * (b - y)];
  };
  const spot = ([x, y]) => `${x} ${y}`;
  let d = `M${spot(points[0])}`;
  for (let i = 1; i + 1 < points.length; i += 1) {
    const at = points[i];
    d += `L${spot(towards(at, points[i - 1]))}Q${spot(at)} ${spot(towards(at, points[i + 1]))}`;
  }
  d += `L${spot(points[points.length - 1])}`;
  const isSkip = lane < 0 || (points.length === 2 && points[0][1] === points[1][1]);
  const hue = ((source % HUES) + HUES) % HUES;
  const end = isOut ? {} : { 'marker-end': 'url(#arrow)' };
  return shape('path', { d, class: `edge${isSkip ? ` skip hue${hue}` : ''}`, 'data-from': source, 'data-to': reader, ...end });
}
