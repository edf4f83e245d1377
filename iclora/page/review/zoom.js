/* ---- a panel's own picture, as large as it is */

let zoomed = null;  // the panel whose picture is shown

function startZoom() {
  if (run.boxes.length === 1) zoom(0); else pick("Zoom", 1, zoom);
}

function zoom(panel) {
  zoomed = panel;
  const row = rows.get(current);
  $("zooming-title").textContent = `Panel ${panel + 1} of ${run.boxes.length}: ${row.panels[panel]}`;
  $("large").alt = `panel ${panel + 1}`;
  if (!$("zooming").open) $("zooming").showModal();
  show($("large"), `records/${row.records[panel]}/large`);
}

const zoomOn = (by) => zoom((zoomed + by + run.boxes.length) % run.boxes.length);
const resize = () => $("zooming").classList.toggle("full");
