/* ---- changes */

const REASONS = ["text does not match", "panels do not belong together", "panels almost identical", "blurred or damaged",
  "text or watermark in the picture", "wrong people or names"];
const BATCH = 40;  // rows that are decided in one request
const SOME = 500;  // rows that are asked for in one request
let busy = false;

/* Runs what changes something, unless another change is under way. Returns whether it was made. */
async function changing(work) {
  if (busy) return false;
  busy = true;
  try {
    await work();
    measureAgreement();
    return true;
  } catch (error) {
    if (error.row) rows.set(error.row.id, error.row);
    say(error.message, true);
    return false;
  } finally {
    busy = false;
    sessionStorage.setItem("steps", JSON.stringify(steps));
  }
}

/* Changes the row on display. Returns whether the change was accepted; text being typed is kept either way. */
const change = (path, body, message) => changing(async () => {
  const {row, step: made} = await call(path, body);
  rows.set(row.id, row);
  if (made) steps.push([made]);
  say(message);
});

/* Decides on one row after another, in batches; all of it is one step for undo. */
const changeAll = (ids, decision, note) => changing(async () => {
  const made = [];
  steps.push(made);
  try {
    for (let start = 0; start < ids.length; start += BATCH) {
      const part = ids.slice(start, start + BATCH);
      const said = {rows: Object.fromEntries(part.map((id) => [id, rows.get(id).base])), decision, note};
      const answer = await call("decide", said);
      takeUp(answer.rows);
      if (answer.step) made.push(answer.step);
      if (start + BATCH < ids.length) say(`${start + BATCH} of ${ids.length} grids…`);
    }
  } finally {
    if (!made.length) steps.splice(steps.indexOf(made), 1);
  }
});

/* Makes a change of any number of rows, which the server is asked about until it is made, and takes up the rows. */
async function carryOut(path, body) {
  let answer = {};
  while (!answer.done) answer = await call(path, body);
  if (answer.step) steps.push([answer.step]);  // also if the rows can't be had
  const grids = [...answer.rows.map((row) => row.id), ...answer.others];
  takeUp(answer.rows);
  for (let start = 0; start < answer.others.length; start += SOME) takeUp(await call("rows", {grids: answer.others.slice(start, start + SOME)}));
  return grids;
}

async function decide(decision, note) {
  if (view === "wall") return decideAll(meant(), decision, note);
  const id = current, next = nextWorst();
  const done = await change(`rows/${id}/decide`, {base: rows.get(id).base, decision, note}, `${id}: ${decision}`);
  go(done && current === id ? next ?? id : current);
  if (done && !next) say(`${id}: ${decision}. All rows in this filter are decided.`);
}

async function decideAll(ids, decision, note) {
  const alone = !selected.size, next = nextWorst();
  const done = await changeAll(ids, decision, note);
  if (done) selected.clear();
  const shown = visible();
  if (alone && next) current = next;
  else if (!shown.includes(current)) current = shown.find((id) => order.indexOf(id) > order.indexOf(current)) ?? shown[0] ?? null;
  go(current);
  if (done) say(`${ids.length === 1 ? ids[0] : `${ids.length} grids`}: ${decision}`);
}

function keep() {
  if (view === "grid" && drafts.has(current)) save("keep"); else decide("keep", null);
}

function startDrop() {
  const ids = view === "wall" ? meant() : [current];
  $("dropping-title").textContent = ids.length === 1 ? "Why do you drop this grid?" : `Why do you drop these ${ids.length} grids?`;
  $("reason").value = (ids.length === 1 && rows.get(ids[0]).note) || "";
  $("dropping").showModal();
  $("reason").select();
}

function drop(reason = $("reason").value.trim()) {
  if (!reason) return $("reason").focus();
  $("dropping").close();
  decide("drop", reason);
}

/* The number of a listed reason drops at once, unless it is typed within a reason. */
function reasoned(event) {
  const field = $("reason"), whole = field.selectionStart === 0 && field.selectionEnd === field.value.length;
  const reason = /^[1-9]$/.test(event.key) && whole ? REASONS[Number(event.key) - 1] : undefined;
  if (!reason) return;
  event.preventDefault();
  drop(reason);
}

/* Keeps the note that was typed; it decides nothing. */
async function saveNote() {
  const id = current, note = $("note").value.trim();
  if (!isWhole(id) || note === rows.get(id).note) return;
  if (await change(`rows/${id}/note`, {base: rows.get(id).base, note}, `${id}: note saved`)) return current === id && renderRow();
  $("note").value = rows.get(id).note;
}

function startEdit(text, panel = null) {
  if (text !== undefined || !drafts.has(current)) {
    drafts.set(current, text ?? (rows.get(current).text || run.skeleton));
    cutDraft(current);
  }
  render();
  if (cuts.has(current)) return enterPart(panel);
  $("text").focus();
  if (drafts.get(current) === run.skeleton) {
    const first = run.markers[0], opening = run.skeleton.indexOf(`, ${first}`);
    const place = opening > 0 ? opening : run.skeleton.indexOf(first) + first.length;
    return $("text").setSelectionRange(place, place);
  }
  let start = 0;
  for (const piece of rows.get(current).text === drafts.get(current) ? rows.get(current).pieces : []) {
    if (panel !== null && piece.panel === panel && piece.kind === "text") return $("text").setSelectionRange(start, start + piece.text.length);
    start += piece.text.length;
  }
}

/* Copies a caption of the captioner into the editor, with its people's looks. */
function take({text, people}) {
  describe(current, Object.fromEntries(people.map((person) => [person.name, person.looks])));
  startEdit(text);
}

function leaveEdit() {
  for (const each of [drafts, looks, said]) each.delete(current);
  clearTimeout(timer);
  light(null);
  render();
  $("edit").focus();
}

const draft = (id) => [drafts.get(id), looks.get(id), said.get(id)];

async function save(decision) {
  const id = current, row = rows.get(id), now = editing(id), saved = draft(id), target = decision ? nextWorst() : null;
  const done = await change(`rows/${id}/edit`, {base: row.base, ...now, decision: decision ?? null}, `${id}: text saved${decision ? `, ${decision}` : ""}`);
  if (!done) return renderBar(), isWhole(current) && renderOthers(rows.get(current));
  if (same(draft(id), saved)) for (const each of [drafts, looks, said]) each.delete(id);
  light(null);
  go(current === id && target ? target : current);
  if (!drafts.has(current)) $("edit").focus();
}

function pick(what, count, then) {
  picking = {what, count, then, panels: []};
  say(`${what}: choose ${count === 2 ? "two panels" : "a panel"} by number or with the mouse; Esc cancels.`);
  renderPicture();
}

function touch(panel) {
  if (!picking) return startEdit(undefined, panel);
  picking.panels = picking.panels.includes(panel) ? picking.panels.filter((each) => each !== panel) : [...picking.panels, panel];
  if (picking.panels.length < picking.count) return renderPicture();
  const {then, panels} = picking;
  stopPicking();
  say("");
  renderPicture();
  then(...panels);
}

async function swap(first, second) {
  const id = current;
  await change(`rows/${id}/swap`, {base: rows.get(id).base, first, second}, `${id}: panels ${first + 1} and ${second + 1} swapped, with their texts`);
  go(current);
}

function startSwap() {
  if (drafts.has(current)) return say("Save or cancel your edit first: a swap moves the texts too.", true);
  if (run.boxes.length === 2) swap(0, 1); else pick("Swap", 2, swap);
}

function startReplace() {
  if (drafts.has(current)) return say("Save or cancel your edit first: replacing the picture removes its text.", true);
  pick("Replace", 1, offer);
}

async function offer(panel) {
  const id = current;
  try {
    const offers = await call(`rows/${id}/offers/${panel}`);
    if (!offers.length) return say("There is no other picture in this panel's film or folder.", true);
    $("offering-title").textContent = `Another picture for panel ${panel + 1}`;
    $("offers").replaceChildren(...offers.map(({id: record, name, used}) => element("button", {"data-record": record, onclick: () => replace(id, panel, record)},
      element("img", {alt: name}), name, used ? element("div", {class: "soft"}, `also in ${used}`) : null)));
    $("offering").showModal();
    for (const button of $("offers").children) show(button.querySelector("img"), `records/${button.dataset.record}/picture`);
  } catch (error) {
    say(error.message, true);
  }
}

async function replace(id, panel, record) {
  $("offering").close();
  await change(`rows/${id}/replace`, {base: rows.get(id).base, panel, record}, `${id}: panel ${panel + 1} has a new picture; write its text`);
  go(current);
}

async function ask() {
  const id = current;
  if (proposals.get(id) === "asked") return;
  const before = proposals.get(id);
  proposals.set(id, "asked");
  renderOthers(rows.get(id));
  try {
    proposals.set(id, await call(`rows/${id}/ask`, {}));
    say(`${id}: the captioner's new text is shown below; nothing was changed`);
  } catch (error) {
    if (before) proposals.set(id, before); else proposals.delete(id);
    say(error.message, true);
  }
  if (isWhole(current)) renderOthers(rows.get(current));
}

/* Takes back this tab's last change, whatever number of rows it was about. */
async function undo() {
  if (busy || !steps.length) return;
  const numbers = steps.pop(), grids = [];
  await changing(async () => {
    while (numbers.length) {
      grids.push(...await carryOut("undo", {step: numbers.pop()}));
      if (numbers.length) say(`undone in ${grids.length} grids…`);
    }
  });
  if (numbers.length) steps.push(numbers);
  sessionStorage.setItem("steps", JSON.stringify(steps));
  go(grids.length ? grids[0] : current);
  if (grids.length && !numbers.length) say(grids.length > 1 ? `undone in ${grids.length} grids` : "undone");
}
