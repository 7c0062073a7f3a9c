// What all parts share: the data, the chosen layer, and small helpers.

const byId = (id) => document.getElementById(id);
const view = JSON.parse(byId('view').textContent);
const grouped = new Intl.NumberFormat('en-US');
const number = (value) => (value === null ? 'unknown' : grouped.format(value));
const nameOf = (row) => row.path || row.kind;

// As words.py has it: three digits and a unit.
function short(value) {
  if (value === null) return 'unknown';
  if (Math.abs(value) < 10000) return number(value);
  for (const [unit, size] of [['k', 1e3], ['M', 1e6], ['G', 1e9], ['T', 1e12], ['P', 1e15]]) {
    const digits = Number((value / size).toPrecision(3));
    if (Math.abs(digits) < 1000) return `${digits}${unit}`;
  }
  return number(value);
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children); // strings become text, never markup
  return made;
}

function shape(name, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

async function copy(words) {
  try {
    await navigator.clipboard.writeText(words);
  } catch {
    // A page from a file may have no clipboard of its own.
    const area = element('textarea', { 'aria-hidden': 'true' });
    area.value = words;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

byId('save').addEventListener('click', () => {
  const blob = new Blob([byId('account').textContent], { type: 'application/json' });
  const link = element('a', { href: URL.createObjectURL(blob), download: 'account.json' });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

// ---- the chosen layer, which all parts show alike

const listeners = [];
let chosen = -1;

function choose(layer) {
  if (layer === chosen || !view.layers[layer]) return;
  chosen = layer;
  for (const listener of listeners) listener(layer);
}

// ---- the network that is shown: the report's own (null), or one that what-if has made of it

const networkListeners = [];
const showNetwork = (network) => networkListeners.forEach((listener) => listener(network));

// What a part of the page shows of the report's own network, to be put back later.
function keeper(node) {
  const own = [...node.childNodes];
  const title = node.getAttribute('title');
  return () => {
    node.replaceChildren(...own);
    if (title !== null) node.setAttribute('title', title);
    else node.removeAttribute('title');
  };
}

// A figure of a changed network, with the report's own as its ghost.
function withGhost(now, before) {
  return now === before ? [now] : [`${now} `, element('s', { class: 'ghost' }, before)];
}
