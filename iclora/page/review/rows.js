const SIGNS = {keep: "✓", drop: "✕", unsure: "?"};
const FILTERS = {all: "all", undecided: "undecided", rejected: "rejected", borderline: "borderline", problems: "problems",
  keep: "kept", drop: "dropped", unsure: "unsure", disagree: "reviewers disagree"};
let run = null;               // what the server sent: title, markers, canvas, boxes, scales of scores
let order = [];               // ids as sorted; rows must not move while someone works on them, so it is sorted only when asked
let risk = [];                // ids, riskiest first, in the order of the first load
const rows = new Map();       // id -> row as it is now; those that were not looked at have no more than wall, strip and filters need
let filter = "all", sorting = "risk", current = null;
let takings = 0;              // how often rows were taken up
let searched = null;          // ids of the rows that have what is searched for; null if nothing is
const steps = JSON.parse(sessionStorage.getItem("steps") || "[]");  // changes of this tab, for undo; each a list of the server's steps

const hue = (panel) => (205 + panel * 137) % 360;

/* Replaces an element's children. If one of them had the focus, `heir` gets it. */
function refill(parent, children, heir) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  parent.replaceChildren(...children);
  if (focused) parent.querySelector(heir(focused))?.focus({preventScroll: true});
}

async function load() {
  const found = await call("rows");
  const known = new Set(found.rows.map((row) => row.id));
  const shown = known.has(current) ? await call(`rows/${current}`) : null;
  run = found;
  rows.clear();
  takings++;
  for (const row of run.rows) rows.set(row.id, row);
  if (shown) rows.set(shown.id, shown);
  if (!rows.has(current)) current = null;
  const left = (ids) => [...ids.filter((id) => known.has(id)), ...[...known].filter((id) => !ids.includes(id))];
  [risk, order] = risk.length === known.size && risk.every((id) => known.has(id)) ? [risk, order] : [left(risk), left(order)];
  document.title = `Review: ${run.title}`;
  $("title").textContent = run.title;
  const [left_, top, right, bottom] = run.boxes[0], style = document.documentElement.style;
  style.setProperty("--ratio", run.canvas[0] / run.canvas[1]);
  style.setProperty("--panel", (right - left_) / (bottom - top));
}

const isWhole = (id) => rows.has(id) && "text" in rows.get(id);
const asked = new Map();  // id -> the promise of the whole row

/* Asks for a whole row, unless it is here. */
function look(id) {
  if (!isWhole(id) && !asked.has(id)) {
    asked.set(id, call(`rows/${id}`).then((row) => { if (!isWhole(id)) rows.set(id, row); }).finally(() => asked.delete(id)));
  }
  return asked.get(id);
}

/* Takes up rows as they are after a change; a whole row that is another one now is asked for again when it is shown. */
function takeUp(entries) {
  for (const row of entries) if (rows.get(row.id)?.base !== row.base) rows.set(row.id, row);
  takings++;
  followChecks();
}

const undecided = (id) => rows.get(id).filters.includes("undecided");
const passes = (name, row) => name === "all" || row.decision === name || row.filters.includes(name);
const matches = (name, id) => passes(name, rows.get(id)) && (searched === null || searched.has(id));
const visible = () => order.filter((id) => matches(filter, id));

/* The first row after `current` that passes the test, in order and wrapping around at the end. */
function following(test) {
  const start = order.indexOf(current) + 1;
  return [...order.slice(start), ...order.slice(0, start)].find((id) => id !== current && matches(filter, id) && test(id)) ?? null;
}

const nextWorst = () => following(undecided);

/* Ids by risk, by place in the run, or by how badly a kind of score missed its limit. */
function sorted(by) {
  if (by === "risk") return [...risk];
  const of = by === "place" ? (row) => row.place : (row) => row.worst[by] ?? Infinity;
  const value = new Map(risk.map((id) => [id, of(rows.get(id))]));
  return [...risk].sort((one, other) => value.get(one) === value.get(other) ? 0 : value.get(one) - value.get(other));
}

/* ---- the bar on top */

function renderBar() {
  const shown = searched === null ? [...rows.values()] : [...searched].map((id) => rows.get(id)).filter(Boolean);
  refill($("filters"), Object.entries(FILTERS).filter(([name]) => name !== "disagree" || run.shared.several).map(([name, told]) => {
    const count = shown.filter((row) => passes(name, row)).length;
    const left = name === "problems" && run.left ? ` (${run.left} captions left to check)` : "";
    return element("button", {"aria-pressed": String(name === filter), "data-filter": name, onclick: () => choose(name)}, `${told} ${count}${left}`);
  }), (focused) => `[data-filter="${focused.dataset.filter}"]`);
  const all = [...rows.values()];
  const kept = all.filter((row) => row.decision === "keep").length, dropped = all.filter((row) => row.decision === "drop").length;
  const done = all.filter((row) => !row.filters.includes("undecided")).length;
  $("done").max = all.length || 1;
  $("done").value = done;
  $("counts").textContent = `${done} of ${all.length} decided · ${kept} kept, ${dropped} dropped`;
  $("undo").disabled = !steps.length;
  renderAgreement();
}

function renderSorts() {
  const kinds = Object.keys(run.scales).filter((kind) => [...rows.values()].some((row) => kind in row.worst));
  const before = sorting ? [] : [["", "riskiest first, before the check"]];
  const sorts = [...before, ["risk", "riskiest first"], ["place", "in the order of the run"], ...kinds.map((kind) => [kind, `worst '${kind}' first`])];
  $("sort").replaceChildren(...sorts.map(([value, told]) => element("option", {value, selected: value === sorting, hidden: !value}, told)));
}

function choose(name) {
  filter = name;
  const list = visible();
  stopPicking();
  selected.clear();
  current = list.includes(current) ? current : list.find(undecided) ?? list[0] ?? null;
  render();
}

function sortBy(by) {
  sorting = by;
  order = sorted(by);
  selected.clear();
  current = visible()[0] ?? null;
  scrollTo(0, 0);
  render();
}

let seeking = 0, sought = 0;  // the latest search; and the timer of the next, while one is typed

/* Only rows whose caption, note or id has the text are shown; without a text, all are. */
async function search(text) {
  clearTimeout(sought);  // a search that is sent by Enter does not come a second time, over what has been done since
  const mine = ++seeking;
  try {
    const found = text.trim() ? new Set(await call("search", {text})) : null;
    if (mine !== seeking) return;
    searched = found;
    choose(filter);
    say(found ? `${visible().length} of ${rows.size} rows have '${text.trim()}'` : "");
  } catch (error) {
    if (mine === seeking) say(error.message, true);
  }
}
