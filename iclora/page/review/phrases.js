/* ---- find and replace in all captions, after a look at what would change */

let preview = null;  // number of the search whose result is shown
let sightings = 0;   // how often a phrase was looked for, or another one typed

function startPhrase() {
  forget();
  $("phrasing").showModal();
  $("old").select();
}

function forget() {
  preview = null;
  sightings++;
  $("changes").replaceChildren();
  $("replace-all").disabled = true;
  $("replace-all").textContent = "Replace";
}

async function lookForPhrase() {
  const said = {old: $("old").value, new: $("new").value, inside_words: $("inside").checked};
  forget();
  const mine = sightings;
  $("phrase-status").textContent = "looking through the captions…";
  try {
    let answer = await call("replacements", said);
    while (mine === sightings) {
      $("changes").append(...answer.shown.map(({id, fields}) => element("li", {}, element("b", {}, id),
        ...fields.map(({name, pieces}) => element("div", {}, element("span", {class: "soft"}, `${name}: `), ...pieces.map(worded))))));
      const {number, done, looked, of, found} = answer, shown = $("changes").childElementCount;
      $("phrase-status").textContent = !done ? `${found} captions change among the first ${looked} of ${of}; looking through the others…`
        : shown < found ? `The first ${shown} of ${found} captions that change:`
        : `${found === 1 ? "1 caption changes" : `${found} captions change`}:`;
      if (done) return offerReplacing(number, found);
      answer = await call(`replacements/${number}?known=${shown}`);
    }
  } catch (error) {
    if (mine === sightings) $("phrase-status").textContent = error.message;
  }
}

function offerReplacing(number, found) {
  preview = number;
  $("replace-all").disabled = false;
  $("replace-all").textContent = `Replace in ${found}`;
  $("replace-all").focus();
}

const worded = ({kind, text}) => kind === "same" ? text : element(kind === "old" ? "del" : "ins", {}, text);

async function replacePhrase() {
  const search = preview;
  if (!search) return;
  $("phrase-status").textContent = "replacing…";
  const done = await changing(async () => {
    const grids = await carryOut("replace", {search});
    $("phrasing").close();
    say(`replaced in ${grids.length} captions; undo takes all of it back`);
  });
  if (!done) $("phrase-status").textContent = $("status").textContent;
  go(current);
}
