/* ---- keys and buttons */

const next = () => { const id = nextWorst(); if (id) go(id); else say("There are no other undecided rows in this filter."); };
/* By action: what it does, what is said of it, and where it works: w on the wall, g with one grid. */
const ACTIONS = {
  keep: [keep, "keep, and go to the next undecided grid", "wg"],
  drop: [startDrop, "drop; then a number for a listed reason, or your own words", "wg"],
  unsure: [() => decide("unsure", null), "unsure: to be looked at again", "wg"],
  edit: [() => startEdit(), "edit the caption and people's looks; clicking a panel selects its text", "g"],
  note: [() => $("note").focus(), "write a note", "g"],
  swap: [startSwap, "swap two panels together with their texts", "g"],
  replace: [startReplace, "replace a panel with another picture from the same film or folder; you then write its text", "g"],
  ask: [ask, "ask the captioner again; its new text is shown next to the current one and does not replace it", "g"],
  zoom: [startZoom, "look at a panel's own picture; arrows lead to the others", "g"],
  undo: [undo, "undo the last change made in this tab", "wgn"],
  next: [next, "go to the next undecided grid", "wgn"],
  phrase: [startPhrase, "find and replace in all captions", "wgn"],
  search: [() => $("search").focus(), "search captions, notes and ids", "wgn"],
  help: [startHelp, "keyboard shortcuts", "wgn"],
};
const FIXED = [["Enter", "open the current grid of the wall"], ["Esc", "back to the wall, at the same place; or end what is under way"],
  ["← → ↑ ↓", "on the wall, go to another grid (also Home, End, Page up, Page down); ← and → with one grid and among rejected pictures"],
  ["Space", "select the current grid, or take it out of the selection"], ["Shift ← → ↑ ↓", "select a range"],
  ["Ctrl A", "select all grids of the filter"], ["1 to 9", "choose a panel or a reason when asked for one"],
  ["C", "while looking at a panel's picture, choose what the panel shows of it: arrows shift (with Shift, far), + and − resize, Enter applies"],
  ["Ctrl Enter", "save an edit; with Shift, save and keep"]];

function renderKeys() {
  for (const each of document.querySelectorAll("kbd[data-key]")) each.textContent = run.keys[each.dataset.key].toUpperCase();
  $("keys").replaceChildren(...Object.entries(ACTIONS).map(([name, [, told]]) => element("label", {},
    element("input", {name, maxlength: 1, value: run.keys[name], autocomplete: "off", spellcheck: "false"}), told)));
  $("fixed").replaceChildren(...FIXED.flatMap(([key, told]) => [element("dt", {}, element("kbd", {}, key)), element("dd", {}, told)]));
}

function startHelp() {
  renderKeys();
  $("keys-status").textContent = "";
  $("helping").showModal();
  $("close-help").focus();
}

async function saveKeys(keys) {
  try {
    run.keys = await call("keys", {keys});
    renderKeys();
    $("keys-status").textContent = "The keys are kept in the run's folder.";
  } catch (error) {
    $("keys-status").textContent = error.message;
  }
}

/* Keys of the caption's editor, and of the other fields, in which characters are typed and no commands. */
function inField(event) {
  if (event.target.matches("#editor textarea")) {
    if (event.key === "Escape") leaveEdit();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); save(event.shiftKey ? "keep" : undefined); }
  } else if (event.target === $("note") && (event.key === "Escape" || event.key === "Enter")) {
    if (event.key === "Escape") $("note").value = rows.get(current).note;
    $("stage").focus({preventScroll: true});  // which saves the note
  } else if (event.target === $("search") && (event.key === "Escape" || event.key === "Enter")) {
    event.preventDefault();
    if (event.key === "Escape") $("search").value = "";
    search($("search").value).then(() => view === "wall" ? reveal(current) : $("stage").focus());
  }
}

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select")) return inField(event);
  if (document.querySelector("dialog[open]")) return inDialog(event);
  if (view === "rejected") return amongRejected(event);
  const onWall = view === "wall" && (event.target.closest("#wall") || event.target === document.body);
  if (onWall && current && !event.altKey) {
    if ((event.ctrlKey || event.metaKey) && event.key === "a") { event.preventDefault(); return selectAll(); }
    if (walked(event)) return event.preventDefault();
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (view === "grid" && alone(event)) return event.preventDefault();
  const name = Object.keys(run?.keys ?? {}).find((each) => run.keys[each] === event.key.toLowerCase());
  if (!name || event.repeat) return;  // holding a key down decides one row, not all
  const [action, , where] = ACTIONS[name];
  const here = !current ? "n" : view === "wall" ? "w" : isWhole(current) ? "g" : "n";
  if (!where.includes(here)) return;
  event.preventDefault();
  action();
});

/* A key pressed with one grid on display. Returns whether it was one of those that can't be chosen. */
function alone(event) {
  if (event.key === "Escape") {
    if (!picking) return openWall(), true;
    stopPicking();
    say("");
    renderPicture();
  } else if (picking && /^[1-9]$/.test(event.key) && Number(event.key) <= run.boxes.length) {
    touch(Number(event.key) - 1);
  } else if (current && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
    step(event.key === "ArrowLeft" ? -1 : 1);
  } else {
    return false;
  }
  return true;
}

function inDialog(event) {
  if (!$("zooming").open) return;
  if (cropping) return void (croppingKey(event) && event.preventDefault());
  if (event.key.toLowerCase() === "c" && !event.ctrlKey && !event.metaKey && !event.altKey) return startCrop();
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") { event.preventDefault(); zoomOn(event.key === "ArrowLeft" ? -1 : 1); }
}
