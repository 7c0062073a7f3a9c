// What all parts share: the data, the chosen layer, and small helpers.

const byId = (id) => document.getElementById(id);
const account = JSON.parse(byId('account').textContent);
const view = JSON.parse(byId('view').textContent);
const grouped = new Intl.NumberFormat('en-US');
const number = (value) => (value === null ? 'unknown' : grouped.format(value));

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
