/* ---- scores, and what a text would get */

const PAUSE = 250;            // milliseconds after the last key press until a text is checked
const live = new Map();       // picture, text and looks -> scores, or the error that prevented them
const proposals = new Map();  // id -> what the captioner wrote when asked again
const scoreKey = (row, now) => JSON.stringify([row.picture, now]);

function renderScores(row, now) {
  const fresh = unchanged(row, now) && row.scores.length ? row.scores : live.get(scoreKey(row, now));
  if (fresh === undefined) {
    $("scores").classList.add("waiting");
    if (!$("scores").childElementCount || unchanged(row, now)) $("scores").replaceChildren(element("p", {class: "soft"}, "scoring…"));
    wantScores(row, now);
    return;
  }
  $("scores").classList.remove("waiting");
  if (fresh.error) {
    $("scores").replaceChildren(element("p", {class: "soft"}, `No scores: ${fresh.error}`));
  } else if (!fresh.length) {
    $("scores").replaceChildren(element("p", {class: "soft"}, "This text has no scores."));
  } else {
    const failed = fresh.filter((score) => !score.passed).map((score) => score.reason);
    const why = failed.length ? failed : unchanged(row, now) ? row.reasons : [];
    $("scores").replaceChildren(...fresh.map(scoreBar),
      why.length ? element("ul", {class: "why"}, ...why.map((reason) => element("li", {}, reason))) : "");
  }
}

/* One score as a dot on the scale of all scores of its kind in the run. The side of the limit that is right is shaded. */
function scoreBar(score) {
  const scale = run.scales[score.name.replace(/[ \d]+$/, "")] ?? [];
  const values = [...scale, score.value, score.threshold].filter((value) => value !== null);
  const least = Math.min(...values), most = Math.max(...values), room = (most - least || 1) * 0.08;
  const at = (value) => Math.max(0, Math.min(100, 100 * (value - least + room) / (most - least + 2 * room)));
  const {value, threshold: limit, ceiling, passed} = score, track = element("div", {class: "track"});
  if (limit !== null) {
    const right = element("div", {class: "right"}), line = element("div", {class: "limit"});
    right.style[ceiling ? "right" : "left"] = `${ceiling ? 100 - at(limit) : at(limit)}%`;
    line.style.left = `${at(limit)}%`;
    track.append(right, line);
  }
  if (value !== null) {
    const dot = element("div", {class: "dot"});
    dot.style.left = `${at(value)}%`;
    track.append(dot);
  }
  const sign = ceiling ? (passed ? "≤" : ">") : (passed ? "≥" : "<");
  const told = [value === null ? "-" : value.toFixed(4), ...(limit === null ? [] : [sign, limit.toFixed(4)])].join(" ");
  return element("div", {class: `score${passed ? "" : " bad"}`, title: score.reason, "data-score": score.name},
    element("span", {}, score.name), track, element("output", {}, told));
}

function renderOthers(row) {
  const shown = [];
  const other = (title, caption, id) => {
    const words = caption.pieces.map((piece) => piece.kind === "new" ? element("mark", {}, piece.text) : piece.text);
    shown.push(element("h2", {}, title), element("div", {class: "other", id}, element("div", {}, ...words),
      caption.problems?.length ? element("ul", {class: "why"}, ...caption.problems.map((problem) => element("li", {}, problem))) : null,
      element("div", {class: "row"}, element("button", {onclick: () => take(caption)}, "Copy to the editor"))));
  };
  const proposal = proposals.get(row.id);
  if (proposal === "asked") shown.push(element("h2", {}, "Asked again"), element("p", {class: "soft"}, "waiting for the captioner…"));
  else if (proposal) other("Asked again: the captioner's new text", proposal, "proposal");
  if (row.machine) other("The captioner's text", row.machine, "machine");
  $("others").replaceChildren(...shown);
  $("ask").disabled = proposal === "asked";
}

/* ---- checks and scores while typing */

let timer = 0, checking = 0;

function soon() {
  clearTimeout(timer);
  timer = setTimeout(check, PAUSE);
}

function typed() {
  drafts.set(current, $("text").value);
  soon();
}

/* Checks text and looks while they are typed. If looks were changed, the caption is rendered again and shown as it will be saved. */
async function check() {
  const row = rows.get(current), mine = ++checking;
  if (!drafts.has(current)) return;
  const now = editing(current), isStill = () => mine === checking && current === row.id && drafts.has(row.id) && same(editing(row.id), now);
  try {
    const checked = await call(`rows/${row.id}/check`, now);
    if (!isStill()) return;
    renderText(checked);
    if (checked.text === now.text) caret(checked.pieces);
    renderScores(row, now);
  } catch (error) {
    if (isStill()) renderProblems([error.message]);
  }
}

let scoring = false, wanted = null;

async function wantScores(row, now) {
  wanted = {row, now};
  if (scoring) return;  // the latest text is scored when the one in progress is done
  scoring = true;
  while (wanted) {
    const {row: of, now: asked} = wanted;
    wanted = null;
    try {
      live.set(scoreKey(of, asked), await call(`rows/${of.id}/score`, asked));
    } catch (error) {
      live.set(scoreKey(of, asked), {error: error.message});
    }
    if (current === of.id && same(editing(current), asked)) renderScores(rows.get(current), asked);
  }
  scoring = false;
}

/* Highlights the panel whose text contains the caret. */
function caret(pieces) {
  let reached = 0, panel = null;
  for (const piece of pieces) {
    if (reached <= $("text").selectionStart) panel = piece.panel;
    reached += piece.text.length;
  }
  if (document.activeElement === $("text")) light(panel, false);
  else if ($("parts").contains(document.activeElement)) lightPart(document.activeElement);
}

