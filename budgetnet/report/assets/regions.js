// What units read: windows of the account, and those of a network that what-if has made.

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

const footprintsOf = (layer) => layer.footprints ?? [];
const windowsOf = (layer) =>
  layer.field.windows.length === 1 ? [IDENTITY, layer.field.windows[0]] : layer.field.windows;
const placeOf = (layer, axis) => layer.field.places?.[axis] ?? axis;
const unitsOf = (layer) =>
  layer.global ? [1, 1] : layer.shape.length === 2 ? [1, layer.shape[1]] : layer.shape.slice(1);
const middleOf = (layer) => unitsOf(layer).map((count) => Math.floor(count / 2));
const regionOf = (layer, unit) =>
  windowsOf(layer).map((window, axis) => runsAt(window, unit[placeOf(layer, axis)]));

function merged(runs) {
  const found = [];
  for (const [lo, hi] of runs.sort((one, two) => one[0] - two[0])) {
    const last = found[found.length - 1];
    if (last && lo <= last[1] + 1) last[1] = Math.max(last[1], hi);
    else found.push([lo, hi]);
  }
  return found;
}

// `count` copies of runs, each `apart` from the one before, the first at `start`.
const spread = (runs, count, apart, start) =>
  merged(Array.from({ length: count }, (_, i) => start + i * apart).flatMap(
    (by) => runs.map(([lo, hi]) => [lo + by, hi + by]),
  ));

// The layers of a chain as the view has them: a row's field there has ends but no gaps.
function layersOf({ rows, input_shape: [, ...size] }) {
  let axes = size.map(() => ({ runs: [[0, 0]], jump: 1 }));
  let counts = size;
  return rows.map((row) => {
    axes = axes.map(({ runs, jump }, i) => {
      if (row.global) return { runs: spread(runs, counts[i], jump, 0), jump: 0 };
      if (!row.slide) return { runs, jump };
      const { kernel, stride, padding, dilation } = row.slide;
      return { runs: spread(runs, kernel[i], jump * dilation[i], -jump * padding[i]), jump: jump * stride[i] };
    });
    counts = row.global ? counts.map(() => 1) : row.shape.slice(1);
    const windows = axes.map(({ runs, jump }) => ({ runs: [runs], advance: jump }));
    const field = { windows, stride: axes.map(({ jump }) => String(jump)) };
    return { path: row.path, kind: row.kind, shape: row.shape, global: row.global, field };
  });
}
