"use strict";
// What every page shares: colors, axes, light and dark, sorting. A page defines `draw` and calls `start`.
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
let scale = 1; // charts are lower on paper
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const config = { displaylogo: false, displayModeBar: "hover", responsive: true, modeBarButtons: [["toImage", "resetScale2d"]] };
const stamp = data.intraday ? "%Y-%m-%d %H:%M" : "%Y-%m-%d";
const color = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
const faint = (name, percent) => color(name) + Math.round(percent * 2.55).toString(16).padStart(2, "0");
const series = (at) => color("series").split(",")[at % 8].trim();
const hover = (text) => ({ hovertemplate: text + "<extra></extra>" });

function layout(height, more) {
  const axis = { gridcolor: color("grid"), zerolinecolor: color("line"), linecolor: color("line"), automargin: true };
  const time = { ...axis, type: "date", rangebreaks: data.breaks, hoverformat: stamp, tickangle: 0, range: [data.times[0], data.times.at(-1)] };
  const made = {
    height: height * scale, margin: { l: 10, r: 10, t: 8, b: 8 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: color("soft") }, hovermode: "x unified", hoversubplots: "axis",
    hoverlabel: { bgcolor: color("panel"), bordercolor: color("line"), font: { color: color("text") } },
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" }, xaxis: time, yaxis: axis, dragmode: "zoom",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: color("bench"), activecolor: color("accent") },
  };
  for (const [key, value] of Object.entries(more)) {
    made[key] = /^[xy]axis/.test(key) ? { ...(key[0] === "x" ? time : axis), ...value } : value;
  }
  return made;
}

function plot(id, traces, made) {
  const place = document.getElementById(id);
  if (place) Plotly.react(place, traces, made, config);
}

function line(name, y, paint, more) {
  return { type: "scatter", mode: "lines", name, x: data.times, y, connectgaps: true, line: { color: paint, width: 1.6 }, ...more };
}

function choose(theme) {
  root.dataset.theme = theme;
  draw();
}

function sortBy(head) {
  const table = head.closest("table"), body = table.tBodies[0], at = head.cellIndex;
  const key = (row) => row.cells[at].dataset.value ?? row.cells[at].textContent;
  const turn = head.dataset.order === "down" ? 1 : -1;
  for (const other of table.tHead.rows[0].cells) delete other.dataset.order;
  head.dataset.order = turn < 0 ? "down" : "up";
  body.append(...[...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    return turn * (x === "" || y === "" || isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
  }));
}

function start() {
  document.getElementById("theme").addEventListener("click", () => choose(root.dataset.theme === "dark" ? "light" : "dark"));
  for (const head of document.querySelectorAll("table.sorts th")) head.addEventListener("click", () => sortBy(head));
  dark.addEventListener("change", () => choose(dark.matches ? "dark" : "light"));
  let kept = "light";
  window.addEventListener("beforeprint", () => { kept = root.dataset.theme; scale = 0.75; choose("light"); });
  window.addEventListener("afterprint", () => { scale = 1; choose(kept); });
  choose(dark.matches ? "dark" : "light");
}
