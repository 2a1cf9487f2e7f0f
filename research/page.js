const percent = "%{y:.2%}";

function drawLosses() {
  const traces = data.losses.flatMap(({ name, train, validation, best }, at) => [
    { type: "scatter", mode: "lines", name: "train" + name, legendgroup: name, x: train.map((_, epoch) => epoch + 1), y: train, line: { color: series(at), width: 1.3, dash: "dot" }, ...hover("%{y:.5f}") },
    { type: "scatter", mode: "lines", name: "validation" + name, legendgroup: name, x: validation.map((_, epoch) => epoch + 1), y: validation, line: { color: series(at), width: 1.8 }, ...hover("%{y:.5f}") },
    { type: "scatter", mode: "markers", legendgroup: name, showlegend: false, x: [best], y: [validation[best - 1]], marker: { color: series(at), size: 9, line: { color: color("panel"), width: 2 } }, ...hover("kept") },
  ]);
  const longest = Math.max(...data.losses.map(({ train }) => train.length));
  plot("losses", traces, layout(300, { xaxis: { type: "linear", rangebreaks: [], range: [0.7, longest + 0.3], hoverformat: "", dtick: Math.ceil(longest / 12), title: { text: "Epoch", standoff: 6 } }, yaxis: { tickformat: ".4~f" }, hovermode: "closest" }));
}

function drawEquity() {
  if (!data.equity) return;
  const styles = [{ width: 2.2 }, { width: 1.3 }, { width: 1.3 }, { width: 1.3 }];
  const traces = data.equity.map(([name, y, held], at) => line(name, y, held ? color("bench") : series(at), { ...hover(name + " %{y:.3f}"), line: { color: held ? color("bench") : series(at), ...(held ? { width: 1.6, dash: "dot" } : styles[Math.min(at, 3)]) } }));
  plot("equity", traces.reverse(), layout(380, { yaxis: { tickformat: ".2f", title: { text: "Value of 1", standoff: 10 } }, legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", traceorder: "reversed" } }));
}

function drawPeriods() {
  const parts = data.periods;
  if (!parts.names.length) return;
  const bars = (y, axis, text) => ({ type: "bar", showlegend: false, x: parts.names, y, yaxis: axis, marker: { color: y.map((value) => color(value < 0 ? "loss" : "gain")) }, ...hover(text) });
  const traces = [bars(parts.ic, "y", "IC %{y:.3f}")];
  const made = { xaxis: { type: "category", rangebreaks: [], range: null, hoverformat: "", tickangle: parts.names.length > 14 ? -60 : 0 }, yaxis: { tickformat: ".2~f", title: { text: "Information coefficient", standoff: 8 } }, bargap: 0.4 };
  if (parts.mean_after.some((value) => value !== null)) {
    traces.push(bars(parts.mean_after, "y2", percent + " a period"));
    Object.assign(made, { yaxis: { ...made.yaxis, domain: [0.54, 1] }, yaxis2: { tickformat: ".2~%", domain: [0, 0.46], title: { text: "Mean return", standoff: 8 } } });
    made.xaxis.anchor = "y2";
  }
  plot("periods", traces, layout(380, made));
}

function drawReliability() {
  if (!data.reliability) return;
  const { forecast, outcome, style } = data.reliability, all = [...forecast, ...outcome];
  const [low, high] = [Math.min(...all), Math.max(...all)], margin = (high - low || 1) * 0.08;
  const range = [low - margin, high + margin], axis = { type: "linear", rangebreaks: [], range, tickformat: style, hoverformat: style };
  plot("reliability", [
    { type: "scatter", mode: "lines", x: range, y: range, line: { color: color("bench"), width: 1.3, dash: "dot" }, hoverinfo: "skip", showlegend: false },
    { type: "scatter", mode: "lines+markers", x: forecast, y: outcome, line: { color: color("accent"), width: 1.6 }, marker: { size: 8 }, showlegend: false, ...hover("forecast %{x}, came %{y}") },
  ], layout(320, { xaxis: { ...axis, title: { text: data.reliability.x, standoff: 6 } }, yaxis: { ...axis, title: { text: data.reliability.y, standoff: 8 } }, hovermode: "closest" }));
}

function drawDeciles() {
  if (!data.deciles) return;
  const y = data.deciles, x = y.map((_, at) => String(at + 1));
  plot("deciles", [{ type: "bar", x, y, marker: { color: y.map((value) => color(value < 0 ? "loss" : "gain")) }, ...hover(percent) }],
    layout(320, { xaxis: { type: "category", rangebreaks: [], range: null, hoverformat: "", title: { text: "Tenth of the scores, lowest to highest", standoff: 6 } }, yaxis: { tickformat: ".3~%" }, bargap: 0.35 }));
}

function drawErrors() {
  if (!data.errors) return;
  const { median, high, limit } = data.errors;
  plot("errors", [
    line("99th percentile of symbols", high, series(1), hover("highest %{y:.4f}")), line("Median", median, color("accent"), hover("median %{y:.4f}")),
    line("Limit of the card", median.map(() => limit), color("loss"), { ...hover("limit %{y:.4f}"), line: { color: color("loss"), width: 1.2, dash: "dot" } }),
  ], layout(380, { yaxis: { tickformat: ".3~f", type: "log", title: { text: "Reconstruction error", standoff: 10 } } }));
}

function drawImportance() {
  if (!data.importance) return;
  const { names, worse } = data.importance;
  plot("importance", [{ type: "bar", orientation: "h", x: worse, y: names, marker: { color: worse.map((value) => color(value < 0 ? "bench" : "accent")) }, hovertemplate: "%{x:.6f}<extra></extra>" }],
    layout(Math.max(260, 70 + 30 * names.length), { xaxis: { type: "linear", rangebreaks: [], range: null, hoverformat: "", tickformat: ".2~g", title: { text: "Loss added", standoff: 6 } }, yaxis: { type: "category", autorange: "reversed" }, hovermode: "closest", bargap: 0.35, margin: { l: 10, r: 10, t: 28, b: 8 } }));
}

function draw() {
  for (const chart of [drawLosses, drawEquity, drawPeriods, drawReliability, drawDeciles, drawErrors, drawImportance]) chart();
}

start();
