/* ---- start */

const BUTTONS = {...Object.fromEntries(Object.entries(ACTIONS).map(([name, [action]]) => [name, action])),
  "to-wall": openWall, "to-grid": () => openGrid(current), "to-rejected": openRejected, back: openWall, open: () => openGrid(current), "select-all": selectAll,
  skip: () => view === "wall" ? reveal(current) : $(view === "grid" ? "stage" : "of-reason").focus(),
  save: () => save(), "save-keep": () => save("keep"), leave: leaveEdit, "as-one": toggleParts, "before-panel": () => zoomOn(-1), "next-panel": () => zoomOn(1), "full-size": resize};
delete BUTTONS.search;
delete BUTTONS.note;
for (const [id, action] of Object.entries(BUTTONS)) $(id).addEventListener("click", () => action());
$("reasons").append(...REASONS.map((reason, number) => element("button", {type: "button", onclick: () => drop(reason)}, reason, element("kbd", {}, String(number + 1)))));
for (const [id, sent] of Object.entries({dropping: () => drop(), phrasing: () => lookForPhrase()})) {
  $(id).querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); sent(); });
}
$("reason").addEventListener("keydown", reasoned);
$("replace-all").addEventListener("click", replacePhrase);
for (const id of ["old", "new", "inside"]) $(id).addEventListener("input", forget);
$("strip").addEventListener("click", ({target: {dataset}}) => { if (dataset.id) go(dataset.id); });
$("wall").addEventListener("click", clicked);
$("wall").addEventListener("dblclick", (event) => { const cell = event.target.closest("[role=gridcell]"); if (cell) openGrid(cell.dataset.id); });
$("wall").addEventListener("focusin", ({target: {dataset}}) => { if (dataset.id && dataset.id !== current) { current = dataset.id; renderWall(); } });
$("sort").addEventListener("change", () => sortBy($("sort").value));
$("search").addEventListener("input", () => { clearTimeout(sought); sought = setTimeout(() => search($("search").value), PAUSE); });
$("note").addEventListener("change", saveNote);
$("text").addEventListener("input", typed);
for (const name of ["keyup", "click"]) $("text").addEventListener(name, soon);
$("text").addEventListener("blur", () => light(null));
window.addEventListener("beforeunload", (event) => { if (drafts.size) event.preventDefault(); });
let drawn = 0;
for (const name of ["scroll", "resize"]) window.addEventListener(name, () => {
  cancelAnimationFrame(drawn);
  drawn = requestAnimationFrame(() => { if (run && view === "wall") name === "scroll" ? renderLines() : renderWall(); });
});

/* Another tab may have changed rows, so they are read again when this one gets the focus. */
window.addEventListener("focus", async () => {
  if (busy || !run) return;
  try { await load(); render(); followChecks(); } catch (error) { say(error.message, true); }
});

begin(async (grid) => {
  say("reading the run…");
  await load();
  await loadKeys();
  say("");
  renderSorts();
  choose(filter);
  if (rows.has(grid)) openGrid(grid);
  else if (view === "wall" && document.activeElement === document.body) reveal(current);
  followChecks();
});
