/* ---- find and replace in all captions, after a look at what would change */

let preview = null;  // what was looked for, and the grids that change

function startPhrase() {
  forget();
  $("phrasing").showModal();
  $("old").select();
}

function forget() {
  preview = null;
  $("changes").replaceChildren();
  $("replace-all").disabled = true;
  $("replace-all").textContent = "Replace";
}

async function lookForPhrase() {
  const said = {old: $("old").value, new: $("new").value, inside_words: $("inside").checked};
  forget();
  $("phrase-status").textContent = "looking through the captions…";
  try {
    const {grids, shown} = await call("replacements", said);
    preview = {...said, grids};
    $("changes").replaceChildren(...shown.map(({id, fields}) => element("li", {}, element("b", {}, id),
      ...fields.map(({name, pieces}) => element("div", {}, element("span", {class: "soft"}, `${name}: `), ...pieces.map(worded))))));
    $("phrase-status").textContent = shown.length < grids.length ? `The first ${shown.length} of ${grids.length} captions that change:`
      : `${grids.length === 1 ? "1 caption changes" : `${grids.length} captions change`}:`;
    $("replace-all").disabled = false;
    $("replace-all").textContent = `Replace in ${grids.length}`;
    $("replace-all").focus();
  } catch (error) {
    $("phrase-status").textContent = error.message;
  }
}

const worded = ({kind, text}) => kind === "same" ? text : element(kind === "old" ? "del" : "ins", {}, text);

async function replacePhrase() {
  const said = preview;
  if (!said) return;
  const done = await changing(async () => {
    const {rows: changed, step: made} = await call("replace", said);
    takeUp(changed);
    if (made) steps.push([made]);
    $("phrasing").close();
    say(`replaced in ${changed.length} captions; undo takes all of it back`);
  });
  if (!done) $("phrase-status").textContent = $("status").textContent;
  go(current);
}
