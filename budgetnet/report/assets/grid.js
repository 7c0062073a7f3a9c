// A layout in pixels, as report/grid.py has it, for folds that are opened in the page.

const [MARGIN, GAP, BESIDE, ACROSS, ROOM, TURN] = [12, 20, 26, 72, 9, 34];
const [STRAIGHT, LEAVE, ENTER, SIDE] = [22, 34, 46, 14];
const [MOST_PARTS, BETTER] = [6, 1.05];

function gridOf({ places, edges, tracks, lanes, u }, sizes, room) {
  const placeOf = new Map(places.map(([box, ...place]) => [box, place]));
  const step = Math.min(13, 78 / Math.max(1, lanes));
  const aside = Math.round(step * lanes) + (lanes ? 12 : 0);
  const gaps = tracks.map((count) => Math.max(GAP, ROOM * count + (count ? 16 : 0)));
  const heights = tracks.map(() => 0);
  for (const [box, rank] of places) heights[rank] = Math.max(heights[rank], sizes.get(box)[1]);

  const crossing = heights.map(() => 0);
  for (const [source, reader] of edges) {
    const [one, two] = [placeOf.get(source)[0], placeOf.get(reader)[0]];
    for (let rank = Math.min(one, two); rank < Math.max(one, two); rank += 1) {
      crossing[rank] += two === one + 1 ? 1 : 2;
    }
  }

  function startsOf(limit) {
    const starts = [0];
    let used = 0;
    heights.forEach((height, rank) => {
      if (rank && crossing[rank - 1] < 2 && used + height > limit) {
        starts.push(rank);
        used = 0;
      }
      used += height + gaps[rank];
    });
    return starts;
  }

  function arranged(starts) {
    const [partOf, tops, lefts] = [[], [], []];
    let [x, deepest] = [MARGIN, 0];
    starts.forEach((start, part) => {
      const end = starts[part + 1] ?? heights.length;
      let y = MARGIN;
      for (let rank = start; rank < end; rank += 1) {
        [partOf[rank], tops[rank]] = [part, y];
        y += heights[rank] + gaps[rank];
      }
      deepest = Math.max(deepest, end < heights.length ? y : y - gaps[end - 1]);
      const widths = [0];
      for (const [box, rank, column] of places) {
        if (start <= rank && rank < end) {
          widths[column] = Math.max(widths[column] ?? 0, sizes.get(box)[0]);
        }
      }
      x += aside;
      lefts.push([]);
      for (let column = 0; column < widths.length; column += 1) {
        lefts[part].push(x);
        x += (widths[column] ?? 0) + (u ? ACROSS : BESIDE);
      }
      x += TURN - (u ? ACROSS : BESIDE);
    });
    return { partOf, tops, lefts, size: [x - TURN + MARGIN, deepest + MARGIN] };
  }

  const total = sum(heights) + sum(gaps);
  let [best, scale] = [null, 0];
  for (let parts = 1; parts <= (u ? 1 : MOST_PARTS); parts += 1) {
    let limit = total / parts;
    let starts = startsOf(limit);
    while (starts.length > parts) starts = startsOf(limit *= 1.04);
    const made = arranged(starts);
    const fits = Math.min(1, room[0] / made.size[0], room[1] / made.size[1]);
    if (!best || fits > BETTER * scale) [best, scale] = [made, fits];
  }
  const { partOf, tops, lefts, size } = best;

  function corner(box) {
    const [rank, column] = placeOf.get(box);
    return [lefts[partOf[rank]][column], tops[rank]];
  }

  function path([source, reader, lane, leave = null, enter = null]) {
    const [[top, one], [foot, two]] = [placeOf.get(source), placeOf.get(reader)];
    const [[x, y], [a, b]] = [corner(source), corner(reader)];
    const [[wide, high], [, low]] = [sizes.get(source), sizes.get(reader)];
    if (u && one === 1 && two === 1) return [[x + STRAIGHT, y], [x + STRAIGHT, b + low + 1]];
    if (u && one !== two) {
      const side = [x + wide, y + SIDE];
      if (top === foot) return [side, [a - 1, b + SIDE]];
      return [side, [a + STRAIGHT, y + SIDE], [a + STRAIGHT, b + low + 1]];
    }
    if (partOf[top] !== partOf[foot]) {
      const turn = lefts[partOf[foot]][0] - aside - TURN / 2;
      const below = tops[top] + heights[top] + GAP / 2;
      return [[x + STRAIGHT, y + high], [x + STRAIGHT, below], [turn, below], [turn, b - MARGIN / 2],
        [a + STRAIGHT, b - MARGIN / 2], [a + STRAIGHT, b - 1]];
    }
    const columns = lefts[partOf[top]];
    const isLane = lane < 0;
    const down = isLane ? columns[0] - 16 + step * (lane + 1)
      : columns[lane] + (leave === null ? STRAIGHT : ENTER);
    let begin = [[down, y + high]];
    if (leave !== null) {
      const track = tops[top] + heights[top] + ROOM * (leave + 1);
      begin = [[x + LEAVE, y + high], [x + LEAVE, track], [down, track]];
    } else if (isLane) {
      const side = y + high - (high > 2 * SIDE + 2 ? SIDE : high) / 2;
      begin = [[x, side], [down, side]];
    }
    if (enter !== null) {
      const track = tops[foot - 1] + heights[foot - 1] + ROOM * (enter + 1);
      return [...begin, [down, track], [a + ENTER, track], [a + ENTER, b - 1]];
    }
    const side = b + Math.min(SIDE, low / 2);
    return [...begin, ...(isLane ? [[down, side], [a - 1, side]] : [[down, b - 1]])];
  }

  return { size, corner, path };
}
