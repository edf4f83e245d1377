/* ---- shifting and resizing the part of its picture that a panel shows, over that picture */

const SHIFT = .01, FAR = .05, GROW = .02;  // shares of the picture: a step by key, a far one, a change of size
let cropping = null;  // the box that is being chosen, and its limits; null while a picture is only looked at

async function startCrop() {
  const id = current, panel = zoomed, {base} = rows.get(id);
  try {
    const limits = await call(`rows/${id}/crops/${panel}`);
    if (current !== id || zoomed !== panel || !$("zooming").open) return;
    cropping = {id, panel, base, ...limits};
    $("zooming").classList.remove("full");
    renderCrop();
    $("frame").focus();
  } catch (error) {
    say(error.message, true);
  }
}

function endCrop() {
  if (!cropping) return;
  cropping = null;
  renderCrop();
  $("crop").focus();
}

function renderCrop() {
  for (const name of ["frame", "cropping"]) $(name).hidden = !cropping;
  for (const name of ["crop", "before-panel", "next-panel", "full-size"]) $(name).hidden = Boolean(cropping);
  if (!cropping) return;
  const [left, top, right, bottom] = cropping.box, part = (share) => `${100 * share}%`;
  Object.assign($("frame").style, {left: part(left), top: part(top), width: part(right - left), height: part(bottom - top)});
  const percent = (share) => `${(100 * share).toFixed(0)} %`, times = cropping.enlarged / (right - left);
  $("crop-status").textContent = `${percent(right - left)} of the width, from ${percent(left)} on the left and ${percent(top)} at the top; `
    + `${times > 1 ? `enlarged ${times.toFixed(1)} times` : "not enlarged"}`;
}

/* Gives the box another place and width, as far as the picture and the task allow. Its shape stays. */
function fitCrop(left, top, wide) {
  const [most, tall] = cropping.largest, width = Math.min(most, Math.max(cropping.least, wide)), height = width * tall / most;
  const inside = (start, length) => Math.max(0, Math.min(1 - length, start));
  const [x, y] = [inside(left, width), inside(top, height)];
  cropping.box = [x, y, x + width, y + height];
  renderCrop();
}

const shiftCrop = (across, down) => fitCrop(cropping.box[0] + across, cropping.box[1] + down, cropping.box[2] - cropping.box[0]);

/* Grows or shrinks the box about its middle. */
function growCrop(by) {
  const [left, top, right, bottom] = cropping.box, [most, tall] = cropping.largest;
  const wide = Math.min(most, Math.max(cropping.least, right - left + by));
  fitCrop((left + right - wide) / 2, (top + bottom - wide * tall / most) / 2, wide);
}

/* While a crop is chosen. */
function croppingKey(event) {
  const far = event.shiftKey ? FAR : SHIFT;
  const shifts = {ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far]};
  if (event.key in shifts) shiftCrop(...shifts[event.key]);
  else if (event.key === "Escape") endCrop();
  else if (event.key === "Enter" && event.target === $("frame")) applyCrop(cropping.box);
  else return false;
  return true;
}

/* The panel shows what was chosen; null is what was drawn at first. A refusal leaves the choice on display. */
async function applyCrop(box) {
  const {id, panel, base} = cropping;
  const done = await change(`rows/${id}/crop`, {base, panel, box}, `${id}: panel ${panel + 1} shows another part of its picture`);
  if (!done) return void ($("crop-status").textContent = $("status").textContent);
  endCrop();
  $("zooming").close();
  go(current);
}

/* With the pointer: the frame is dragged, or by its corner made larger or smaller. */
function grabCrop(event) {
  if (!cropping) return;
  const frame = $("frame"), {clientX, clientY} = event, [left, top, right] = cropping.box, grows = event.target !== frame;
  const moved = ({clientX: x, clientY: y}) => {
    const across = (x - clientX) / $("large").offsetWidth, down = (y - clientY) / $("large").offsetHeight;
    if (!grows) return fitCrop(left + across, top + down, right - left);
    const [most, tall] = cropping.largest, room = Math.min(1 - left, (1 - top) * most / tall);
    fitCrop(left, top, Math.min(room, right - left + Math.max(across, down * most / tall)));
  };
  const ended = () => { for (const [name, heard] of [["pointermove", moved], ["pointerup", ended], ["pointercancel", ended]]) frame.removeEventListener(name, heard); };
  event.preventDefault();
  frame.focus();
  frame.setPointerCapture(event.pointerId);
  for (const [name, heard] of [["pointermove", moved], ["pointerup", ended], ["pointercancel", ended]]) frame.addEventListener(name, heard);
}

/* A click beside the frame puts its middle there, for those who can't drag. */
function centreCrop({offsetX, offsetY}) {
  if (!cropping) return;
  const [left, top, right, bottom] = cropping.box, {offsetWidth, offsetHeight} = $("large");
  shiftCrop(offsetX / offsetWidth - (left + right) / 2, offsetY / offsetHeight - (top + bottom) / 2);
}

$("frame").addEventListener("pointerdown", grabCrop);
$("zooming").addEventListener("close", () => { cropping = null; renderCrop(); });
$("large").addEventListener("click", centreCrop);
for (const [id, action] of Object.entries({leftwards: () => shiftCrop(-SHIFT, 0), rightwards: () => shiftCrop(SHIFT, 0),
  upwards: () => shiftCrop(0, -SHIFT), downwards: () => shiftCrop(0, SHIFT), "end-crop": endCrop,
  "apply-crop": () => applyCrop(cropping.box), "usual-crop": () => applyCrop(null)})) $(id).addEventListener("click", action);
