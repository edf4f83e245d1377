/* ---- the pictures that were rejected before any grid was made */

const TAKEN_IN = "taken in";  // the filter of those that a person has taken in
const shownOf = {reason: "", start: 0, taken: 0};

function openRejected() {
  if (view === "rejected") return;
  stopPicking();
  if (view === "wall") wallTop = scrollY;
  view = "rejected";
  render();
  scrollTo(0, 0);
}

/* The view as it is now; what has the focus keeps it. */
async function renderRejected() {
  const {reason, start} = shownOf;
  try {
    const found = await call(`rejected?${new URLSearchParams({reason, start})}`);
    if (view !== "rejected" || reason !== shownOf.reason || start !== shownOf.start) return;
    if ((reason || start) && !found.rows.length && reason !== TAKEN_IN) return turnTo("", 0);  // the run has run again
    $("of-reason").replaceChildren(...[["", `all (${found.all})`], ...found.reasons.map(([name, count]) => [name, `${name} (${count})`]),
      [TAKEN_IN, TAKEN_IN]].map(([value, told]) => element("option", {value, selected: value === reason}, told)));
    shownOf.taken = found.taken;
    renderTaken();
    refill($("rejects"), found.rows.map((row) => rejectOf(row)), (focused) => `[data-of="${CSS.escape(focused.dataset.of)}"]`);
    const last = Math.min(found.total, start + found.each);
    $("rejects-command").textContent = found.command;
    const none = reason ? "Nobody has taken in a picture." : "No picture was rejected.";
    $("rejects-of").textContent = found.total ? `${start + 1} to ${last} of ${found.total}` : none;
    for (const [id, to, ends] of [["fewer", start - found.each, !start], ["more", start + found.each, last >= found.total]]) {
      if (ends && document.activeElement === $(id)) $("of-reason").focus();
      $(id).disabled = ends;
      $(id).dataset.to = to;
    }
    for (const item of $("rejects").children) if (item.dataset.picture) show(item.querySelector("img"), item.dataset.picture);
  } catch (error) {
    say(error.message, true);
  }
}

function renderTaken() {
  $("of-reason").querySelector(`[value="${TAKEN_IN}"]`).textContent = `${TAKEN_IN} (${shownOf.taken})`;
}

function rejectOf(row) {
  const {stage, id, name, reason, detail, can, taken, waits} = row;
  const path = row.picture && `rejected/${stage}/${encodeURIComponent(id)}/picture`;
  const item = element("li", {"data-picture": path || null}, element("div", {class: "thumb"}, path ? element("img", {alt: ""}) : null),
    element("b", {}, name), element("p", {}, element("b", {}, reason), ` ${detail}`));
  if (!can) return item;
  const told = taken && waits ? "Will be taken in by the next run" : taken ? "Is among the pictures of the run" : waits ? "" : "Will be left out by the next run";
  item.append(element("p", {class: "soft"}, told), element("button", {"data-of": `${stage} ${id}`, "aria-label": `${taken ? "Take back" : "Take in"} ${name}`,
    onclick: () => takeIn(item, row)}, taken ? "Take back" : "Take in"));
  return item;
}

/* What is said of a picture is kept at once; it takes effect when the stages run again. */
const takeIn = (item, {stage, id, name, taken}) => changing(async () => {
  const made = rejectOf(await call("rejected", {stage, id, wanted: !taken}));
  const image = item.querySelector("img");
  if (image) made.querySelector("img").replaceWith(image);
  item.replaceWith(made);
  made.querySelector("button").focus();
  shownOf.taken += taken ? -1 : 1;
  renderTaken();
  say(`${name}: ${taken ? "taken back" : TAKEN_IN}; it counts when you type: ${$("rejects-command").textContent}`);
});

function turnTo(reason, start) {
  Object.assign(shownOf, {reason, start: Math.max(0, start)});
  renderRejected();
  scrollTo(0, 0);
}

$("of-reason").addEventListener("change", () => turnTo($("of-reason").value, 0));
for (const id of ["fewer", "more"]) $(id).addEventListener("click", () => turnTo(shownOf.reason, Number($(id).dataset.to)));

/* A key pressed among the rejected pictures: what the buttons below do. */
function amongRejected(event) {
  const button = {Escape: "back", ArrowLeft: "fewer", ArrowRight: "more"}[event.key];
  if (!button || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  event.preventDefault();
  $(button).click();
}
