// The map: folds that open, zoom and pan, a search, and the whole as a small map where it is long.

function startMap() {
  const frame = document.querySelector('#graph .map');
  const svg = frame.querySelector('svg');
  const drawn = svg.querySelector('#network');
  const small = frame.querySelector('.minimap');
  const [arrow, find, found] = [drawn.querySelector('defs'), byId('find'), byId('found')];
  const hint = byId('map-hint');
  const usual = hint.textContent;
  let opened = new Set(view.map.open);
  let changed = null; // what what-if made of it, as a fold; then everything in it is open
  let [content, scale, left, top] = [[1, 1], 1, 0, 0];

  // ---- drawing

  const isPhone = () => frame.clientWidth < 560;
  const roomNow = () => [frame.clientWidth, isPhone() ? 1e6 : Math.max(420, 0.74 * window.innerHeight)];
  const keysOf = (fold) => (fold.folds ? [keyOf(fold), ...fold.folds.flatMap(keysOf)] : []);

  function draw() {
    const root = changed ?? view.map.root;
    const scene = placedFold(root, changed ? new Set(keysOf(root)) : opened, roomNow(), true);
    drawn.replaceChildren(arrow, ...drawnInside(scene, true));
    content = scene.size;
    svg.setAttribute('width', content[0]); // what paper goes by
    svg.setAttribute('height', content[1]);
    svg.style.setProperty('--paper', `${Math.min(23, content[1] / 48)}cm`);
    for (const box of drawn.querySelectorAll('.node, .frame > .title')) {
      const fold = foldAt(box);
      box.setAttribute('role', 'button');
      box.setAttribute('tabindex', '-1');
      if (!fold) continue;
      const isOpen = box.classList.contains('title');
      box.setAttribute('aria-expanded', String(isOpen));
      if (isOpen) box.setAttribute('aria-label', box.parentNode.querySelector('title').textContent);
    }
    small.replaceChildren(shape('svg', { viewBox: `0 0 ${content.join(' ')}`, preserveAspectRatio: 'none' },
      shape('use', { href: '#network' }), shape('rect', { class: 'seen' })));
    show();
    markFound();
  }

  const stops = () => [...drawn.querySelectorAll('.node, .frame > .title')];
  const boxAt = (element) => element.closest('.node, .frame');
  const foldAt = (element) => boxAt(element)?.dataset.fold;
  const rangeOf = ({ dataset: { fold, layer } }) => (fold
    ? fold.match(/^(-?\d+)-(-?\d+)$/).slice(1).map(Number) : [Number(layer), Number(layer) + 1]);
  const holds = (box, layer) => rangeOf(box)[0] <= layer && layer < rangeOf(box)[1];
  const boxOf = (layer) => [...drawn.querySelectorAll('.node')].find((box) => holds(box, layer));

  function toggle(key, isOpen) {
    if (changed || !key) return;
    if (isOpen) opened.delete(key);
    else opened.add(key);
    const [ratio, last] = [scale, Number(key.split('-')[1]) - 1];
    draw();
    fit(Math.max(fitting(), Math.min(ratio, 1)));
    if (!isOpen && chosen !== last) choose(last);
    else highlight(chosen);
    const stop = stops().find((one) => foldAt(one) === key);
    bringIn(boxAt(stop));
    stop.focus({ preventScroll: true });
  }

  function reveal(layer) {
    const way = (fold) => {
      if (!fold.folds || layer < fold.at[0] || layer >= fold.at[1]) return;
      opened.add(keyOf(fold));
      fold.folds.forEach(way);
    };
    if (!boxOf(layer)?.dataset.layer) {
      way(view.map.root);
      draw();
      fit(Math.max(fitting(), 0.8));
    }
    if (chosen === layer) highlight(layer);
    else choose(layer);
    bringIn(boxOf(layer), true);
  }

  // ---- what is seen of it

  const fitting = () => Math.min(1, frame.clientWidth / content[0], roomNow()[1] / content[1]);

  const legible = () => Math.max(fitting(), isPhone() ? 0 : 0.6);

  function fit(wanted = fitting()) {
    scale = wanted;
    const high = Math.min(content[1] * scale, isPhone() ? 4000 : roomNow()[1]);
    frame.style.height = `${Math.ceil(high)}px`;
    [left, top] = [0, 0];
    show();
  }

  function show() {
    const [wide, high] = [frame.clientWidth / scale, frame.clientHeight / scale];
    const within = (at, seen, all) => (seen >= all ? (all - seen) / 2 : Math.max(0, Math.min(at, all - seen)));
    left = wide >= content[0] ? 0 : within(left, wide, content[0]);
    top = within(top, high, content[1]);
    svg.setAttribute('viewBox', `${left} ${top} ${wide} ${high}`);
    small.hidden = wide >= content[0] - 1 && high >= content[1] - 1;
    const most = Math.min(170 / content[0], 130 / content[1]);
    small.style.width = `${content[0] * most}px`;
    small.style.height = `${content[1] * most}px`;
    const seen = small.querySelector('.seen');
    const at = { x: left, y: top, width: Math.min(wide, content[0]), height: Math.min(high, content[1]) };
    for (const [name, value] of Object.entries(at)) seen?.setAttribute(name, value);
  }

  function zoom(factor, x = frame.clientWidth / 2, y = frame.clientHeight / 2) {
    const next = Math.min(2.5, Math.max(Math.min(fitting(), 0.1), scale * factor));
    left += x / scale - x / next;
    top += y / scale - y / next;
    scale = next;
    show();
  }

  // A box comes into sight inside the map only: the page stays where the reader has put it.
  function bringIn(box, isCentred = false) {
    const [one, all] = [box?.getBoundingClientRect(), frame.getBoundingClientRect()];
    if (!one) return;
    const move = (low, high, from, to) => {
      if (low >= from && high <= to && !isCentred) return 0;
      return isCentred || high - low > to - from ? low - from - (to - from) / 3 : low < from ? low - from - 12 : high - to + 12;
    };
    left += move(one.left, one.right, all.left, all.right) / scale;
    top += move(one.top, one.bottom, all.top, all.bottom) / scale;
    show();
  }

  const act = {
    in: () => zoom(1.3), out: () => zoom(1 / 1.3), fit: () => fit(),
    shut: () => { opened = new Set(view.map.open); draw(); fit(legible()); highlight(chosen); },
    open: () => { opened = new Set(keysOf(view.map.root)); draw(); fit(legible()); highlight(chosen); },
  };
  for (const button of document.querySelectorAll('[data-map]')) {
    button.addEventListener('click', () => act[button.dataset.map]());
  }
  frame.addEventListener('wheel', (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // the wheel is the page's
    event.preventDefault();
    const all = frame.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 300), event.clientX - all.left, event.clientY - all.top);
  }, { passive: false });

  let [dragged, held] = [false, null];
  frame.addEventListener('pointerdown', (event) => {
    if (event.button || small.contains(event.target)) return;
    [dragged, held] = [false, [event.clientX, event.clientY]];
  });
  frame.addEventListener('pointermove', (event) => {
    if (!held) return;
    const [x, y] = [event.clientX - held[0], event.clientY - held[1]];
    if (!dragged && Math.hypot(x, y) < 5) return;
    if (!dragged) frame.setPointerCapture(event.pointerId);
    [dragged, held] = [true, [event.clientX, event.clientY]];
    left -= x / scale;
    top -= y / scale;
    show();
  });
  for (const end of ['pointerup', 'pointercancel']) frame.addEventListener(end, () => { held = null; });

  function jump(event) {
    if (event.type === 'pointermove' && !event.buttons) return;
    const all = small.getBoundingClientRect();
    left = ((event.clientX - all.left) / all.width) * content[0] - frame.clientWidth / scale / 2;
    top = ((event.clientY - all.top) / all.height) * content[1] - frame.clientHeight / scale / 2;
    show();
  }
  small.addEventListener('pointerdown', jump);
  small.addEventListener('pointermove', jump);

  // ---- choosing: one stop for Tab, arrows inside

  function pick(stop) {
    const [, end] = rangeOf(boxAt(stop));
    if (boxAt(stop).dataset.layer === '-1') return;
    if (chosen === end - 1) highlight(chosen);
    else choose(end - 1);
  }

  drawn.addEventListener('click', (event) => {
    if (dragged) return;
    const stop = event.target.closest('.node, .title');
    if (!stop) return;
    if (foldAt(stop)) toggle(foldAt(stop), stop.classList.contains('title'));
    else pick(stop);
  });
  drawn.addEventListener('keydown', (event) => {
    const all = stops();
    const stop = event.target;
    const [i, isOpen] = [all.indexOf(stop), stop.classList.contains('title')];
    if (i < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const move = { ArrowDown: i + 1, ArrowUp: i - 1, Home: 0, End: all.length - 1 }[event.key];
    const key = foldAt(stop);
    const around = boxAt(stop).parentNode.closest('.frame');
    if (move !== undefined) {
      if (!all[move]) return;
      if (!all[move].classList.contains('title')) pick(all[move]);
      focusOn(all[move]);
    } else if (event.key === 'Enter' || event.key === ' ') {
      if (key) toggle(key, isOpen);
      else pick(stop);
    } else if (event.key === 'ArrowRight' && key && !isOpen) toggle(key, false);
    else if (event.key === 'ArrowLeft' && key && isOpen) toggle(key, true);
    else if (event.key === 'ArrowLeft' && around) focusOn(around.querySelector('.title'));
    else if (event.key === '+' || event.key === '-') zoom(event.key === '+' ? 1.3 : 1 / 1.3);
    else if (event.key === '0') fit();
    else return;
    event.preventDefault();
  });

  function focusOn(stop) {
    for (const one of stops()) one.setAttribute('tabindex', one === stop ? '0' : '-1');
    bringIn(boxAt(stop));
    stop.focus({ preventScroll: true });
  }

  function highlight(layer) {
    for (const stop of stops()) {
      const box = boxAt(stop);
      const isIn = holds(box, layer) && box === stop;
      if (!box.dataset.fold) box.setAttribute('aria-pressed', String(isIn));
      box.classList.toggle('holds', isIn && !!box.dataset.fold);
      stop.setAttribute('tabindex', isIn ? '0' : '-1');
    }
    if (!drawn.querySelector('[tabindex="0"]')) stops()[0]?.setAttribute('tabindex', '0');
    for (const edge of drawn.querySelectorAll('.edge.near')) edge.classList.remove('near');
    const box = boxOf(layer);
    if (!box) return;
    // An edge is bright where it leaves what is chosen.
    const place = [...box.parentNode.children].filter((one) => one.matches('.node, .frame')).indexOf(box);
    for (const edge of box.parentNode.querySelectorAll(`:scope > .edges > .edge[data-from="${place}"]`)) {
      edge.classList.add('near');
    }
  }
  listeners.push((layer) => {
    highlight(layer);
    bringIn(boxOf(layer));
  });

  // ---- searching

  // Layers by name; by kind if no name is like it.
  function matches() {
    const words = find.value.trim().toLowerCase();
    const by = (name) => [...view.layers.keys()].filter((i) => view.layers[i][name].toLowerCase().includes(words));
    const named = words ? by('path') : [];
    return named.length || !words ? named : by('kind');
  }
  function markFound() {
    const all = matches();
    for (const box of drawn.querySelectorAll('.node')) {
      box.classList.toggle('match', all.some((layer) => holds(box, layer)));
    }
    const place = all.indexOf(chosen);
    found.textContent = !find.value.trim() ? '' : place < 0 ? `${all.length} found` : `${place + 1} of ${all.length}`;
  }
  find.addEventListener('input', markFound);
  find.addEventListener('keydown', (event) => {
    const all = matches();
    if (event.key !== 'Enter' || !all.length || changed) return;
    event.preventDefault();
    const place = all.indexOf(chosen) + (event.shiftKey ? -1 : 1);
    reveal(all.at(place % all.length));
    markFound();
  });

  networkListeners.push((network) => {
    changed = network && chainFold(network);
    hint.textContent = network ? 'The network as changed, old → new. Dotted bars and boxes are those of the report.' : usual;
    draw();
    fit(legible());
    highlight(chosen);
  });

  // Paper shows all of it.
  const paper = window.matchMedia('print');
  paper.addEventListener('change', () => {
    if (paper.matches) svg.setAttribute('viewBox', `0 0 ${content.join(' ')}`);
    else show();
  });

  let width = 0;
  new ResizeObserver(() => {
    if (frame.clientWidth === width || !frame.clientWidth || paper.matches) return;
    width = frame.clientWidth;
    draw();
    fit(legible());
    highlight(chosen);
  }).observe(frame);
  width = frame.clientWidth;
  draw();
  fit(legible());
}

startMap();
