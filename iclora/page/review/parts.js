/* ---- a caption edited by its parts: the summary, and each panel's text. What is sent and kept is the whole text. */

let asOne = false;            // whether captions are edited as one text that could be edited by their parts
const cuts = new Map();       // id -> parts of the text being edited, if it is edited by them
const EDGES = "[\\s,;:.–—]*";  // what joins parts, as in the grammar
const PART = new RegExp(`^(${EDGES})(.*?)(${EDGES})$`, "s");

/* The text cut at its prefix and markers; null if it lacks a marker. Joined, the parts give the text again. */
function partsOf(text) {
  const marks = [{panel: null, marker: run.prefix && text.startsWith(run.prefix) ? run.prefix : "", start: 0}];
  for (const [panel, marker] of run.markers.entries()) {
    const {start: before, marker: last} = marks.at(-1), start = text.indexOf(marker, before + last.length);
    if (start < 0) return null;
    marks.push({panel, marker, start});
  }
  return marks.map(({panel, marker, start}, place) => {
    const found = text.slice(start + marker.length, marks[place + 1]?.start), [, lead, words, tail] = PART.exec(found);
    if (words) return {panel, marker, lead, words, tail, bare: panel === null ? lead : tail};
    return {panel, marker, lead: marker && " ", words, tail: panel === null ? ", " : found, bare: found};
  });
}

/* Punctuation that was typed at the ends of a part is left out, as the parts are joined by their own. */
const joined = (parts) => parts.map(({marker, lead, words, tail, bare}) => {
  const said = PART.exec(words)[2];
  return marker + (said ? lead + said + tail : bare);
}).join("");

/* Cuts the text being edited, unless it is to be edited as one. */
function cutDraft(id) {
  const parts = asOne ? null : partsOf(drafts.get(id));
  if (parts) cuts.set(id, parts); else cuts.delete(id);
}

/* The fields for what is being edited; they are kept while the grid stays the same, so that none disappears while in use. */
function renderEditor(id) {
  const draft = drafts.get(id), parts = draft === undefined ? undefined : cuts.get(id), fields = $("parts");
  $("editor").hidden = draft === undefined;
  $("text").hidden = Boolean(parts);
  fields.hidden = !parts;
  $("as-one").setAttribute("aria-pressed", String(!parts));
  if (draft !== undefined && $("text").value !== draft) $("text").value = draft;
  const of = parts ? id : "";
  if (fields.dataset.of !== of) fields.replaceChildren(...(parts ?? []).map(partField));
  fields.dataset.of = of;
  for (const [place, field] of [...fields.querySelectorAll("textarea")].entries()) {
    if (field.value !== parts[place].words) field.value = parts[place].words;
  }
}

function partField({panel}, place) {
  const of = panel === null ? {} : {hue: hue(panel), "data-panel": panel};
  const named = panel === null ? ["Summary"] : [`Panel ${panel + 1} `, element("b", {}, run.markers[panel])];
  return element("label", {class: "part", ...of}, element("span", {}, ...named), element("textarea", {rows: 1, spellcheck: "true",
    oninput: ({target}) => wrote(place, target.value), onfocus: ({target}) => lightPart(target), onblur: () => light(null)}));
}

function lightPart(field) {
  const {panel} = field.closest("label").dataset;
  light(panel === undefined ? null : Number(panel), false);
}

function wrote(place, words) {
  const parts = cuts.get(current);
  parts[place].words = words;
  drafts.set(current, joined(parts));
  soon();
}

/* The field of a panel's text, or of the summary. */
const partOf = (panel) => $("parts").querySelector(panel === null ? "textarea" : `[data-panel="${panel}"] textarea`);

/* A panel's text is selected, to be replaced; behind the summary, one goes on writing. */
function enterPart(panel) {
  const field = partOf(panel);
  field.focus();
  if (panel === null) field.setSelectionRange(field.value.length, field.value.length); else field.select();
}

/* Between one text and its parts; what has been typed stays. */
function toggleParts() {
  asOne = cuts.has(current);
  cutDraft(current);
  renderEditor(current);
  if (!asOne && !cuts.has(current)) say(`The text lacks one of ${run.markers.join(" ")}, which tell its parts apart.`, true);
  if (cuts.has(current)) enterPart(null); else $("text").focus();
}
