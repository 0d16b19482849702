// Sorts and filters tables that are in the page already, and keeps in the address what was chosen.
//
// A table with data-table="NAME" is sorted by a click on a head. A form with data-filters="NAME" filters it: each
// field's name is a parameter of the address; "q" searches the whole row, any other one is compared with the
// cells of the column whose head has data-key="NAME OF THE FIELD". The parameter of the order is NAME.sort, with
// a minus for falling. <details> with an id are kept in "open"; data-theme-switch turns dark on and off.
(() => {
  'use strict';

  const UNITS = { ns: 1e-9, µs: 1e-6, ms: 1e-3, s: 1, µJ: 1e-6, mJ: 1e-3, J: 1, kJ: 1e3, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40, k: 1e3, '%': 0.01 };
  const NUMBER = /^([<×+~]*\s*)([-−]?[\d,]*\.?\d+(?:e[+-]?\d+)?)\s*(ns|µs|ms|s|µJ|mJ|kJ|J|B|KiB|MiB|GiB|TiB|k|%)?/;

  const address = () => new URLSearchParams(location.search);
  const remember = (change) => {
    const query = address();
    change(query);
    const text = query.toString();
    try {
      history.replaceState(history.state, '', `${location.pathname}${text ? `?${text}` : ''}${location.hash}`);
    } catch {
      // A browser that keeps no state for files still sorts.
    }
  };
  const put = (query, name, value) => (value ? query.set(name, value) : query.delete(name));

  // What is known comes before what is not, whichever way it is sorted.
  const keyOf = (cell) => {
    const text = cell?.dataset.value ?? cell?.textContent.trim() ?? '';
    if (text === '' || text === '-') return null;
    const found = NUMBER.exec(text);
    return found ? Number(found[2].replaceAll(',', '').replace('−', '-')) * (UNITS[found[3]] ?? 1) : text.toLowerCase();
  };
  const compare = (a, b) => {
    if (typeof a === 'number' && typeof b === 'number') return a - b;
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    return typeof a === 'number' ? -1 : 1;
  };

  const prepared = (table) => {
    const name = table.dataset.table;
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const parameter = `${name}.sort`;

    const sort = (column, falling) => {
      heads.forEach((head, index) => {
        if (index === column) head.setAttribute('aria-sort', falling ? 'descending' : 'ascending');
        else head.removeAttribute('aria-sort');
      });
      const keyed = rows.map((row, place) => ({ row, place, key: column < 0 ? place : keyOf(row.cells[column]) }));
      keyed.sort((a, b) => {
        if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
        return (falling ? compare(b.key, a.key) : compare(a.key, b.key)) || a.place - b.place;
      });
      body.append(...keyed.map(({ row }) => row));
    };
    const keys = heads.map((head) => head.dataset.key || head.textContent.trim());
    heads.forEach((head, column) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'sort';
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener('click', () => {
        const now = head.getAttribute('aria-sort');
        // The third click gives back the order in which they ran.
        const next = now === null ? [column, false] : now === 'ascending' ? [column, true] : [-1, false];
        sort(...next);
        remember((query) => put(query, parameter, next[0] < 0 ? '' : `${next[1] ? '-' : ''}${keys[column]}`));
      });
    });
    const asked = address().get(parameter) ?? '';
    const column = keys.indexOf(asked.replace(/^-/, ''));
    if (column >= 0) sort(column, asked.startsWith('-'));

    return { rows, keys };
  };

  const filtered = (form, { rows, keys }) => {
    const fields = [...form.elements].filter((field) => field.name);
    const shown = form.querySelector('[data-shown]');
    const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    const apply = () => {
      const words = fields.filter((field) => field.name.split('.').pop() === 'q').flatMap((field) => field.value.toLowerCase().split(/\s+/).filter(Boolean));
      const columns = fields
        .map((field) => ({ at: keys.indexOf(field.name.split('.').pop()), value: field.value }))
        .filter(({ at, value }) => at >= 0 && value);
      let left = 0;
      for (const row of rows) {
        const fits =
          words.every((word) => texts.get(row).includes(word)) &&
          columns.every(({ at, value }) => row.cells[at]?.textContent.trim() === value);
        row.hidden = !fits;
        left += fits;
      }
      if (shown) shown.textContent = left === rows.length ? `${rows.length} shown` : `${left} of ${rows.length} shown`;
    };
    const query = address();
    for (const field of fields) {
      const value = query.get(field.name);
      if (value !== null) field.value = value;
    }
    const changed = () => {
      apply();
      remember((now) => fields.forEach((field) => put(now, field.name, field.value)));
    };
    form.addEventListener('input', changed);
    form.addEventListener('submit', (event) => event.preventDefault());
    form.addEventListener('reset', () => setTimeout(changed));
    form.hidden = false;
    apply();
  };

  const sections = () => {
    const all = [...document.querySelectorAll('details[id]')];
    const open = (address().get('open') ?? '').split(',').filter(Boolean);
    for (const one of all) {
      if (open.includes(one.id)) one.open = true;
      one.addEventListener('toggle', () => {
        if (printing) return;
        const ids = all.filter((other) => other.open).map((other) => other.id);
        remember((query) => put(query, 'open', ids.join(',')));
      });
    }
  };
  let printing = false;

  const theme = () => {
    const root = document.documentElement;
    const kept = (value) => {
      try {
        if (value === undefined) return localStorage.getItem('llmbench-theme');
        localStorage.setItem('llmbench-theme', value);
      } catch {
        // Without storage the choice holds for this page.
      }
      return null;
    };
    const before = kept();
    if (before === 'dark' || before === 'light') root.dataset.theme = before;
    const dark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches);
    for (const button of document.querySelectorAll('[data-theme-switch]')) {
      button.hidden = false;
      button.setAttribute('aria-pressed', String(dark()));
      button.addEventListener('click', () => {
        root.dataset.theme = dark() ? 'light' : 'dark';
        button.setAttribute('aria-pressed', String(dark()));
        kept(root.dataset.theme);
      });
    }
  };

  const start = () => {
    document.querySelectorAll('[data-without-scripts]').forEach((one) => one.remove());
    theme();
    const tables = new Map([...document.querySelectorAll('table[data-table]')].map((table) => [table.dataset.table, prepared(table)]));
    for (const form of document.querySelectorAll('form[data-filters]')) {
      const table = tables.get(form.dataset.filters);
      if (table) filtered(form, table);
    }
    sections();
  };
  addEventListener('beforeprint', () => {
    printing = true;
  });
  addEventListener('afterprint', () => {
    printing = false;
  });
  if (document.readyState === 'loading') addEventListener('DOMContentLoaded', start);
  else start();
})();
