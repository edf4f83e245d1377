"use strict";
const $ = (id) => document.getElementById(id);
const grids = [...document.querySelectorAll(".grids")], cards = [...document.querySelectorAll("article")];

/* A card's place in an order: by risk or by a score, the worst first; cards without that score come last. */
function place(card, order) {
  if (order === "risk") return Number(card.dataset.risk);
  const value = card.dataset.scores.split(" ")[Number(order)];
  return value === "" || value === undefined ? Infinity : Number(value);
}

function sort() {
  const order = $("order").value;
  for (const grid of grids) {
    const own = [...grid.children];
    own.sort(order === "name" ? (a, b) => a.id.localeCompare(b.id, "en", {numeric: true}) : (a, b) => place(a, order) - place(b, order) || a.dataset.risk - b.dataset.risk);
    grid.append(...own);
  }
}

function filter() {
  const kind = $("kind").value, words = $("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const card of cards) {
    const text = card.textContent.toLowerCase(), kinds = card.dataset.kinds.split(" ");
    card.hidden = !((kind === "all" || kinds.includes(kind)) && words.every((word) => text.includes(word)));
    shown += !card.hidden;
  }
  const narrowed = kind !== "all" || words.length > 0;
  for (const section of document.querySelectorAll("[data-grids]")) {
    const some = Boolean(section.querySelector("article:not([hidden])"));
    section.hidden = narrowed && !some;
    if (section.tagName === "DETAILS" && narrowed && some) section.open = true;
  }
  $("shown").textContent = `${shown.toLocaleString("en-US")} of ${cards.length.toLocaleString("en-US")} grids shown`;
}

$("order").addEventListener("change", sort);
for (const id of ["kind", "words"]) $(id).addEventListener("input", filter);
$("tools").hidden = !cards.length;
/* What gets the focus stays clear of the tools, which stay in their place. */
new ResizeObserver(() => { document.documentElement.style.scrollPaddingTop = `${$("tools").offsetHeight + 6}px`; }).observe($("tools"));
/* A browser may bring back what was chosen before a reload. */
sort();
filter();
