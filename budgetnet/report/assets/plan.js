// `plan` once more, for chains: what spec/stages.py, text.py and plan.py say, in the page.
// The tests run both and hold them against each other, to the last integer.

const FLAGS = { '-bn': ['norm', false], '-act': ['act', false], '+bias': ['bias', true], '-bias': ['bias', false] };
const FIELDS = { k: 'kernel', s: 'stride', p: 'padding', d: 'dilation', g: 'groups' };
const SLIDES = ['kernel', 'stride', 'padding', 'dilation'];
const TAKES = {
  c: ['out', ...SLIDES, 'groups', 'norm', 'act', 'bias'],
  ds: ['out', ...SLIDES, 'norm', 'act'],
  t: ['out', 'norm', 'act'],
  p: ['kernel', 'stride', 'padding'],
  gap: ['classes', 'norm'],
};
const NAMES = { c: 'conv', ds: 'separable', t: 'transition', p: 'pool', gap: 'head' };
const sum = (values) => values.reduce((total, value) => total + value, 0);
const product = (values) => values.reduce((total, value) => total * value, 1);

class SpecProblem extends Error {}

function parseSpec(text) {
  const words = text.trim().split(/\s+/).filter(Boolean);
  if (!words.length) throw new SpecProblem('a spec needs at least one stage');
  return words.map((word, i) => {
    try {
      return parseWord(word);
    } catch (problem) {
      if (!(problem instanceof SpecProblem)) throw problem;
      throw new SpecProblem(`word ${i + 1}, '${word}': ${problem.message}`);
    }
  });
}

function parseWord(word) {
  const match = /^(gap|ds|c|t|p)([0-9]+)?((?:[a-z+-].*)?)$/.exec(word);
  if (!match) throw new SpecProblem(`it does not start with a stage: ${Object.keys(TAKES).join(', ')}`);
  const [, kind, count, modifiers] = match;
  const given = parseModifiers(modifiers);
  const { same } = given;
  delete given.same;
  if (kind === 'p') {
    if (count && given.kernel) throw new SpecProblem('kernel is given twice');
    given.kernel ??= [Number(count || 2), Number(count || 2)];
    given.stride ??= given.kernel;
  } else if (kind === 'gap') given.classes = count ? Number(count) : null;
  else if (!count) throw new SpecProblem(`${kind} needs its channels, such as ${kind}16`);
  else given.out = Number(count);
  for (const name of Object.keys(given)) {
    if (!TAKES[kind].includes(name)) throw new SpecProblem(`${kind} has no ${name}`);
  }
  const stage = {
    kind, out: 0, kernel: kind === 't' || kind === 'gap' ? [1, 1] : [3, 3], stride: [1, 1],
    padding: [0, 0], dilation: [1, 1], groups: 1, norm: true, act: kind !== 'gap', bias: null,
    classes: null, ...given,
  };
  if (same) stage.padding = samePadding(stage, given);
  checkPositive(given);
  if (kind === 'p' && stage.padding.some((pad, axis) => 2 * pad > stage.kernel[axis])) {
    throw new SpecProblem('padding must be at most half the kernel');
  }
  return stage;
}

function parseModifiers(text) {
  const given = {};
  let rest = text;
  while (rest) {
    const match = /^(?:([kspd])([0-9]+)(?:x([0-9]+))?|(g)([0-9]+)|same|[+-]bias|-bn|-act)/.exec(rest);
    if (!match) throw new SpecProblem(`'${rest}' is not a modifier`);
    const [all] = match;
    const [letter, first, second] = match[4] ? match.slice(4) : match.slice(1, 4);
    let [name, value] = FLAGS[all] ?? [all, true];
    if (letter) {
      name = FIELDS[letter];
      value = letter === 'g' ? Number(first) : [Number(first), Number(second || first)];
    }
    if (name in given) throw new SpecProblem(`${name} is given twice`);
    given[name] = value;
    rest = rest.slice(all.length);
  }
  return given;
}

function samePadding(stage, given) {
  if (!TAKES[stage.kind].includes('dilation') || given.padding) {
    throw new SpecProblem('same is for a convolution without its own padding');
  }
  return stage.kernel.map((kernel, axis) => {
    const total = stage.dilation[axis] * (kernel - 1);
    if (total % 2) throw new SpecProblem('same needs an odd kernel; give p explicitly');
    return total / 2;
  });
}

function checkPositive(given) {
  for (const [name, value] of Object.entries(given)) {
    const least = name === 'padding' ? 0 : 1;
    for (const one of [value].flat()) {
      if (typeof one === 'number' && one < least) throw new SpecProblem(`${name} must be at least ${least}`);
    }
  }
}

const writeSpec = (stages) => stages.map(writeWord).join(' ');
const pairText = ([high, wide]) => (high === wide ? `${high}` : `${high}x${wide}`);

function writeWord(stage) {
  const sized = (letter, value, usual) =>
    value[0] === usual[0] && value[1] === usual[1] ? '' : letter + pairText(value);
  const { kind, kernel, stride, padding, dilation } = stage;
  if (kind === 'p') {
    const size = kernel[0] === kernel[1] ? `p${kernel[0] === 2 ? '' : kernel[0]}` : `pk${pairText(kernel)}`;
    return size + sized('s', stride, kernel) + sized('p', padding, [0, 0]);
  }
  let word = kind + ((kind === 'gap' ? stage.classes : stage.out) || '');
  if (kind === 'c' || kind === 'ds') {
    word += sized('k', kernel, [3, 3]) + sized('s', stride, [1, 1]);
    word += sized('p', padding, [0, 0]) + sized('d', dilation, [1, 1]);
  }
  if (kind === 'c' && stage.groups !== 1) word += `g${stage.groups}`;
  if (!stage.norm) word += '-bn';
  if (stage.bias !== null) word += stage.bias ? '+bias' : '-bias';
  return stage.act || kind === 'gap' ? word : `${word}-act`;
}

// ---- layers of a stage, as stages.py lists them

function convLayers(stage, inputs, prefix = '') {
  const { out, groups, norm, act } = stage;
  if (inputs % groups || out % groups) throw new SpecProblem(`groups ${groups} must divide ${inputs} and ${out} channels`);
  const weights = out * (inputs / groups) * product(stage.kernel);
  const bias = stage.bias === null ? !norm : stage.bias;
  const layers = [{ name: `${prefix}conv`, kind: 'Conv2d', role: 'convolution', out, weights, params: weights + (bias ? out : 0), slide: stage }];
  if (norm) layers.push({ name: `${prefix}norm`, kind: 'BatchNorm2d', role: 'batch norm', out, params: 2 * out, buffers: 2 * out + 1 });
  if (act) layers.push({ name: `${prefix}act`, kind: 'ReLU', role: 'relu', out, params: 0 });
  return layers;
}

const PLAIN = { kernel: [1, 1], stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1, bias: null };

function stageLayers(stage, inputs) {
  const { kind, norm, act } = stage;
  if (kind === 'c') return convLayers(stage, inputs);
  if (kind === 't') return convLayers({ ...PLAIN, out: stage.out, norm, act }, inputs);
  if (kind === 'p') return [{ name: '', kind: 'MaxPool2d', role: 'max pooling', out: inputs, weights: 0, params: 0, slide: stage }];
  if (kind === 'ds') {
    const depthwise = { ...stage, out: inputs, groups: inputs, bias: null };
    return [
      ...convLayers(depthwise, inputs, 'depthwise.'),
      ...convLayers({ ...PLAIN, out: stage.out, norm, act }, inputs, 'pointwise.'),
    ];
  }
  const out = stage.classes || inputs;
  const classify = stage.classes ? convLayers({ ...PLAIN, out, norm, act: false }, inputs) : [];
  return [...classify, { name: 'pool', kind: 'GlobalAveragePool', role: 'average pooling', out, params: 0, global: true }];
}

function namedLayers(stages, channels) {
  const counts = {};
  const layers = [];
  let [inputs, ended] = [channels, ''];
  for (const stage of stages) {
    counts[stage.kind] = (counts[stage.kind] ?? 0) + 1;
    const name = stage.kind === 'gap' ? 'head' : `${NAMES[stage.kind]}${counts[stage.kind]}`;
    if (ended) throw new SpecProblem(`${name} cannot follow the head, which has read the whole map`);
    const own = stageLayers(stage, inputs);
    for (const layer of own) layers.push({ ...layer, path: layer.name ? `${name}.${layer.name}` : name });
    inputs = own[own.length - 1].out;
    ended = stage.kind === 'gap' ? name : '';
  }
  return layers;
}

// ---- rows and totals, as spec.py has them

function planChain(text, shape) {
  const layers = namedLayers(parseSpec(text), shape[0]);
  let size = shape.slice(1);
  let axes = size.map(() => ({ first: 0, size: 1, jump: 1 }));
  const rows = layers.map((layer) => {
    const row = { path: layer.path, kind: layer.kind, role: layer.role, params: layer.params, macs: 0, global: !!layer.global };
    if (layer.slide) {
      const { kernel, stride, padding, dilation } = layer.slide;
      size = size.map((n, i) =>
        Math.floor((n + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i]) + 1);
      if (Math.min(...size) < 1) throw new SpecProblem(`${layer.path}: the kernel does not fit into the map`);
      axes = axes.map((axis, i) => ({
        first: axis.first - axis.jump * padding[i],
        size: axis.size + axis.jump * dilation[i] * (kernel[i] - 1),
        jump: axis.jump * stride[i],
      }));
      row.macs = layer.weights * product(size);
      row.slide = layer.slide;
    } else if (layer.global) {
      axes = axes.map((axis, i) => ({ ...axis, size: axis.size + axis.jump * (size[i] - 1), jump: 0 }));
      size = [];
    }
    row.shape = [layer.out, ...size];
    row.field = axes;
    return row;
  });
  const local = rows.filter((row) => !row.global);
  const field = local.length ? local[local.length - 1].field : shape.slice(1).map(() => ({ size: 1, jump: 1, first: 0 }));
  const params = sum(rows.map((row) => row.params));
  const norms = layers.filter((layer) => layer.buffers).map((layer) => layer.buffers);
  return {
    rows,
    params,
    macs: sum(rows.map((row) => row.macs)),
    receptive_field: field.map((axis) => axis.size),
    jump: field.map((axis) => axis.jump),
    weight_bytes: 4 * (params + sum(norms) - norms.length) + 8 * norms.length,
    peak_activation_bytes: peakBytes(rows, shape),
    depth: rows.filter((row) => row.macs).length,
    output_shape: rows[rows.length - 1].shape,
    input_shape: shape,
  };
}

function peakBytes(rows, shape) {
  let [peak, outside, input] = [0, 0, shape];
  for (let begin = 0; begin < rows.length; ) {
    const top = rows[begin].path.split('.')[0];
    let end = begin;
    while (end < rows.length && rows[end].path.split('.')[0] === top) end += 1;
    const stage = rows.slice(begin, end);
    liveBytes(stage, input).forEach((live, i) => { stage[i].live = outside + live; });
    peak = Math.max(peak, ...stage.map((row) => row.live));
    [outside, input, begin] = [4 * product(shape), stage[stage.length - 1].shape, end];
  }
  return peak;
}

function liveBytes(rows, input) {
  const sizes = [4 * product(input)];
  let [parents, inputs] = [[], []];
  return rows.map((row, i) => {
    sizes.push(4 * product(row.shape));
    const chain = row.path.split('.').slice(0, -1);
    let same = 0;
    while (same < Math.min(chain.length, parents.length) && chain[same] === parents[same]) same += 1;
    inputs = [...inputs.slice(0, same), ...Array(chain.length - same).fill(i)];
    parents = chain;
    const live = sum([...new Set([i, ...inputs])].map((k) => sizes[k])) + sizes[i + 1];
    return row.role === 'max pooling' ? live + 2 * sizes[i + 1] : live;
  });
}

// A norm or activation joins the layer before it, as Account.layers() has it.
function foldChain(rows) {
  const groups = [];
  for (const row of rows) {
    const isFollower = ['batch norm', 'relu'].includes(row.role);
    if (isFollower && groups.length) groups[groups.length - 1].push(row);
    else groups.push([row]);
  }
  return groups.map((group) => {
    if (group.length === 1) return group[0];
    const parent = group[0].path.split('.').slice(0, -1).join('.');
    const isAll = rows.filter((row) => row.path.startsWith(`${parent}.`)).length === group.length;
    return {
      ...group[0],
      path: isAll ? parent : group[0].path,
      kind: group.map((row) => row.kind).join(' + '),
      params: sum(group.map((row) => row.params)),
      live: Math.max(...group.map((row) => row.live)),
    };
  });
}
