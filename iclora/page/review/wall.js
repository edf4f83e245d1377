/* ---- the wall: all grids that the filter shows, small. Only those in sight and a few more are elements. */

const GAP = 10, FOOT = 34;      // pixels between tiles, and of the line below a picture
const NARROWEST = 150;          // pixels of a tile, unless two don't fit beside each other
const SPARE = 2;                // lines of tiles that are ready above and below those in sight
const KEPT = 600;               // tiles that are kept with their pictures after they have gone out of sight
const AT_ONCE = 4;              // pictures that are asked for at the same time
const selected = new Set();
let anchor = null;              // where a range of selected tiles begins
let list = [], columns = 1, wide = 0, high = 0;
const tiles = new Map();        // id -> its element; the last used are the last
const lines = new Map();        // number of a line -> its element

function measureWall() {
  const room = $("wall").clientWidth;
  columns = Math.max(2, Math.floor((room + GAP) / (NARROWEST + GAP)));
  wide = Math.floor((room - GAP * (columns - 1)) / columns);
  high = Math.round(wide * run.canvas[1] / run.canvas[0]) + FOOT;
}

function renderWall() {
  list = visible();
  for (const id of selected) if (!matches(filter, id)) selected.delete(id);
  if (!current) return;
  measureWall();
  const wall = $("wall");
  wall.style.height = `${Math.ceil(list.length / columns) * (high + GAP)}px`;
  wall.setAttribute("aria-rowcount", Math.ceil(list.length / columns));
  wall.setAttribute("aria-colcount", columns);
  for (const id of ["keep", "drop", "unsure"]) $(id).disabled = false;
  $("chosen").textContent = selected.size ? `${selected.size} selected` : "";
  renderLines();
}

const lineOf = (id) => Math.floor(list.indexOf(id) / columns);

/* The lines in sight, and the one with the current tile, which may have the focus. */
function renderLines() {
  const top = $("wall").getBoundingClientRect().top, last = Math.ceil(list.length / columns) - 1;
  const first = Math.max(0, Math.floor(-top / (high + GAP)) - SPARE);
  const end = Math.min(last, Math.floor((innerHeight - top) / (high + GAP)) + SPARE);
  const wanted = new Set();
  for (let number = first; number <= end; number++) wanted.add(number);
  if (list.includes(current)) wanted.add(lineOf(current));
  for (const [number, line] of lines) if (!wanted.has(number)) { line.remove(); lines.delete(number); }
  for (const number of [...wanted].sort((one, other) => one - other)) renderLine(number);
  let kept = tiles.size - KEPT;
  for (const [id, made] of tiles) if (kept > 0 && !made.isConnected) { tiles.delete(id); kept--; }
  fetchSome();
}

function renderLine(number) {
  const ids = list.slice(number * columns, (number + 1) * columns);
  let line = lines.get(number);
  if (!line) {
    line = element("div", {role: "row", class: "line", "aria-rowindex": number + 1});
    lines.set(number, line);
    const after = [...lines].filter(([other]) => other > number).sort(([one], [other]) => one - other)[0];
    $("wall").insertBefore(line, after ? after[1] : null);
  }
  line.style.transform = `translateY(${number * (high + GAP)}px)`;
  const cells = ids.map((id, place) => tile(id, place));
  if (cells.length !== line.childElementCount || cells.some((cell, place) => line.children[place] !== cell)) {
    const focused = line.contains(document.activeElement) ? document.activeElement : null;
    line.replaceChildren(...cells);
    if (focused?.isConnected) focused.focus({preventScroll: true});
  }
}

/* A row's tile as the row is now. */
function tile(id, place) {
  let made = tiles.get(id);
  if (!made) made = element("div", {role: "gridcell", "data-id": id}, element("div", {class: "thumb"}, element("img", {alt: ""})),
    element("div", {class: "foot"}, element("b", {class: "sign"}), element("span", {class: "flags"})));
  tiles.delete(id);
  tiles.set(id, made);  // the last used
  const row = rows.get(id), flags = flagsOf(row), chosen = selected.has(id);
  made.className = `tile ${row.decision} ${row.by}${chosen ? " chosen" : ""}`;
  made.style.width = `${wide}px`;
  made.style.height = `${high}px`;
  made.tabIndex = id === current ? 0 : -1;
  made.setAttribute("aria-selected", String(chosen));
  made.setAttribute("aria-colindex", place + 1);
  made.setAttribute("aria-label", [`${id}: ${row.decision} by ${row.told}`, ...flags].join(", "));
  made.querySelector(".sign").textContent = SIGNS[row.decision];
  made.querySelector(".flags").textContent = flags.join(", ") || id;
  return made;
}

/* What to know of a row at a glance: what other reviewers did, the kinds of scores that failed, and whether its text has problems
   or has not been checked yet. */
const flagsOf = (row) => [...ofOthers(row), ...Object.keys(row.worst).filter((kind) => row.filters.includes("rejected") && row.worst[kind] < 0),
  ...row.filters.filter((name) => ["problems", "borderline", "unchecked"].includes(name))];

/* ---- its pictures, those in sight first and only a few at once */

let fetching = 0;
const failed = new Set();  // pictures that can't be had are asked for once

function fetchSome() {
  const inSight = (cell) => { const box = cell.getBoundingClientRect(); return box.bottom > 0 && box.top < innerHeight; };
  while (fetching < AT_ONCE) {
    const cells = [...lines].sort(([one], [other]) => one - other).flatMap(([, line]) => [...line.children]);
    const waiting = cells.filter(({dataset: {id}}) => tiles.get(id).querySelector("img").dataset.path !== pathOf(id) && !failed.has(pathOf(id)));
    const cell = waiting.find(inSight) ?? waiting[0];
    if (!cell) return;
    const image = cell.querySelector("img"), path = pathOf(cell.dataset.id);
    fetching++;
    show(image, path).finally(() => {
      if (image.dataset.path !== path) failed.add(path);
      fetching--;
      fetchSome();
    });
  }
}

const pathOf = (id) => `rows/${id}/thumbnail?of=${encodeURIComponent(rows.get(id).picture)}`;

/* ---- moving and selecting */

/* Makes a tile the current one, and brings it into sight; it gets the focus unless that is elsewhere on purpose. */
function reveal(id, focus = true) {
  if (!id || !list.includes(id)) return;
  current = id;
  const top = $("wall").getBoundingClientRect().top + scrollY + lineOf(id) * (high + GAP);
  const above = scrollY + edge("header"), below = scrollY + innerHeight - edge("footer");
  if (top < above) scrollTo(0, top - edge("header") - GAP);
  else if (top + high > below) scrollTo(0, top + high - innerHeight + edge("footer") + GAP);
  renderWall();
  if (focus || $("wall").contains(document.activeElement) || document.activeElement === document.body) tiles.get(id)?.focus({preventScroll: true});
}

function selectTo(id) {
  const from = list.includes(anchor) ? anchor : current, [start, end] = [list.indexOf(from), list.indexOf(id)].sort((one, other) => one - other);
  selected.clear();
  for (const each of list.slice(start, end + 1)) selected.add(each);
  anchor = from;
}

function toggle(id) {
  if (!selected.delete(id)) selected.add(id);
  anchor = id;
}

function clicked(event) {
  const id = event.target.closest("[role=gridcell]")?.dataset.id;
  if (!id) return;
  if (event.shiftKey) selectTo(id);
  else if (event.ctrlKey || event.metaKey || event.pointerType === "touch") toggle(id);
  else { selected.clear(); toggle(id); }
  reveal(id);
}

/* Where an arrow leads from the current tile; undefined for other keys. */
function target(event) {
  const here = list.indexOf(current), last = list.length - 1, start = here - here % columns;
  const page = columns * Math.max(1, Math.floor((innerHeight - edge("header") - edge("footer")) / (high + GAP)));
  const far = event.ctrlKey || event.metaKey;
  const places = {ArrowLeft: here - 1, ArrowRight: here + 1, ArrowUp: here - columns, ArrowDown: here + columns,
    PageUp: here - page, PageDown: here + page, Home: far ? 0 : start, End: far ? last : start + columns - 1};
  if (!(event.key in places)) return undefined;
  const place = places[event.key];
  if (place < 0) return list[event.key === "PageUp" ? here % columns : here];
  return list[place > last && event.key === "ArrowDown" && start + columns > last ? here : Math.min(last, place)];
}

/* A key pressed on a tile. Returns whether it was one of the wall's. */
function walked(event) {
  const to = target(event);
  if (to !== undefined) {
    if (event.shiftKey) selectTo(to);
    reveal(to);
  } else if (event.key === " ") {
    toggle(current);
    reveal(current);
  } else if (event.key === "Enter") {
    openGrid(current);
  } else if (event.key === "Escape" && selected.size) {
    selected.clear();
    reveal(current);
  } else {
    return false;
  }
  return true;
}

function selectAll() {
  for (const id of list) selected.add(id);
  reveal(current);
  say(`${selected.size} selected`);
}

/* What a decision on the wall is about: the selected grids, else the current one. */
const meant = () => selected.size ? list.filter((id) => selected.has(id)) : [current];
