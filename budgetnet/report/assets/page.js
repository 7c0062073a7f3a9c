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

// ---- the chosen layer, which diagram, overlay and table show alike

const listeners = [];
let chosen = -1;

function choose(layer) {
  if (layer === chosen || !view.layers[layer]) return;
  chosen = layer;
  for (const listener of listeners) listener(layer);
}

// ---- the diagram: one stop for Tab, arrows inside

const nodes = [...document.querySelectorAll('#graph .node')];
nodes.forEach((node, i) => {
  node.setAttribute('role', 'button');
  node.setAttribute('tabindex', '-1');
  node.addEventListener('click', () => choose(i));
  node.addEventListener('keydown', (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const target = { Home: 0, End: nodes.length - 1 }[event.key] ?? (step && i + step);
    if (event.key === 'Enter' || event.key === ' ') choose(i);
    else if (target === undefined || !nodes[target]) return;
    else {
      choose(target);
      nodes[target].focus();
    }
    event.preventDefault();
  });
});
listeners.push((layer) => {
  nodes.forEach((node, i) => {
    node.setAttribute('aria-pressed', String(i === layer));
    node.setAttribute('tabindex', i === layer ? '0' : '-1');
  });
  const frame = document.querySelector('#graph .tall');
  const node = nodes[layer]?.getBoundingClientRect();
  const box = frame.getBoundingClientRect();
  // Inside the frame only: the page itself stays where the reader has put it.
  if (node && (node.top < box.top || node.bottom > box.bottom)) {
    frame.scrollTop += node.top - box.top - box.height / 3;
  }
});

// An edge is bright where it leaves what is chosen.
listeners.push((layer) => {
  for (const edge of document.querySelectorAll('#graph .edge')) {
    edge.classList.toggle('near', edge.dataset.from === String(layer));
  }
});
