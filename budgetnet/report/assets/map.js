// The diagram: one stop for Tab, arrows inside.

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
