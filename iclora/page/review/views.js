/* ---- the views: the wall of all grids, one grid at a time, and the pictures that were rejected */

let view = "wall";
let wallTop = 0;  // where the wall was scrolled to when one grid was opened

function render() {
  renderBar();
  const alone = view === "grid", onWall = view === "wall";
  if (onWall && !(current && matches(filter, current))) current = visible()[0] ?? null;
  document.body.dataset.view = view;
  $("all").hidden = !onWall || !current;
  $("one").hidden = !alone || !current;
  $("rejected").hidden = view !== "rejected";
  $("none").hidden = Boolean(current) || view === "rejected";
  $("strip").hidden = !alone;
  $("to-comparing").hidden = !run.evaluated;
  for (const name of ["wall", "grid", "rejected"]) $(`to-${name}`).setAttribute("aria-pressed", String(view === name));
  for (const each of document.querySelectorAll("footer [data-for]")) each.hidden = !each.dataset.for.split(" ").includes(view);
  if (onWall) renderWall();
  else if (alone) renderOne();
  else renderRejected();
}

function renderOne() {
  renderStrip(visible());
  for (const id of ["keep", "drop", "unsure", "edit", "swap", "replace", "ask", "zoom"]) $(id).disabled = !isWhole(current);
  $("one").classList.toggle("coming", Boolean(current) && !isWhole(current));
  if (!current) return;
  const id = current;
  if (!isWhole(id)) {
    look(id).then(() => { if (current === id) render(); }, (error) => say(error.message, true));
    return;
  }
  renderPicture();
  renderRow();
  const next = nextWorst();
  if (next) look(next)?.catch(() => {});  // it is asked for again when it is shown
}

function go(id) {
  stopPicking();
  if (id) current = id;
  render();
  if (view === "wall") reveal(current, false);
}

function step(by) {
  const list = order.filter((id) => id === current || matches(filter, id));
  go(list[(list.indexOf(current) + by + list.length) % list.length]);
}

function openGrid(id) {
  if (!id) return;
  if (view === "wall") wallTop = scrollY;
  view = "grid";
  current = id;
  render();
  scrollTo(0, 0);
  $("stage").focus({preventScroll: true});
}

function openWall() {
  if (view === "wall") return;
  stopPicking();
  view = "wall";
  render();
  scrollTo(0, wallTop);
  reveal(current);
}
