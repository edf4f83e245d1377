/* ---- keys and buttons */

const next = () => { const id = nextWorst(); if (id) go(id); else say("There are no other undecided rows in this filter."); };
/* By action: what it does, what is said of it, and where it works: on the wall (w), with one grid (g), without any (n), while a
   panel's picture is looked at (z), and while its crop is chosen (c). */
const ACTIONS = {
  keep: [keep, "keep, and go to the next undecided grid", "wg"],
  drop: [startDrop, "drop; then a number for a listed reason, or your own words", "wg"],
  unsure: [() => decide("unsure", null), "unsure: to be looked at again", "wg"],
  edit: [() => startEdit(), "edit the caption, people's looks, who is in which panel and what ties them; clicking a panel selects its text", "g"],
  note: [() => $("note").focus(), "write a note", "g"],
  swap: [startSwap, "swap two panels together with their texts", "g"],
  replace: [startReplace, "replace a panel with another picture from the same film or folder; you then write its text", "g"],
  ask: [ask, "ask the captioner again; its new text is shown next to the current one and does not replace it", "g"],
  zoom: [startZoom, "look at a panel's own picture; arrows lead to the others", "g"],
  crop: [startCrop, "while looking at a panel's picture, choose what the panel shows of it", "z"],
  larger: [() => growCrop(GROW), "make the crop larger", "c"],
  smaller: [() => growCrop(-GROW), "make the crop smaller", "c"],
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
  ["← → ↑ ↓", "shift a crop (with Shift, far); Enter applies it; while looking at a panel's picture, ← and → lead to the others"],
  ["Ctrl Enter", "save an edit; with Shift, save and keep"]];

/* Keys of the caption's editor, and of the other fields, in which characters are typed and no commands. */
function inField(event) {
  if (event.target.matches("#editor textarea, #editor input")) {
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
  if (document.querySelector("dialog[open]:not(#zooming)")) return;
  if (view === "rejected") return amongRejected(event);
  if (walking(event)) return event.preventDefault();
  const [action, , where] = ACTIONS[keyed(event)] ?? [];
  if (!action || !where.includes(here()) || (event.repeat && here() !== "c")) return;  // holding a key down decides one row, not all
  event.preventDefault();
  action();
});

/* Where a key is pressed, in the letters of ACTIONS. */
function here() {
  if ($("zooming").open) return cropping ? "c" : "z";
  return !current ? "n" : view === "wall" ? "w" : isWhole(current) ? "g" : "n";
}

/* Keys that can't be chosen. Each gives whether the key was one of them. */
function walking(event) {
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if ($("zooming").open) return plain && (cropping ? croppingKey(event) : looking(event));
  if (view === "grid") return plain && alone(event);
  if (!current || event.altKey || !(event.target.closest("#wall") || event.target === document.body)) return false;
  if ((event.ctrlKey || event.metaKey) && event.key === "a") return selectAll(), true;
  return walked(event);
}

/* With one grid on display. */
function alone(event) {
  if (event.key === "Escape") {
    if (!picking) return openWall(), true;
    stopPicking();
    say("");
    renderPicture();
  } else if (keyboard.on && picking && /^[1-9]$/.test(event.key) && Number(event.key) <= run.boxes.length) {
    touch(Number(event.key) - 1);
  } else if (current && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
    step(event.key === "ArrowLeft" ? -1 : 1);
  } else {
    return false;
  }
  return true;
}

/* While a panel's picture is looked at. */
function looking(event) {
  const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (by) zoomOn(by);
  return Boolean(by);
}
