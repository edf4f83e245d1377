/* ---- several reviewers: who said what, and how far they agree */

const others = (count) => `${count} other reviewer${count === 1 ? "" : "s"}`;

/* What other reviewers did with a row, in a few words. */
const ofOthers = (row) => [row.filters.includes("disagree") && "reviewers disagree", row.waiting && `decided by ${others(row.waiting)}`]
  .filter(Boolean);

/* The reviewers' decisions on the row on display; those of others are sent once this reviewer has decided. */
function renderWords(row) {
  $("words").hidden = !row.waiting && !row.words.length;
  $("words").replaceChildren(
    row.waiting ? element("p", {class: "soft"}, `Decided by ${others(row.waiting)}; what they said is shown once you keep or drop this grid.`) : "",
    row.words.length ? element("ul", {"aria-label": "Decisions of the reviewers"}, ...row.words.map(({name, decision, note}) =>
      element("li", {}, element("b", {}, name), `: ${decision}`, note ? element("span", {class: "soft"}, `, ${note}`) : null))) : "",
    row.filters.includes("disagree") ? element("p", {class: "why"}, "Reviewers disagree on this grid.") : "");
}

function renderAgreement() {
  const {reviewer, agreement} = run.shared;
  $("agreement").hidden = !reviewer;
  $("agreement").textContent = `Reviewer: ${reviewer}.${agreement ? ` ${agreement}.` : ""}`;
}

/* Asks anew how far the reviewers agree, after a change. */
async function measureAgreement() {
  if (!run.shared.several) return;
  try {
    run.shared = await call("agreement");
    renderAgreement();
  } catch { /* the change was made; the next one asks again */ }
}
