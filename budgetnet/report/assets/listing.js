// The layer table: sorted within modules, folded by module, copied as it is seen.

function startListing() {
  const table = byId('layers');
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const own = [...body.rows];
  const totals = [...table.tFoot.rows[0].cells].map(keeper);
  const folded = new Set();
  let [rows, sorted] = [own, { column: -1, descending: false }];

  // What lies in which module follows from the levels of the lines.
  const inside = [];
  own.forEach((row, i) => {
    const level = Number(row.style.getPropertyValue('--level'));
    row.dataset.order = i;
    row.dataset.module = level ? inside[level - 1] : '';
    const { path } = row.dataset;
    const name = path ?? (view.layers[row.dataset.layer].path || '(model)');
    row.dataset.name = name;
    const button = row.cells[0].querySelector('button');
    if (button.textContent !== name) button.title = name;
    if (path === undefined) {
      row.dataset.kind = view.layers[row.dataset.layer].kind;
      return;
    }
    inside[level] = path;
    if (button.getAttribute('aria-expanded') === 'false') folded.add(path);
  });
  const modules = own.map((row) => row.dataset.path).filter((path) => path !== undefined);

  // Numbers as they are written: with signs between thousands, sizes of maps, fractions, shares.
  function valueOf(row, column) {
    const text = column ? row.cells[column].textContent : row.dataset.name;
    if (column < 3) return text;
    const parts = text.replace(/,| %| ?\(.*\)$|\+.*$/g, '').split('x').map((part) => {
      const [above, below = 1] = part.split('/').map(Number);
      return above / below;
    });
    if (!text || parts.some(Number.isNaN)) return text === '' && column > 5 ? 0 : text;
    return column === 3 ? product(parts) : Math.min(...parts);
  }

  function compare(one, two) {
    const { column, descending } = sorted;
    const order = Number(one.dataset.order) - Number(two.dataset.order);
    if (column < 0) return order;
    const [a, b] = [one, two].map((row) => valueOf(row, column));
    const kinds = [typeof a, typeof b];
    let way;
    if (kinds[0] === kinds[1]) {
      way = kinds[0] === 'number' ? a - b : a.localeCompare(b, 'en', { numeric: true });
    } else {
      way = kinds[0] === 'number' ? 1 : -1; // unknown is below every number
    }
    return (descending ? -way : way) || order;
  }

  function arrange() {
    const children = new Map();
    for (const row of rows) {
      const { module } = row.dataset;
      if (!children.has(module)) children.set(module, []);
      children.get(module).push(row);
    }
    const place = (module, hidden) => {
      for (const row of (children.get(module) ?? []).slice().sort(compare)) {
        row.hidden = hidden;
        body.append(row);
        const { path } = row.dataset;
        if (path === undefined) continue;
        const isFolded = folded.has(path);
        row.querySelector('.fold').setAttribute('aria-expanded', String(!isFolded));
        place(path, hidden || isFolded);
      }
    };
    place('', false);
    heads.forEach((head, i) => {
      if (i !== sorted.column) head.removeAttribute('aria-sort');
      else head.setAttribute('aria-sort', sorted.descending ? 'descending' : 'ascending');
    });
  }

  table.tHead.addEventListener('click', (event) => {
    const column = heads.indexOf(event.target.closest('th'));
    if (column < 0) return;
    // Numbers are sorted for their largest first, words for their first.
    const first = column > 2;
    if (sorted.column !== column) sorted = { column, descending: first };
    else if (sorted.descending === first) sorted = { column, descending: !first };
    else sorted = { column: -1, descending: false };
    arrange();
  });
  body.addEventListener('click', (event) => {
    const row = event.target.closest('tr');
    if (row?.dataset.path !== undefined) {
      if (!folded.delete(row.dataset.path)) folded.add(row.dataset.path);
      arrange();
    } else if (row?.dataset.layer !== undefined) choose(Number(row.dataset.layer));
  });

  // ---- copying

  // Names and kinds as the account has them; the page shortens both.
  const cellsOf = (row) => [...row.cells].map((cell, i) => [row.dataset.name, row.dataset.kind][i] ?? cell.textContent);
  function grid() {
    const seen = [...body.rows].filter(
      (row) => !row.hidden && (row.dataset.path === undefined || folded.has(row.dataset.path)),
    );
    return {
      names: heads.map((head) => head.textContent),
      numeric: heads.map((_, i) => i > 2),
      body: seen.map(cellsOf),
      totals: cellsOf(table.tFoot.rows[0]),
    };
  }

  function toCsv() {
    const { names, body: lines } = grid();
    const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
    return [names, ...lines].map((line) => `${line.map(quoted).join(',')}\n`).join('');
  }

  function toMarkdown() {
    const { names, numeric, body: lines, totals: last } = grid();
    const plain = (cell) =>
      cell.replaceAll('\\', '\\\\').replaceAll('|', '\\|').replaceAll('\n', ' ');
    const bold = last.map((cell) => (cell ? `**${cell}**` : ''));
    const cells = [names, ...lines, bold].map((line) => line.map(plain));
    const widths = names.map((_, i) => Math.max(3, ...cells.map((line) => line[i].length)));
    const rule = widths.map((width, i) => (numeric[i] ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)));
    const padded = (line) =>
      `| ${line.map((cell, i) => (numeric[i] ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join(' | ')} |`;
    const notes = [...document.querySelectorAll('#table > .note')].map((note) => `${plain(note.textContent)}  `);
    const text = [`**${plain(table.caption.textContent)}**`, ''];
    text.push(...[cells[0], rule, ...cells.slice(1)].map(padded));
    if (notes.length) text.push('', ...notes);
    return text.join('\n');
  }

  const act = {
    reset: () => { sorted = { column: -1, descending: false }; },
    fold: () => modules.forEach((path) => folded.add(path)),
    unfold: () => folded.clear(),
    markdown: () => tellCopied(toMarkdown(), 'Markdown'),
    csv: () => tellCopied(toCsv(), 'CSV'),
  };
  let clearing;
  async function tellCopied(words, form) {
    await copy(words);
    byId('copied').textContent = `Copied ${words.split('\n').length} lines of ${form}`;
    clearTimeout(clearing);
    clearing = setTimeout(() => { byId('copied').textContent = ''; }, 4000);
  }
  for (const button of document.querySelectorAll('#table [data-do]')) {
    button.addEventListener('click', () => {
      act[button.dataset.do]();
      arrange();
    });
  }

  // ---- the network of what-if, each changed figure with the report's own beside it

  const pair = (values) => (values.every((n) => n === values[0]) ? `${values[0]}` : values.join('x'));
  function slideText({ slide }) {
    if (!slide) return '';
    const { kernel, stride, padding, dilation } = slide;
    const dilated = dilation.some((n) => n !== 1) ? ` / d${pair(dilation)}` : '';
    return `${kernel.join('x')} / ${pair(stride)} / ${pair(padding)}${dilated}`;
  }

  function lineOf(row, i, network) {
    const share = network.params && row.params ? `${((100 * row.params) / network.params).toFixed(1)} %` : '';
    const cells = [
      row.kind.replace('BatchNorm2d', 'BN'), slideText(row), row.shape.join('x'),
      pair(row.field.map((axis) => axis.size)) + (row.global ? ' (all)' : ''),
      row.global ? '-' : pair(row.field.map((axis) => axis.jump)),
      row.params ? number(row.params) : '', share, row.macs ? number(row.macs) : '',
    ];
    const before = own.find((each) => each.dataset.path === undefined && each.dataset.name === row.path);
    const pick = element('button', { type: 'button', class: 'pick' }, row.path);
    const line = element('tr', { 'data-name': row.path, 'data-kind': row.kind, 'data-module': '', 'data-order': i }, element('th', { scope: 'row' }, pick));
    if (before) line.dataset.layer = before.dataset.layer;
    else line.className = 'new';
    cells.forEach((cell, k) => {
      const td = element('td', {}, cell);
      const was = before?.cells[k + 1].textContent;
      if (was !== undefined && was !== cell && k !== 1) td.dataset.was = was || 'none';
      const [part, whole] = { 5: [row.params, network.params], 7: [row.macs, network.macs] }[k] ?? [0, 1];
      if (part * 200 >= whole) td.style.setProperty('--share', (100 * part) / whole);
      line.append(td);
    });
    return line;
  }

  function showChosen(layer) {
    for (const row of rows) {
      const isChosen = row.dataset.layer === String(layer);
      if (isChosen) row.setAttribute('aria-current', 'true');
      else row.removeAttribute('aria-current');
    }
  }
  listeners.push(showChosen);
  networkListeners.push((network) => {
    const isOwn = !network;
    rows = isOwn ? own : network.rows.map((row, i) => lineOf(row, i, network));
    body.replaceChildren(...rows);
    totals.forEach((put) => put());
    table.classList.toggle('changed', !isOwn);
    if (network) {
      const size = network.receptive_field;
      const all = { 3: network.output_shape.join('x'), 4: pair(size), 5: pair(network.jump), 6: number(network.params), 8: number(network.macs) };
      for (const [i, words] of Object.entries(all)) table.tFoot.rows[0].cells[i].replaceChildren(words);
    }
    arrange();
    showChosen(chosen);
  });
  arrange();
}

startListing();

// Begin with the last layer that still has a map: its field is the network's.
const maps = view.layers.map((layer, i) => (layer.field && !layer.global ? i : -1));
choose(Math.max(0, ...maps));
