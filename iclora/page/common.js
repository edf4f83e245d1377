const $ = (id) => document.getElementById(id);

/* Creates an element. Strings become text nodes, so no caption is ever parsed as markup. */
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "hue") made.style.setProperty("--hue", value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

/* The token comes in the fragment of the address, which is sent to no server, and stays in this tab. */
function takeToken() {
  if (location.hash.length > 1) sessionStorage.setItem("token", location.hash.slice(1));
  history.replaceState(null, "", "/");  // the address bar need not show it
}

/* Opens the page, and again when a new address is pasted into this tab. */
function begin(load) {
  const open = async () => {
    takeToken();
    try { await load(); } catch (error) { say(error.message, true); }
  };
  window.addEventListener("hashchange", open);
  open();
}

/* The server's answer; a refusal is an error with its reason, and with the row as it is now if that has changed. */
async function request(path, how = {}) {
  const headers = {...how.headers, "X-Iclora-Token": sessionStorage.getItem("token") ?? ""};
  let answer;
  try {
    answer = await fetch(path, {...how, headers});
  } catch {
    throw new Error("The page's server does not respond. Is the command that serves it still running?");
  }
  if (answer.ok) return answer;
  const refused = answer.headers.get("content-type") === "application/json" ? await answer.json() : {error: await answer.text()};
  throw Object.assign(new Error(refused.error), {row: refused.row});
}

async function call(path, body) {
  const how = body === undefined ? {} : {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)};
  return (await request(path, how)).json();
}

/* Shows a picture. An image element sends no token, so the script fetches what it shows. */
async function show(image, path) {
  if (image.dataset.path === path) return;
  image.dataset.path = path;
  image.parentElement.classList.add("waiting");
  try {
    const url = URL.createObjectURL(await (await request(path)).blob());
    if (image.dataset.path !== path) return URL.revokeObjectURL(url);  // another one is wanted by now
    image.onload = () => URL.revokeObjectURL(url);
    image.src = url;
  } catch (error) {
    if (image.dataset.path !== path) return;
    delete image.dataset.path;
    image.removeAttribute("src");
    say(error.message, true);
  }
  image.parentElement.classList.remove("waiting");
}
