/* ---- what ties the panels, which of them do not belong, and who is in which: edited beside the text */

const said = new Map();       // id -> what is being said of a row's parts that differs from it: ties, strangers, shown, changes
let syncs = [];               // what brings each field up to date

const panelsOf = () => run.boxes.map((_, panel) => panel);
const partsOfRow = ({parts, people}) => ({...parts, changes: Object.fromEntries(people.map(({name, changes}) => [name, changes]))});
const saying = (row) => ({...partsOfRow(row), ...said.get(row.id)});

/* What is sent of it; only what differs from the row. */
function corrections(row) {
  const {changes, ...parts} = said.get(row.id) ?? {};
  if (parts.shown) parts.shown = parts.shown.map((people, panel) => same(people, row.parts.shown[panel]) ? null : people);
  return {...(changes && {changes}), ...(Object.keys(parts).length && {corrections: parts})};
}

function tell(change) {
  const row = rows.get(current), known = partsOfRow(row);
  const other = Object.entries({...saying(row), ...change}).filter(([name, value]) => !same(value, known[name]));
  if (other.length) said.set(row.id, Object.fromEntries(other)); else said.delete(row.id);
  renderTies(row);
  soon();
}

/* The fields stay as long as the people and the number of ties are the same, so that none disappears while in use. */
function renderTies(row) {
  $("tying").hidden = !row.parts;
  if (!row.parts) return;
  const now = saying(row), of = JSON.stringify([row.id, row.people.map(({name}) => name), now.ties.length]);
  if ($("ties").dataset.of !== of) {
    $("ties").dataset.of = of;
    syncs = [];
    $("ties").replaceChildren(...(row.people.length ? [group("Who is in which panel", ...row.people.map(personFields))] : []),
      ...(run.boxes.length > 1 ? [tieFields(now.ties.length), group("Panels that do not belong", strangerFields())] : []));
  }
  for (const sync of syncs) sync(now);
}

const group = (title, ...children) => element("fieldset", {}, element("legend", {}, title), ...children);

/* A checkbox. Its name for those who don't see where it stands begins with what is written beside it. */
function tick(written, name, get, set, of = {}) {
  const box = element("input", {type: "checkbox", "aria-label": name, onchange: ({target}) => set(target.checked)});
  syncs.push((now) => { box.checked = get(now); });
  return element("label", of, box, written);
}

/* A checkbox for each panel, which lights up while one is at it. */
const ticks = (name, get, set) => element("div", {class: "ticks"}, ...panelsOf().map((panel) => {
  const made = tick(`Panel ${panel + 1}`, `Panel ${panel + 1}: ${name}`, (now) => get(now, panel), (on) => set(on, panel));
  made.addEventListener("focusin", () => light(panel, false));
  made.addEventListener("focusout", () => light(null));
  return made;
}));

function entry(name, get, set, isShown = () => true) {
  const field = element("input", {autocomplete: "off", spellcheck: "true", oninput: ({target}) => set(target.value)});
  const made = element("label", {class: "entry"}, element("span", {}, name), field);
  syncs.push((now) => {
    made.hidden = !isShown(now);
    if (field.value !== get(now)) field.value = get(now);
  });
  return made;
}

/* ---- who is in which panel */

const seen = (now, panel, name) => now.shown[panel].find((one) => one.name === name);

function personFields({name}) {
  const looksIn = (panel) => entry(`Looks of ${name} in panel ${panel + 1}`, (now) => seen(now, panel, name)?.looks ?? "",
    (looks) => tell({shown: withLooks(panel, name, looks)}), (now) => Boolean(now.changes[name] && seen(now, panel, name)));
  return element("div", {class: "who"}, element("b", {}, name),
    ticks(name, (now, panel) => Boolean(seen(now, panel, name)), (on, panel) => tell({shown: withPerson(panel, name, on)})),
    entry(`What about ${name} changes`, (now) => now.changes[name], (text) => tell({changes: {...saying(rows.get(current)).changes, [name]: text}})),
    ...panelsOf().map(looksIn));
}

const inPanel = (panel, people) => saying(rows.get(current)).shown.map((known, place) => place === panel ? people : known);

/* Who is in the panels if somebody is, or is not, in one of them. */
function withPerson(panel, name, on) {
  const row = rows.get(current), now = saying(row), there = (each) => each === name ? on : Boolean(seen(now, panel, each));
  return inPanel(panel, row.people.filter((each) => there(each.name))
    .map((each) => seen(now, panel, each.name) ?? seen(row.parts, panel, each.name) ?? {name: each.name, looks: ""}));
}

const withLooks = (panel, name, looks) => inPanel(panel, saying(rows.get(current)).shown[panel].map((one) => one.name === name ? {name, looks} : one));

/* ---- ties and strangers */

const sortedPanels = (panels, panel, on) => panelsOf().filter((each) => each === panel ? on : panels.includes(each));
const nowTies = () => saying(rows.get(current)).ties;
const tellTie = (place, change) => tell({ties: nowTies().map((tie, each) => each === place ? {...tie, ...change} : tie)});

function tieFields(count) {
  const all = Array.from({length: count}, (_, place) => element("div", {class: "tie"},
    entry(`Tie ${place + 1}`, (now) => now.ties[place].what, (what) => tellTie(place, {what})),
    ticks(`tie ${place + 1}`, (now, panel) => now.ties[place].panels.includes(panel),
      (on, panel) => tellTie(place, {panels: sortedPanels(nowTies()[place].panels, panel, on)})),
    element("button", {"aria-label": `Remove tie ${place + 1}`, onclick: () => removeTie(place)}, "Remove")));
  return group("What ties the panels", ...all, element("button", {id: "add-tie", onclick: addTie}, "Add a tie"));
}

function addTie() {
  tell({ties: [...nowTies(), {what: "", panels: panelsOf()}]});
  [...$("ties").querySelectorAll(".tie")].at(-1).querySelector("input").focus();
}

function removeTie(place) {
  tell({ties: nowTies().filter((_, each) => each !== place)});
  $("add-tie").focus();
}

function strangerFields() {
  const all = panelsOf(), nothing = tick("Nothing ties these panels", "Nothing ties these panels",
    (now) => now.strangers.length === all.length, (on) => tell({strangers: on ? all : []}));
  return element("div", {}, ticks("does not belong", (now, panel) => now.strangers.includes(panel),
    (on, panel) => tell({strangers: sortedPanels(saying(rows.get(current)).strangers, panel, on)})), nothing);
}
