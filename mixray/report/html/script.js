'use strict';
// The page's only script: theme, sources of numbers, folds in print, and the browser of responses. Texts of models are set with
// textContent alone: nothing here makes markup of a string.
(() => {
  const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f]/g;
  const visible = (text) => text.replace(CONTROLS, (sign) => (sign === '\u007f' ? '\u2421' : String.fromCharCode(0x2400 + sign.charCodeAt(0))));

  function make(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) made.setAttribute(key, value === true ? '' : value);
    }
    made.append(...children);
    return made;
  }

  // Theme: as the system has it until asked otherwise; the choice is kept for this page alone, where the browser lets it be kept.
  const THEMES = { auto: 'light dark', light: 'light', dark: 'dark' };
  const kept = 'mixray theme ' + location.pathname;
  const read = () => { try { return localStorage.getItem(kept); } catch { return null; } };
  const write = (value) => { try { localStorage.setItem(kept, value); } catch { /* not kept: the page works without */ } };
  let theme = read() in THEMES ? read() : 'auto';
  const toggle = make('button', { type: 'button', class: 'theme', onclick: () => {
    theme = { auto: 'light', light: 'dark', dark: 'auto' }[theme];
    write(theme);
    paint();
  } });
  function paint() {
    document.documentElement.style.colorScheme = THEMES[theme];
    toggle.textContent = { auto: 'Theme: system', light: 'Theme: light', dark: 'Theme: dark' }[theme];
  }
  paint();
  document.querySelector('.top').append(toggle);

  // A number's source opens over the page; with a modifier, or from the address bar, the link is a plain link.
  const dialog = make('dialog', { 'aria-label': 'Where this number comes from' });
  document.body.append(dialog);
  dialog.addEventListener('click', (event) => { if (event.target === dialog || event.target.closest('a')) dialog.close(); });
  document.addEventListener('click', (event) => {
    const link = event.target.closest('a.src');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const block = document.getElementById(link.hash.slice(1));
    if (!block) return;
    event.preventDefault();
    const copy = block.cloneNode(true);
    copy.removeAttribute('id');
    const close = make('button', { type: 'button', onclick: () => dialog.close() }, 'Close');
    const go = make('a', { href: link.hash }, 'Show it in its place');
    dialog.replaceChildren(copy, make('p', {}, go, ' ', close));
    dialog.showModal();
  });

  // Paper cannot unfold.
  let folded = [];
  addEventListener('beforeprint', () => {
    folded = [...document.querySelectorAll('details:not([open]):not(.fold)')];
    folded.forEach((each) => { each.open = true; });
  });
  addEventListener('afterprint', () => folded.forEach((each) => { each.open = false; }));

  const packed = document.getElementById('packed');
  const place = document.getElementById('browser');
  const note = document.getElementById('browser-note');
  if (packed && place) {
    unpack(packed.textContent).then(browse).catch((error) => {
      note.textContent = 'The responses inside this page cannot be shown by this browser (' + error.message + '). The rows lie in the scores artefacts.';
    });
  }

  async function unpack(text) {
    if (!('DecompressionStream' in window)) throw new Error('it cannot unpack gzip');
    const bytes = Uint8Array.from(atob(text.trim()), (sign) => sign.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
    return JSON.parse(await new Response(stream).text());
  }

  function browse(data) {
    const MARKS = { right: '✓', wrong: '✗', truncated: '…', looping: '↻', 'no answer': '∅', unknown: '?', error: '!' };
    const OUTCOMES = place.dataset.outcomes.split('|');
    const PAGE = 200;
    const students = [...new Set(data.arms.map((arm) => arm.student))];
    const problems = data.problems;
    const distinct = (key) => [...new Set(problems.map((problem) => problem[key]).filter((value) => value !== null && value !== undefined))].sort(
      (one, other) => (typeof one === 'number' ? one - other : String(one).localeCompare(String(other))));
    problems.forEach((problem) => {
      problem.searched = [problem.problem_id, problem.question, problem.gold, ...problem.responses.map((told) => (told ? told.text : ''))].join('\n').toLowerCase();
    });

    const state = { student: students[0], benchmark: '', subject: '', level: '', pattern: '', text: '', arms: {}, shown: {}, most: PAGE, at: 0 };
    let found = [];
    const armsOf = () => data.arms.map((arm, index) => ({ ...arm, index })).filter((arm) => arm.student === state.student);

    const select = (title, values, key, all) => {
      const control = make('select', { 'aria-label': title, onchange: () => { state[key] = control.value; state.most = PAGE; if (key === 'student') armFilters(); refresh(); } });
      if (all !== null) control.append(make('option', { value: '' }, all));
      values.forEach((value) => control.append(make('option', { value: String(value) }, visible(String(value)))));
      return make('label', {}, title, control);
    };
    const PATTERNS = { '': 'any', disagree: 'arms disagree', gained: 'some arm right, untouched wrong', lost: 'untouched right, some arm wrong', all: 'all right', none: 'none right', cut: 'some truncated', loops: 'some looping' };
    const pattern = make('select', { 'aria-label': 'pattern', onchange: () => { state.pattern = pattern.value; state.most = PAGE; refresh(); } },
      ...Object.entries(PATTERNS).map(([value, title]) => make('option', { value }, title)));
    const search = make('input', { type: 'search', 'aria-label': 'search', autocomplete: 'off', spellcheck: 'false', placeholder: 'in question, answer and responses  ( / )', oninput: () => { state.text = search.value.toLowerCase(); state.most = PAGE; refresh(); } });
    const filters = make('form', { class: 'filters', role: 'search', 'aria-label': 'Filter problems', onsubmit: (event) => event.preventDefault() });
    if (students.length > 1) filters.append(select('student', students, 'student', null));
    if (distinct('benchmark').length > 1) filters.append(select('benchmark', distinct('benchmark'), 'benchmark', 'all'));
    if (distinct('subject').length > 1) filters.append(select('subject', distinct('subject'), 'subject', 'all'));
    if (distinct('level').length > 1) filters.append(select('level', distinct('level'), 'level', 'all'));
    filters.append(make('label', {}, 'pattern', pattern), make('label', { class: 'wide' }, 'search', search));
    const perArm = make('form', { class: 'filters', 'aria-label': 'Filter by what became of each arm', onsubmit: (event) => event.preventDefault() });
    const reset = make('button', { type: 'button', onclick: () => {
      Object.assign(state, { benchmark: '', subject: '', level: '', pattern: '', text: '', arms: {}, most: PAGE });
      filters.querySelectorAll('select').forEach((each) => { if (each.options[0].value === '') each.value = ''; });
      search.value = '';
      armFilters();
      refresh();
    } }, 'Clear filters');
    filters.append(reset);
    const count = make('p', { class: 'count', role: 'status', 'aria-live': 'polite' });
    const list = make('div', { class: 'list', role: 'listbox', tabindex: '0', 'aria-label': 'Problems', onkeydown: keys });
    const shown = make('div', { class: 'shown', 'aria-live': 'off' });
    const help = make('p', { class: 'keys' }, 'Keys: ', make('kbd', {}, '/'), ' search, ', make('kbd', {}, '↑'), ' ', make('kbd', {}, '↓'), ' or ', make('kbd', {}, 'k'), ' ', make('kbd', {}, 'j'), ' problems, ',
      make('kbd', {}, 'Home'), ' ', make('kbd', {}, 'End'), '. Marks: ', OUTCOMES.map((word) => MARKS[word] + ' ' + word).join(', ') + '.');
    place.append(filters, make('details', {}, make('summary', {}, 'By arm: what became of its response, and which arms to show'), perArm), count, list, help, shown);
    place.hidden = false;
    note.hidden = true;
    armFilters();
    refresh();
    document.addEventListener('keydown', (event) => {
      if (event.key === '/' && !event.target.closest('input, select, textarea, dialog')) { event.preventDefault(); search.focus(); }
    });

    function armFilters() {
      state.arms = {};
      perArm.replaceChildren(...armsOf().flatMap((arm) => {
        const choice = make('select', { 'data-arm': arm.label, 'aria-label': arm.label, onchange: () => { state.arms[arm.index] = choice.value; state.most = PAGE; refresh(); } }, make('option', { value: '' }, 'any'),
          make('option', { value: 'not right' }, 'not right'), ...OUTCOMES.map((word) => make('option', { value: word }, word)));
        const tick = make('input', { type: 'checkbox', 'aria-label': 'Show ' + arm.label, onchange: () => { state.shown[arm.label] = tick.checked; show(); } });
        tick.checked = state.shown[arm.label] !== false;
        return [make('label', {}, visible(arm.label), choice), make('label', { class: 'tick' }, tick, 'show')];
      }));
    }

    function fits(problem) {
      if (state.benchmark && problem.benchmark !== state.benchmark) return false;
      if (state.subject && String(problem.subject) !== state.subject) return false;
      if (state.level && String(problem.level) !== state.level) return false;
      if (state.text && !problem.searched.includes(state.text)) return false;
      const arms = armsOf().filter((arm) => problem.responses[arm.index]);
      const outcome = (arm) => problem.responses[arm.index].outcome;
      for (const arm of arms) {
        const wanted = state.arms[arm.index];
        if (wanted && (wanted === 'not right' ? outcome(arm) === 'right' : outcome(arm) !== wanted)) return false;
      }
      const right = arms.filter((arm) => outcome(arm) === 'right').length;
      const untouched = arms.length > 0 && outcome(arms[0]) === 'right';
      switch (state.pattern) {
        case 'disagree': return right > 0 && right < arms.length;
        case 'gained': return !untouched && right > 0;
        case 'lost': return untouched && right < arms.length;
        case 'all': return right === arms.length;
        case 'none': return right === 0;
        case 'cut': return arms.some((arm) => outcome(arm) === 'truncated');
        case 'loops': return arms.some((arm) => outcome(arm) === 'looping');
        default: return true;
      }
    }

    function refresh() {
      found = problems.filter(fits);
      state.at = Math.min(state.at, Math.max(0, found.length - 1));
      count.replaceChildren(found.length.toLocaleString('en') + ' of ' + problems.length.toLocaleString('en') + ' problems', make('span', {}, found.length ? '' : ': no problem fits these filters'));
      draw();
      show();
    }

    function draw() {
      const arms = armsOf();
      const items = found.slice(0, state.most).map((problem, index) => {
        const marks = arms.map((arm) => {
          const told = problem.responses[arm.index];
          const word = told ? told.outcome : 'unknown';
          return make('span', { class: 'mark is-' + word.replace(' ', '-'), title: arm.label + ': ' + word, 'aria-hidden': 'true' }, told ? MARKS[word] : ' ');
        });
        const spoken = arms.filter((arm) => problem.responses[arm.index]).map((arm) => arm.label + ' ' + problem.responses[arm.index].outcome).join(', ');
        return make('div', { class: 'item', role: 'option', id: 'item-' + index, 'aria-selected': String(index === state.at), 'aria-label': visible(problem.problem_id) + ': ' + spoken, onclick: () => choose(index) },
          make('span', { class: 'id' }, visible(problem.problem_id)), make('span', { class: 'start' }, visible((problem.question || '').slice(0, 160))), make('span', { class: 'marks' }, ...marks));
      });
      if (found.length > state.most) {
        const rest = found.length - state.most;
        items.push(make('button', { type: 'button', class: 'more', onclick: () => { state.most += PAGE; draw(); } }, 'Show ' + Math.min(PAGE, rest) + ' more of ' + rest));
      }
      list.replaceChildren(...items);
      if (found.length) list.setAttribute('aria-activedescendant', 'item-' + state.at);
      else list.removeAttribute('aria-activedescendant');
    }

    function choose(index) {
      if (!found.length) return;
      const wanted = Math.max(0, Math.min(index, found.length - 1));
      if (wanted >= state.most) { state.most = wanted + 1; state.at = wanted; draw(); }
      list.querySelectorAll('[aria-selected=true]').forEach((each) => each.setAttribute('aria-selected', 'false'));
      state.at = wanted;
      const item = document.getElementById('item-' + wanted);
      item.setAttribute('aria-selected', 'true');
      list.setAttribute('aria-activedescendant', item.id);
      if (item.offsetTop < list.scrollTop + list.offsetTop) list.scrollTop = item.offsetTop - list.offsetTop;
      const low = item.offsetTop + item.offsetHeight - list.offsetTop - list.clientHeight;
      if (low > list.scrollTop) list.scrollTop = low;
      show();
    }

    function keys(event) {
      const moves = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
      if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      choose(moves[event.key] === Infinity ? found.length - 1 : moves[event.key] === -Infinity ? 0 : state.at + moves[event.key]);
    }

    function show() {
      const problem = found[state.at];
      if (!problem) { shown.replaceChildren(); return; }
      const head = make('h3', {}, visible(problem.problem_id), make('span', { class: 'tag' }, visible(problem.benchmark)));
      if (problem.subject) head.append(make('span', { class: 'tag' }, visible(problem.subject)));
      if (problem.level !== null && problem.level !== undefined) head.append(make('span', { class: 'tag' }, 'level ' + problem.level));
      const columns = armsOf().filter((arm) => problem.responses[arm.index] && state.shown[arm.label] !== false).map((arm) => column(arm, problem.responses[arm.index]));
      shown.replaceChildren(head, make('div', { class: 'question', dir: 'auto' }, visible(problem.question || '')),
        make('p', { class: 'facts' }, 'Known answer: ', make('code', {}, visible(problem.gold || ''))), make('div', { class: 'columns' }, ...columns));
    }

    function column(arm, told) {
      const facts = [(told.tokens ?? 0).toLocaleString('en') + ' tokens', 'ended by ' + (told.finish_reason || '–')];
      if (told.samples > 1) facts.push(told.right + ' of ' + told.samples + ' samples right');
      if (told.reason) facts.push(visible(told.reason));
      const text = make('div', { class: 'text', dir: 'auto', tabindex: '0', role: 'region', 'aria-label': 'Response of ' + arm.label }, visible(told.text));
      const long = told.text.length > 1200 ? [make('details', { class: 'fold' }, make('summary', {}, 'All ' + (told.text.length + told.left_out).toLocaleString('en') + ' characters'))] : [];
      return make('article', { class: 'response' }, make('h4', {}, visible(arm.label), ' ', make('span', { class: 'outcome is-' + told.outcome.replace(' ', '-') }, told.outcome)),
        make('p', { class: 'facts' }, facts.join(' · '), ' · answer ', make('code', {}, visible(told.answer || '–'))), ...long, text);
    }
  }
})();
