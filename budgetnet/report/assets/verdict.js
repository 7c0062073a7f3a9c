// Header and verdict card: what they say of a changed network, beside what the report says.

function startVerdict() {
  const card = byId('verdict');
  const facts = [...document.querySelectorAll('.facts [data-fact]')];
  const figures = [...card.querySelectorAll('.figures [data-figure]')];
  const limits = [...card.querySelectorAll('.limits [data-limit]')];
  const title = byId('verdict-title');
  const look = card.className;
  const kept = [title, ...facts, ...figures.map((box) => box.querySelector('dd')), ...limits].map(keeper);
  const looks = limits.map((item) => [item, item.className, item.dataset.verdict]);
  const text = (value) => [value].flat().every((n, _, all) => n === all[0]) ? number([value].flat()[0]) : value.join('x');

  // As limits.py has it: the shortest axis must reach `low`, the longest stay within `high`.
  function judge({ low, high }, values) {
    const sides = [];
    if (low !== null) sides.push([Math.min(...values) - low, 'under', low, Math.min(...values)]);
    if (high !== null) sides.push([high - Math.max(...values), 'over', high, Math.max(...values)]);
    const [headroom, word, bound, measured] = sides.sort((a, b) => a[0] - b[0])[0];
    return { headroom, verdict: headroom < 0 ? word : 'within', bound, measured };
  }

  function showLimit(item, network) {
    const limit = view.limits.find((each) => each.finding === item.dataset.limit && each.name in network);
    item.classList.toggle('dim', !limit);
    if (!limit) return null;
    const values = [network[limit.name]].flat();
    const found = judge(limit, values);
    const { headroom, verdict, bound, measured } = found;
    const scale = Math.max(measured, bound, 1);
    const share = bound ? ` (${((100 * Math.abs(headroom)) / bound).toFixed(1)} %)` : '';
    const word = headroom >= 0 ? 'left' : verdict;
    const sign = { within: '✓ pass', over: '✗ fail: over', under: '✗ fail: under' }[verdict];
    item.className = verdict === 'within' ? 'good' : 'bad';
    item.dataset.verdict = verdict;
    const bar = element('span', { class: 'bar', 'aria-hidden': 'true' });
    const [fill, at] = [element('span', { class: 'fill' }), element('span', { class: 'mark' })];
    fill.style.width = `${(100 * measured) / scale}%`;
    at.style.left = `${(100 * bound) / scale}%`;
    bar.append(fill, at);
    const before = view.figures[limit.name].value;
    const ghost = text(before) === text(network[limit.name]) ? [] : [element('s', { class: 'ghost' }, text(before))];
    const used = element('span', { class: 'used' }, `${text(network[limit.name])}, ${limit.text} `);
    used.append(element('span', { class: 'headroom' }, `${number(Math.abs(headroom))} ${word}${share}`), ...ghost);
    item.replaceChildren(item.querySelector('.limit'), element('span', { class: 'verdict' }, sign), bar, used);
    return { ...found, label: view.figures[limit.name].label };
  }

  function headline(found) {
    if (!limits.length) return 'As changed';
    const failed = found.filter((each) => each.headroom < 0);
    if (!failed.length) return found.length === limits.length ? 'As changed: within budget' : 'As changed: the limits judged here are met';
    const words = failed.map(({ verdict, headroom, label }) =>
      `${verdict.toUpperCase()} by ${number(-headroom)} ${label}`);
    return `As changed: ${words.join('; ')}`;
  }

  function showFacts(network) {
    const size = network.receptive_field;
    const now = {
      params: `${number(network.params)} parameters`, macs: `${number(network.macs)} MACs`,
      receptive_field: `receptive field ${text(size)}`, output: `output ${network.output_shape.join('x')}`,
      input: `input ${network.input}`,
    };
    for (const fact of facts) {
      const made = now[fact.dataset.fact];
      fact.replaceChildren(...withGhost(made, fact.textContent));
    }
    for (const box of figures) {
      const [dd, value] = [box.querySelector('dd'), network[box.dataset.figure]];
      box.classList.toggle('dim', value === undefined);
      if (value === undefined) continue;
      const words = Array.isArray(value) ? text(value) : short(value);
      dd.title = text(value);
      dd.replaceChildren(...withGhost(words, dd.textContent));
    }
  }

  networkListeners.push((network) => {
    kept.forEach((put) => put());
    looks.forEach(([item, cls, verdict]) => {
      item.className = cls;
      item.dataset.verdict = verdict;
    });
    figures.forEach((box) => box.classList.remove('dim'));
    card.className = look;
    card.querySelector('.holders').classList.toggle('dim', !!network);
    if (!network) return;
    showFacts(network);
    const found = limits.map((item) => showLimit(item, network)).filter(Boolean);
    title.textContent = headline(found);
    if (limits.length) card.className = found.some((each) => each.headroom < 0) ? 'bad' : 'good';
  });
}

startVerdict();

// Paper has nothing to click.
const why = byId('why');
let wasOpen = false;
window.addEventListener('beforeprint', () => {
  wasOpen = why.open;
  why.open = true;
});
window.addEventListener('afterprint', () => { why.open = wasOpen; });
