// What if: a chain edited in the page. The link carries it in the fragment, which is sent nowhere.

const WORDS = 'c16 convolution, ds16 depthwise separable, t16 1x1 convolution, p pooling, gap10 head; '
  + 'after a word k3 kernel, s2 stride, p1 padding, d2 dilation, g2 groups, same, +bias, -bn, -act';

function startWhatIf() {
  const [spec, size] = [byId('spec'), byId('spec-input')];
  const original = { spec: view.chain.spec, input: view.chain.input };
  const undone = []; // what was valid before, the latest last
  let [stages, shown] = [[], null];

  function readShape(text) {
    const parts = text.toLowerCase().split(/[x,]/).map((part) => part.trim());
    if (parts.length !== 3 || !parts.every((part) => /^[0-9]+$/.test(part) && Number(part))) {
      throw new SpecProblem(`cannot read '${text}' as an input: write 1x28x28`);
    }
    return parts.map(Number);
  }

  function refuse(message, words = '') {
    const said = words ? [message, element('span', { class: 'words' }, `Words: ${words}.`)] : [message];
    byId('spec-error').replaceChildren(...said);
    document.body.classList.add('stale'); // figures of the last valid chain are dimmed
    spec.setAttribute('aria-invalid', 'true');
  }

  function show(isUndo = false) {
    let made;
    try {
      made = planChain(spec.value, readShape(size.value));
    } catch (problem) {
      if (!(problem instanceof SpecProblem)) throw problem;
      refuse(problem.message, problem.message.startsWith('word ') ? WORDS : '');
      return false;
    }
    byId('spec-error').textContent = '';
    document.body.classList.remove('stale');
    spec.removeAttribute('aria-invalid');
    const now = { spec: spec.value, input: size.value };
    if (shown && !isUndo && (shown.spec !== now.spec || shown.input !== now.input)) undone.push(shown);
    shown = now;
    byId('spec-undo').disabled = !undone.length;
    const known = Object.keys(view.figures).filter((name) => name in made);
    byId('planned').replaceChildren(...known.map((name) => figure(name, view.figures[name], made)));
    const isOwn = now.spec === original.spec && now.input === original.input;
    document.body.classList.toggle('changed', !isOwn);
    byId('spec-reset').disabled = isOwn;
    const fragment = isOwn ? location.pathname : `#${new URLSearchParams(now)}`;
    if (!isOwn || location.hash) history.replaceState(null, '', fragment);
    showNetwork(isOwn ? null : { ...made, input: now.input, rows: foldChain(made.rows) });
    return true;
  }

  function figure(name, { label, value: before }, made) {
    const [now, then] = [[made[name]].flat(), [before].flat()];
    const apart = now[0] - then[0];
    const change = now.join('x') === then.join('x') ? '' : `${apart > 0 ? '+' : ''}${number(apart)}`;
    const value = now.every((n) => n === now[0]) ? number(now[0]) : now.join('x');
    const dd = element('dd', { 'data-figure': name, 'data-value': now.join('x') }, value);
    if (change) dd.append(element('span', { class: 'apart' }, change));
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
    const isPair = Array.isArray(value);
    const input = element('input', { type: 'text', inputmode: 'numeric', 'data-stage': name, 'data-field': field });
    input.value = isPair ? pairText(value) : value ?? '';
    input.addEventListener('input', () => {
      const match = /^([1-9][0-9]*)(?:x([1-9][0-9]*))?$/.exec(input.value.trim());
      const isWrong = !match || (match[2] && !isPair);
      input.setAttribute('aria-invalid', String(!!isWrong));
      if (isWrong) {
        refuse(`${name}: ${field} must be a whole number of at least 1`);
        return;
      }
      stage[field] = isPair ? [Number(match[1]), Number(match[2] ?? match[1])] : Number(match[1]);
      spec.value = writeSpec(stages);
      show();
    });
    // Up and down step it: a kernel from odd to odd, a width by eight with Shift.
    input.addEventListener('keydown', (event) => {
      const way = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!way || !/^[0-9]+(x[0-9]+)?$/.test(input.value)) return;
      event.preventDefault();
      const step = field === 'kernel' ? 2 : event.shiftKey ? 8 : 1;
      input.value = input.value.split('x').map((n) => Math.max(1, Number(n) + way * step)).join('x');
      input.dispatchEvent(new Event('input'));
    });
    const words = { out: 'width', classes: 'classes' }[field] ?? field;
    return element('label', {}, words, input);
  }

  function load(text, input, isUndo = false) {
    spec.value = text;
    size.value = input;
    if (show(isUndo)) showStages();
  }

  spec.addEventListener('input', () => { if (show()) showStages(); });
  size.addEventListener('input', () => show());
  // In the text, up and down step the number that the caret stands at.
  spec.addEventListener('keydown', (event) => {
    const way = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    const [text, at] = [spec.value, spec.selectionStart];
    const begin = at - /[0-9]*$/.exec(text.slice(0, at))[0].length;
    const [digits] = /^[0-9]*/.exec(text.slice(begin));
    if (!way || !digits) return;
    event.preventDefault();
    const next = String(Math.max(1, Number(digits) + way * (event.shiftKey ? 8 : 1)));
    spec.setRangeText(next, begin, begin + digits.length, 'end');
    spec.dispatchEvent(new Event('input'));
  });
  byId('spec-undo').addEventListener('click', () => {
    const last = undone.pop();
    if (last) load(last.spec, last.input, true);
  });
  byId('spec-reset').addEventListener('click', () => load(original.spec, original.input));
  byId('spec-more').addEventListener('click', () => {
    const isOpen = byId('stages').hidden;
    byId('stages').hidden = !isOpen;
    byId('spec-more').setAttribute('aria-expanded', String(isOpen));
  });
  byId('try')?.addEventListener('click', () => load(byId('try').dataset.spec, original.input));
  let clearing;
  byId('spec-link').addEventListener('click', async () => {
    history.replaceState(null, '', `#${new URLSearchParams({ spec: spec.value, input: size.value })}`);
    await copy(location.href);
    byId('spec-link').textContent = 'Link copied';
    clearTimeout(clearing);
    clearing = setTimeout(() => { byId('spec-link').textContent = 'Copy link'; }, 4000);
  });

  function readLink(hash) {
    const fragment = new URLSearchParams(hash.slice(1));
    if (fragment.has('spec')) load(fragment.get('spec'), fragment.get('input') ?? original.input);
  }
  const { hash } = location; // the report's own network takes it away
  window.addEventListener('hashchange', () => readLink(location.hash));
  load(original.spec, original.input, true);
  readLink(hash);
}

if (view.chain) startWhatIf();
