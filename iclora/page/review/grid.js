/* ---- one grid at a time */

const drafts = new Map();     // id -> text being edited
const looks = new Map();      // id -> looks being edited that differ from the row's, by name
const marks = new Map();  // id -> its button in the strip
let stripped = "";        // ids in the strip, in order
const STRIP = 120;        // rows in the strip at most: those around the current one; the browser lays out no thousands

/* Ids of the rows in the strip; they change by half a strip at a time, so that it stands still in between. */
function around(list) {
  const place = Math.max(0, list.indexOf(current)), half = STRIP / 2;
  const start = Math.max(0, Math.min(Math.floor(place / half) * half - half / 2, list.length - STRIP));
  return list.slice(start, start + STRIP);
}

function renderStrip(list) {
  const strip = $("strip"), focused = strip.contains(document.activeElement), near = around(list);
  for (const id of near) mark(id);
  if (near.join() !== stripped) strip.replaceChildren(...near.map((id) => marks.get(id)));
  for (const id of marks.keys()) if (!near.includes(id)) marks.delete(id);
  stripped = near.join();
  if (focused) strip.querySelector(".here")?.focus({preventScroll: true});
}

/* A row's button as the row is now. */
function mark(id) {
  const row = rows.get(id), looks = `${row.decision} ${row.by}${id === current ? " here" : ""}`;
  const title = `${id}: ${row.decision} by ${row.told}`;
  if (!marks.has(id)) marks.set(id, element("button", {"data-id": id}));
  const button = marks.get(id);
  if (button.className === looks && button.title === title) return;
  button.className = looks;
  button.title = title;
  button.setAttribute("aria-label", button.title);
  button.textContent = SIGNS[row.decision];
  if (id === current) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
}

let picking = null;

function stopPicking() {
  picking = null;
}

function renderPicture() {
  const row = rows.get(current);
  show($("grid"), `rows/${current}/picture?of=${encodeURIComponent(row.picture)}`);
  $("grid").alt = `grid ${current}`;
  $("picture").classList.toggle("picking", Boolean(picking));
  const [width, height] = run.canvas;
  refill($("boxes"), run.boxes.map(([left, top, right, bottom], panel) => {
    const picked = picking && picking.panels.includes(panel) ? " picked" : "", why = strangerReasons(row, panel);
    const box = element("button", {class: `box${picked}${why.length ? " stranger" : ""}`, hue: hue(panel), "data-panel": panel,
      title: [row.panels[panel], ...why].join("\n"), "aria-label": [`panel ${panel + 1}, ${run.markers[panel]}`, ...why].join(": "),
      onclick: () => touch(panel)}, element("span", {}, String(panel + 1)), why.length ? element("em", {}, "stranger") : null);
    Object.assign(box.style, {left: `${100 * left / width}%`, top: `${100 * top / height}%`,
      width: `${100 * (right - left) / width}%`, height: `${100 * (bottom - top) / height}%`});
    return lighting(box, panel);
  }), (focused) => `[data-panel="${focused.dataset.panel}"]`);
}

/* Why a panel does not belong to its grid, from the failed scores whose names end with its number. */
const strangerReasons = (row, panel) => row.scores
  .filter((score) => !score.passed && [`belongs ${panel + 1}`, `recurs ${panel + 1}`].includes(score.name)).map((score) => score.reason);

/* Panel and segment are highlighted together, whichever has the pointer or the focus. */
function lighting(made, panel) {
  for (const name of ["pointerenter", "focus"]) made.addEventListener(name, () => light(panel));
  for (const name of ["pointerleave", "blur"]) made.addEventListener(name, () => light(null));
  return made;
}

/* While a text is being typed, the other panels are not dimmed: a writer looks at all of them. */
function light(panel, dim = panel !== null) {
  $("picture").classList.toggle("dim", dim);
  for (const each of document.querySelectorAll("[data-panel]")) each.classList.toggle("lit", panel !== null && Number(each.dataset.panel) === panel);
}

function renderRow() {
  const row = rows.get(current), draft = drafts.get(current);
  const place = visible().indexOf(current);
  $("what").replaceChildren(
    element("span", {class: `badge ${row.decision}`, id: "decision"}, row.decision),
    element("span", {}, `by ${row.told}`),
    element("span", {class: "soft"}, `${place < 0 ? "not in this filter" : `${place + 1} of ${visible().length}`} · ${row.id} · ${row.formed}`),
  );
  renderWords(row);
  if (document.activeElement !== $("note")) $("note").value = row.note;
  renderEditor(row.id);
  renderPeople(row);
  renderTies(row);
  $("word").textContent = [row.word && `The captioner: ${row.word}.`, row.corrected && `A person: ${row.corrected}.`, row.notes && `The pictures: ${row.notes}.`]
    .filter(Boolean).join(" ");
  renderText(unchanged(row, editing(current)) ? row : {pieces: [], problems: []});
  if (draft === undefined) renderScores(row, editing(current)); else check();
  renderOthers(row);
}

/* What is being edited, or else the current text. */
const editing = (id) => ({text: drafts.get(id) ?? rows.get(id).text, people: looks.get(id) ?? {}, ...corrections(rows.get(id))});
const unchanged = (row, now) => same(now, {text: row.text, people: {}});
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/* One field per person for their looks; fields are kept while the people stay the same, so that none disappears while in use. */
function renderPeople(row) {
  const of = JSON.stringify([row.id, row.people]);
  if ($("people").dataset.of !== of) {
    $("people").dataset.of = of;
    $("people").replaceChildren(...row.people.map(({name, changes}) => element("label", {}, element("span", {}, name,
      changes ? element("div", {class: "soft"}, `changes: ${changes}`) : null),
      element("textarea", {rows: 1, name, "aria-label": `Looks of ${name}`, spellcheck: "true", oninput: described}))));
  }
  for (const field of $("people").querySelectorAll("textarea")) {
    const now = editing(row.id).people[field.name] ?? row.people.find(({name}) => name === field.name).looks;
    if (field.value !== now) field.value = now;
  }
}

/* Stores those looks that differ from the row's. */
function describe(id, people) {
  const known = Object.fromEntries(rows.get(id).people.map((person) => [person.name, person.looks]));
  const other = Object.entries(people).filter(([name, text]) => name in known && text !== known[name]);
  if (other.length) looks.set(id, Object.fromEntries(other)); else looks.delete(id);
}

function described(event) {
  describe(current, {...editing(current).people, [event.target.name]: event.target.value});
  soon();
}

function renderText(shown) {
  const parts = [];
  for (const piece of shown.pieces) {
    if (piece.panel === null) {
      const inside = piece.kind === "marker" ? element("b", {}, piece.text) : piece.text;
      if (parts.length) parts[0].append(inside); else parts.push(element("p", {class: "summary"}, inside));
    } else if (piece.kind === "marker") {
      parts.push(lighting(element("div", {class: "segment empty", tabindex: 0, hue: hue(piece.panel), "data-panel": piece.panel,
        ondblclick: () => touch(piece.panel)}, element("b", {}, piece.text || run.markers[piece.panel])), piece.panel));
    } else {
      let part = parts.find((each) => each.dataset.panel === String(piece.panel));
      if (!part) {  // text without its marker
        part = lighting(element("div", {class: "segment", tabindex: 0, hue: hue(piece.panel), "data-panel": piece.panel}), piece.panel);
        parts.push(part);
      }
      part.append(piece.text);
      part.classList.toggle("empty", !/\p{L}/u.test(piece.text));
    }
  }
  for (const part of parts.filter((each) => each.dataset.panel !== undefined)) {
    part.append(...strangerReasons(rows.get(current), Number(part.dataset.panel)).map((reason) => element("div", {class: "why"}, reason)));
  }
  $("caption").replaceChildren(...parts);
  renderProblems(shown.problems);
}

function renderProblems(problems) {
  $("problems").replaceChildren(problems.length
    ? element("ul", {class: "why"}, ...problems.map((problem) => element("li", {}, problem)))
    : element("p", {class: "fine soft"}, "No problems found in the text."));
}

