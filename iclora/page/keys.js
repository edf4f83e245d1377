/* ---- keys of one character. A page says in ACTIONS what each does and how that is told, and in FIXED what other keys do. */

let keyboard = {keys: {}, on: true};  // by action, its key; and whether these keys do anything

async function loadKeys() {
  keyboard = await call("keys");
  renderKeys();
}

/* The action whose key was pressed, if there is one. */
function keyed(event) {
  if (!keyboard.on || event.ctrlKey || event.metaKey || event.altKey) return undefined;
  return Object.keys(keyboard.keys).find((name) => keyboard.keys[name] === event.key.toLowerCase());
}

function renderKeys() {
  document.body.classList.toggle("keys-off", !keyboard.on);
  for (const each of document.querySelectorAll("kbd[data-key]")) each.textContent = keyboard.keys[each.dataset.key].toUpperCase();
  $("keys-on").checked = keyboard.on;
  $("keys").replaceChildren(...Object.entries(ACTIONS).map(([name, [, told]]) => element("label", {},
    element("input", {name, maxlength: 1, value: keyboard.keys[name], autocomplete: "off", spellcheck: "false"}), told)));
  $("fixed").replaceChildren(...FIXED.flatMap(([key, told]) => [element("dt", {}, element("kbd", {}, key)), element("dd", {}, told)]));
}

function startHelp() {
  renderKeys();
  $("keys-status").textContent = "";
  $("helping").showModal();
  $("close-help").focus();
}

async function saveKeys(keys) {
  try {
    keyboard = await call("keys", {keys, on: $("keys-on").checked});
    renderKeys();
    $("keys-status").textContent = `The keys are kept in the run's folder${keyboard.on ? "" : ", turned off"}.`;
  } catch (error) {
    $("keys-status").textContent = error.message;
  }
}

$("helping").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  saveKeys(Object.fromEntries([...$("keys").querySelectorAll("input")].map(({name, value}) => [name, value])));
});
$("usual-keys").addEventListener("click", () => saveKeys({}));
for (const button of document.querySelectorAll(".close")) button.addEventListener("click", () => button.closest("dialog").close());
