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

/* How much of the window a bar that stays in its place covers. */
function edge(name) {
  const bar = document.querySelector(name);
  return getComputedStyle(bar).position === "sticky" ? bar.offsetHeight : 0;
}

/* What gets the focus or is scrolled into sight stays clear of the bars, whatever their heights. */
const bars = new ResizeObserver(() => {
  for (const [name, bar] of [["--above", "header"], ["--below", "footer"]]) document.documentElement.style.setProperty(name, `${edge(bar)}px`);
});
for (const bar of ["header", "footer"]) bars.observe(document.querySelector(bar));

/* The token comes in the fragment of the address, which is sent to no server, and stays in this tab. Behind it, a place on the
   page may follow, which is what this gives. */
function takeToken() {
  const [token, place = ""] = location.hash.slice(1).split("&");
  if (token) sessionStorage.setItem("token", token);
  history.replaceState(null, "", location.pathname);  // the address bar need not show it
  return decodeURIComponent(place);
}

/* Opens the page, and again when a new address is pasted into this tab. */
function begin(load) {
  const open = async () => {
    const place = takeToken();
    try { await load(place); } catch (error) { say(error.message, true); }
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
