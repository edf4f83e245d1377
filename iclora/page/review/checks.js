/* ---- checks of captions that people have edited, which the server makes when it has nothing else to do */

const CHECK_PAUSE = 300;  // ms between two questions how far they are
let isFollowing = false;

const isUnchecked = (row) => row.filters.includes("unchecked");

/* Takes up what the checks find, until all captions are checked. The rows stay where they are. */
async function followChecks() {
  if (isFollowing || ![...rows.values()].some(isUnchecked)) return;
  isFollowing = true;
  let news = false;
  try {
    for (let done = false; !done;) {
      const taken = takings, found = await call(`checked/${run.doubted}`);
      news ||= found.rows.length > 0;
      run.doubted = found.doubted;
      run.left = found.left;
      for (const row of found.rows) takeUpCheck(row);
      done = !found.left && !found.rows.length && taken === takings;  // else some of the rows may have been changed since
      if (!done) await new Promise((later) => setTimeout(later, CHECK_PAUSE));
      if (found.rows.length || !done) renderBar();
    }
    for (const row of rows.values()) row.filters = row.filters.filter((name) => name !== "unchecked");
    if (news) await sortedAnew();
    else if (run.shared.several) await load();  // instead of a decision that is hidden, the toolkit's is shown
    if (view === "wall") render(); else renderBar();  // a text may be being typed
  } catch (error) {
    say(error.message, true);
  } finally {
    isFollowing = false;
  }
}

/* A row that has not been changed since keeps what is known of it. */
function takeUpCheck(row) {
  const known = rows.get(row.id);
  rows.set(row.id, known?.base === row.base ? {...known, ...row} : row);
}

/* Has the order by risk as it is now ready for whoever sorts by it. */
async function sortedAnew() {
  risk = [];
  await load();
  if (sorting === "risk") sorting = "";
  renderSorts();
  if (!$("status").textContent) say("all captions are checked, and some have problems; sort the riskiest first to see where");
}
