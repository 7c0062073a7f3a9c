// What if: a chain edited in the page. The link carries it in the fragment, which is sent nowhere.

function startWhatIf() {
  const [spec, size] = [byId('spec'), byId('spec-input')];
  const original = { spec: view.chain.spec, input: view.chain.input };
  let stages = [];

  function readShape(text) {
    const parts = text.toLowerCase().split(/[x,]/).map((part) => part.trim());
    if (parts.length !== 3 || !parts.every((part) => /^[0-9]+$/.test(part) && Number(part))) {
      throw new SpecProblem(`cannot read '${text}' as an input: write 1x28x28`);
    }
    return parts.map(Number);
  }

  function show() {
    let made;
    try {
      made = planChain(spec.value, readShape(size.value));
    } catch (problem) {
      if (!(problem instanceof SpecProblem)) throw problem;
      byId('spec-error').textContent = problem.message;
      return false;
    }
    byId('spec-error').textContent = '';
    const known = Object.keys(view.figures).filter((name) => name in made);
    byId('planned').replaceChildren(...known.map((name) => figure(name, view.figures[name], made)));
    const rows = foldChain(made.rows);
    showRows(rows);
    const isOwn = spec.value === original.spec && size.value === original.input;
    showNetwork(isOwn ? null : { ...made, rows });
    return true;
  }

  function figure(name, { label, value: before }, made) {
    const [now, then] = [[made[name]].flat(), [before].flat()];
    const apart = now[0] - then[0];
    const change = now.join('x') === then.join('x') ? 'as it was' : `${apart > 0 ? '+' : ''}${number(apart)}`;
    const value = now.every((n) => n === now[0]) ? number(now[0]) : now.join('x');
    const dd = element('dd', { 'data-figure': name, 'data-value': now.join('x') }, value);
    dd.append(element('span', { class: 'apart' }, change));
    dd.append(...view.limits.filter((limit) => limit.name === name).map((limit) => verdict(limit, now)));
    const box = element('div');
    box.append(element('dt', {}, label), dd);
    return box;
  }

  // As limits.py has it: the shortest axis must reach `low`, the longest stay within `high`.
  function verdict({ low, high, text }, values) {
    const isUnder = low !== null && Math.min(...values) < low;
    const isOver = high !== null && Math.max(...values) > high;
    const words = isUnder ? '✗ fail: under' : isOver ? '✗ fail: over' : '✓ pass';
    return element('span', { class: isUnder || isOver ? 'bad' : 'good' }, `${words}, ${text}`);
  }

  function showRows(rows) {
    const table = byId('planned-layers');
    const names = ['Layer', 'Kind', 'Output', 'RF', 'Jump', 'Params', 'MACs'];
    const head = element('tr');
    names.forEach((name, i) => head.append(element('th', { scope: 'col', class: i > 1 ? 'num' : '' }, name)));
    table.tHead.replaceChildren(head);
    const pair = (values) => (values.every((n) => n === values[0]) ? `${values[0]}` : values.join('x'));
    table.tBodies[0].replaceChildren(...rows.map((row) => {
      const cells = [
        row.kind, row.shape.join('x'),
        pair(row.field.map((axis) => axis.size)) + (row.global ? ' (all)' : ''),
        row.global ? '-' : pair(row.field.map((axis) => axis.jump)),
        row.params ? number(row.params) : '', row.macs ? number(row.macs) : '',
      ];
      const line = element('tr', {}, element('th', { scope: 'row' }, row.path));
      cells.forEach((cell, i) => line.append(element('td', { class: i ? 'num' : '' }, cell)));
      return line;
    }));
  }

  // ---- one small form per stage; an edit is written back into the text

  function showStages() {
    stages = parseSpec(spec.value);
    const counts = {};
    byId('stages').replaceChildren(...stages.map((stage) => {
      counts[stage.kind] = (counts[stage.kind] ?? 0) + 1;
      const name = stage.kind === 'gap' ? 'head' : `${NAMES[stage.kind]}${counts[stage.kind]}`;
      const box = element('fieldset', {}, element('legend', {}, name));
      for (const field of ['out', 'classes', 'kernel', 'stride']) {
        if (TAKES[stage.kind].includes(field)) box.append(control(stage, name, field));
      }
      return box;
    }));
  }

  function control(stage, name, field) {
    const value = stage[field];
    const input = element('input', { type: 'text', inputmode: 'numeric', 'data-stage': name, 'data-field': field });
    input.value = Array.isArray(value) ? pairText(value) : value ?? '';
    input.addEventListener('input', () => {
      const match = /^([1-9][0-9]*)(?:x([1-9][0-9]*))?$/.exec(input.value.trim());
      const isPair = Array.isArray(value);
      const isWrong = !match || (match[2] && !isPair);
      input.setAttribute('aria-invalid', String(!!isWrong));
      if (isWrong) {
        byId('spec-error').textContent = `${name}: ${field} must be a whole number of at least 1`;
        return;
      }
      stage[field] = isPair ? [Number(match[1]), Number(match[2] ?? match[1])] : Number(match[1]);
      spec.value = writeSpec(stages);
      show();
    });
    const words = { out: 'width', classes: 'classes' }[field] ?? field;
    return element('label', {}, words, input);
  }

  function load(text, input) {
    spec.value = text;
    size.value = input;
    if (show()) showStages();
  }

  spec.addEventListener('input', () => { if (show()) showStages(); });
  size.addEventListener('input', show);
  byId('spec-reset').addEventListener('click', () => load(original.spec, original.input));
  byId('spec-link').addEventListener('click', async () => {
    const fragment = new URLSearchParams({ spec: spec.value, input: size.value });
    history.replaceState(null, '', `#${fragment}`);
    await copy(location.href);
    byId('spec-link').textContent = 'Link copied';
  });

  function readLink() {
    const fragment = new URLSearchParams(location.hash.slice(1));
    if (!fragment.has('spec')) return false;
    load(fragment.get('spec'), fragment.get('input') ?? original.input);
    byId('what-if').scrollIntoView();
    return true;
  }
  window.addEventListener('hashchange', readLink);
  load(original.spec, original.input);
  readLink();
}

if (view.chain) startWhatIf();
