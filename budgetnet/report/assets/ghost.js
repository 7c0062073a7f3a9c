// The diagram of what what-if made: its chain, with what the report's own network has as a ghost.

const compactPair = (values) => (values.every((n) => n === values[0]) ? `${values[0]}` : values.join('x'));

// The report's own layers, as the map has them.
function ownLayers(fold) {
  if (fold.folds) return fold.folds.flatMap(ownLayers);
  const [layer] = fold.at;
  const { path, shape: output } = view.layers[layer];
  return [{ layer, path, shape: output.join('x'), costs: fold.costs }];
}

// A chain as a fold; layers of one stage are an open fold of it, layers that are gone stand beside.
function chainFold(network) {
  const own = ownLayers(view.map.root);
  const before = new Map(own.map((layer) => [layer.path, layer]));
  const all = [network.params, network.macs];
  const leaves = network.rows.map((row) => chainBox(row, before.get(row.path), all));
  const stages = [];
  network.rows.forEach((row, i) => {
    const name = row.path.split('.')[0];
    if (stages.length && stages.at(-1).name === name) stages.at(-1).boxes.push(leaves[i]);
    else stages.push({ name, boxes: [leaves[i]] });
  });
  const folds = stages.map(({ name, boxes }, i) => (boxes.length > 1 ? stageFold(name, boxes, i) : boxes[0]));
  const kept = new Set(network.rows.map((row) => row.path));
  const gone = own.filter((layer) => !kept.has(layer.path)).map(goneBox);
  const root = { ...chainOf(folds.length, false), folds: [...folds, ...gone], at: [0, view.layers.length] };
  root.ports = [`input ${byId('spec-input').value}`];
  const ranks = Math.max(folds.length, gone.length);
  root.tracks = Array(ranks + 1).fill(0);
  gone.forEach((_, i) => root.places.push([folds.length + i, ranks - gone.length + 1 + i, 1]));
  return root;
}

function chainOf(count, hasExit) {
  const all = count + (hasExit ? 1 : 0);
  return {
    places: [-1, ...Array(all).keys()].map((box) => [box, box + 1, 0]),
    edges: [...Array(all).keys()].map((box) => [box - 1, box, 0, null, null]),
    tracks: Array(all + 1).fill(0), lanes: 0, u: false, exit: hasExit ? count : null,
  };
}

function stageFold(name, boxes, place) {
  const at = [-2 - place, -2 - place]; // of no layer of the report's
  const said = { name, title: name };
  return { ...chainOf(boxes.length, true), at, folds: boxes, ports: [''], needs: Infinity, costs: [0, 0], said };
}

function chainBox(row, own, all) {
  const slide = row.slide && [row.slide.kernel.join('x'), ...[row.slide.stride, row.slide.padding].map(compactPair)].join(' / ');
  const jump = row.global ? ' (all)' : ` / ${compactPair(row.field.map((axis) => axis.jump))}`;
  const field = `RF ${compactPair(row.field.map((axis) => axis.size))}${jump}`;
  const costs = [row.params, row.macs];
  const [params, macs] = costs.map((now, i) => (own && own.costs[i] !== now
    ? `${shortCount(own.costs[i])} → ${shortCount(now)}` : amountText(now, all[i])));
  const output = row.shape.join('x');
  const said = {
    name: row.path, kind: row.kind.replace('BatchNorm2d', 'BN') + (slide ? `  ${slide}` : ''), field, params, macs,
    output: own && own.shape !== output ? `${own.shape} → ${output}` : output,
    title: `${row.path}: ${row.kind}; output ${output}; ${field}; parameters ${number(row.params)}; MACs ${number(row.macs)}`,
  };
  const at = own ? [own.layer, own.layer + 1] : [-1, 0];
  return { at, said, costs, all, was: own?.costs, look: own ? '' : 'added' };
}

function goneBox({ layer, path, shape: output }) {
  const said = { name: path, output, kind: 'not in this network', title: `${path}: not in this network` };
  return { at: [layer, layer + 1], said, costs: [0, 0], look: 'gone' };
}
