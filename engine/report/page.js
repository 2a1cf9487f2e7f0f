function drawAccount() {
  const money = "%{y:$,.2f}", percent = "%{y:.2%}";
  plot("account", [
    line("Buy and hold", data.benchmark, color("bench"), { ...hover("buy and hold " + money), line: { color: color("bench"), width: 1.3, dash: "dot" } }),
    line("Equity", data.equity, color("accent"), hover("equity " + money)),
    line("Drawdown", data.drawdown, color("loss"), { ...hover("drawdown " + percent), yaxis: "y2", fill: "tozeroy", fillcolor: faint("loss", 18), line: { color: color("loss"), width: 1 } }),
    line("Gross exposure", data.gross, color("accent"), { ...hover("gross " + percent), yaxis: "y3", fill: "tozeroy", fillcolor: faint("accent", 12), line: { color: color("accent"), width: 1, shape: "hv" } }),
    line("Net exposure", data.net, series(1), { ...hover("net " + percent), yaxis: "y3", line: { color: series(1), width: 1, shape: "hv" } }),
  ], layout(600, {
    xaxis: { anchor: "y3" },
    yaxis: { domain: [0.46, 1], tickformat: "$,.2~f", title: { text: "Equity", standoff: 12 } },
    yaxis2: { domain: [0.25, 0.42], tickformat: ".3~%", title: { text: "Drawdown", standoff: 12 }, nticks: 4 },
    yaxis3: { domain: [0, 0.21], tickformat: ".3~%", title: { text: "Exposure", standoff: 12 }, nticks: 4 },
  }));
}

function drawDays() {
  const paint = data.days.returns.map((value) => color(value < 0 ? "loss" : "gain"));
  const labels = Math.max(2, Math.floor((document.getElementById("days")?.clientWidth ?? 0) / 100)); // else they overlap
  plot("days", [{ type: "bar", x: data.days.dates, y: data.days.returns, marker: { color: paint }, ...hover("%{y:.2%}") }],
    layout(260, { xaxis: { type: "category", rangebreaks: [], range: null, nticks: labels }, yaxis: { tickformat: ".3~%" }, bargap: 0.35 }));
}

function drawStrategies() {
  const traces = data.strategies.map(([name, pnl], at) => line(name, pnl, series(at), hover(name + " %{y:$,.2f}")));
  plot("strategies", traces, layout(260, { yaxis: { tickformat: "$,.2~f" }, showlegend: true }));
}

function drawCosts() {
  const steps = (name, y, paint) => ({ ...line(name, y, paint, hover(name.toLowerCase() + " %{y:$,.2f}")), x: data.costs.times, line: { color: paint, width: 1.6, shape: "hv" } });
  plot("costs", [steps("Fees", data.costs.fees, series(0)), steps("Slippage", data.costs.slippage, series(1))],
    layout(260, { yaxis: { tickformat: "$,.2~f" } }));
}

function drawTrips() {
  const { first, width, counts } = data.trips;
  const edges = counts.map((_, at) => first + at * width), end = first + counts.length * width;
  const words = (value) => (Math.round(value / width) * width).toFixed(Math.max(0, -Math.floor(Math.log10(width)))) + " %";
  plot("trips", [{
    type: "bar", x: edges.map((edge) => edge + width / 2), y: counts, width, marker: { color: faint("accent", 70), line: { color: color("panel"), width: 1 } },
    customdata: edges.map((edge) => words(edge) + " to " + words(edge + width)), ...hover("%{customdata}: %{y}"),
  }], layout(260, { xaxis: { type: "linear", rangebreaks: [], range: [Math.min(first, 0) - width, Math.max(end, 0) + width], ticksuffix: " %" },
    yaxis: { tickformat: ",d", range: [0, Math.max(...counts) * 1.15], ...(Math.max(...counts) < 6 ? { dtick: 1 } : {}) }, hovermode: "closest",
    shapes: [{ type: "line", x0: 0, x1: 0, y0: 0, y1: 1, yref: "paper", line: { color: color("soft"), width: 1, dash: "dot" } }] }));
}

function drawPrice() {
  const choice = document.getElementById("symbol");
  if (!choice) return;
  const shown = data.prices[choice.selectedIndex];
  const marks = (fills, name, mark, paint) => ({
    type: "scatter", mode: "markers", name, x: fills.times, y: fills.prices, customdata: fills.notes,
    hovertemplate: name + " %{customdata} at %{y:,.6~f}<extra></extra>",
    marker: { symbol: mark, size: 8, opacity: 0.85, color: paint, line: { color: color("panel"), width: 1 } },
  });
  plot("price", [
    line("Price", shown.marks, color("bench"), hover("%{y:,.6~f}")),
    marks(shown.buys, "Bought", "triangle-up", color("gain")), marks(shown.sells, "Sold", "triangle-down", color("loss")),
  ], layout(400, { hovermode: "closest", yaxis: { tickformat: ",.6~f" } }));
  document.getElementById("price-note").textContent = shown.note;
}

function draw() {
  for (const chart of [drawAccount, drawDays, drawStrategies, drawPrice, drawCosts, drawTrips]) chart();
}

document.getElementById("symbol")?.addEventListener("change", drawPrice);
start();
