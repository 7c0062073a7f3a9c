// The layer table: sorted within modules, folded by module, copied as it is seen.

function startListing() {
  const table = byId('layers');
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...body.rows];
  const folded = new Set();
  let sorted = { column: -1, descending: false };

  const children = new Map();
  for (const row of rows) {
    const module = row.dataset.module;
    if (!children.has(module)) children.set(module, []);
    children.get(module).push(row);
  }

  function compare(one, two) {
    const { column, descending } = sorted;
    const order = Number(one.dataset.order) - Number(two.dataset.order);
    if (column < 0) return order;
    const [a, b] = [one.cells[column], two.cells[column]].map((cell) =>
      cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value),
    );
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
    const place = (module, hidden) => {
      for (const row of (children.get(module) ?? []).slice().sort(compare)) {
        row.hidden = hidden;
        body.append(row);
        const path = row.dataset.path;
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

  const modules = rows.map((row) => row.dataset.path).filter((path) => path !== undefined);
  if (table.dataset.foldAt) modules.forEach((path) => folded.add(path));

  table.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (!button) return;
    if (button.dataset.column !== undefined) {
      const column = Number(button.dataset.column);
      // Numbers are sorted for their largest first, words for their first.
      const first = heads[column].classList.contains('num');
      if (sorted.column !== column) sorted = { column, descending: first };
      else if (sorted.descending === first) sorted = { column, descending: !first };
      else sorted = { column: -1, descending: false };
    } else if (button.classList.contains('fold')) {
      const path = button.closest('tr').dataset.path;
      if (!folded.delete(path)) folded.add(path);
    } else {
      choose(Number(button.dataset.layer));
    }
    arrange();
  });

  // ---- copying

  const cellsOf = (row) => [...row.cells].map((cell) => cell.textContent);
  function grid() {
    const seen = [...body.rows].filter(
      (row) => !row.hidden && (row.dataset.path === undefined || folded.has(row.dataset.path)),
    );
    return {
      names: heads.map((head) => head.textContent),
      numeric: heads.map((head) => head.classList.contains('num')),
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
    const { names, numeric, body: lines, totals } = grid();
    const plain = (cell) =>
      cell.replaceAll('\\', '\\\\').replaceAll('|', '\\|').replaceAll('\n', ' ');
    const bold = totals.map((cell) => (cell ? `**${cell}**` : ''));
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
  async function tellCopied(words, form) {
    await copy(words);
    byId('copied').textContent = `Copied ${words.split('\n').length} lines of ${form}`;
  }
  for (const button of document.querySelectorAll('#table [data-do]')) {
    button.addEventListener('click', () => {
      act[button.dataset.do]();
      arrange();
    });
  }
  listeners.push((layer) => {
    for (const row of rows) {
      const isChosen = row.dataset.layer === String(layer);
      if (isChosen) row.setAttribute('aria-current', 'true');
      else row.removeAttribute('aria-current');
    }
  });
  arrange();
}

startListing();

// Begin with the last layer that still has a map: its field is the network's.
const maps = view.layers.map((layer, i) => (layer.field && !layer.global ? i : -1));
choose(Math.max(0, ...maps));
