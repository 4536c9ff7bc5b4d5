"use strict";
// Draws the view that report/html/view.h describes. Text comes from results, so it is only ever put
// in as text: nothing here parses markup.
(() => {
const view = JSON.parse(document.getElementById("view").textContent);
const root = document.documentElement;
const redraws = [];  // of what is drawn in the theme's colours

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const color = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
const seriesColor = (index) => color("s" + index % 8);

// ---- numbers, as report/format.h writes them ----

function threeDigits(value) {
  const size = Math.abs(value);
  if (size < 1) return String(Number(value.toPrecision(3)));
  return String(Number(value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2)));
}

function scaled(value, steps) {
  let [factor, suffix] = steps[0];
  for (const step of steps) if (Math.abs(value) / step[0] >= 0.9995) [factor, suffix] = step;
  return threeDigits(value / factor) + suffix;
}

const grouped = (value) => Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, ",");
const formats = {
  ns: (value) => scaled(value, [[1, " ns"], [1e3, " µs"], [1e6, " ms"], [1e9, " s"]]),
  us: (value) => threeDigits(value) + " µs",
  s: (value) => scaled(value, [[1, " s"]]),
  bytes: (value) => scaled(value, [[1, " B"], [1024, " KiB"], [1048576, " MiB"], [1073741824, " GiB"]]),
  per_s: (value) => grouped(value) + "/s",
  count: (value) => Math.abs(value) >= 1000 ? grouped(value) : threeDigits(value),
  percentile: (x) => "p" + Number((100 * (1 - 1 / x)).toPrecision(Math.max(3, Math.ceil(Math.log10(x)) + 2))),
};
const format = (unit, value) => (formats[unit] || formats.count)(value);
// On an axis: short.
function tickText(unit, value) {
  if (unit === "per_s") return scaled(value, [[1, ""], [1e3, "k"], [1e6, "M"]]);
  return format(unit, value);
}

function percentText(log) {
  const percent = (Math.exp(log) - 1) * 100;
  const digits = Math.abs(percent).toFixed(Math.abs(percent) < 9.95 ? 1 : 0);
  return (percent < 0 ? "−" : "+") + digits + " %";
}

// ---- words, figures, facts ----

function verdicts(block) {
  const list = el("ul", {class: "verdicts"});
  for (const item of block.items) {
    list.append(el("li", {},
      el("span", {class: "badge tone-" + item.tone}, el("span", {class: "symbol", "aria-hidden": "true"}, item.symbol), el("span", {}, item.word)),
      el("div", {},
        item.where ? el("p", {class: "where"}, item.where) : null,
        el("p", {class: "sentence"}, item.text),
        item.mend ? el("p", {class: "mend"}, "→ " + item.mend) : null)));
  }
  return list;
}

function figures(block) {
  const list = el("dl", {class: "figures"});
  for (const item of block.items) {
    list.append(el("div", {}, el("dt", {}, item.label), el("dd", {}, item.value), el("dd", {}, item.note)));
  }
  return list;
}

function facts(block) {
  const list = el("dl", {class: "facts"});
  for (const [name, text] of block.rows) list.append(el("dt", {}, name), el("dd", {}, text));
  return block.caption ? el("div", {}, el("h3", {}, block.caption), list) : list;
}

// ---- tables, and plots of effects in them ----

// A line for the interval and a dot for the estimate, over the margin's band; an end beyond the plot
// runs to its edge.
function plot(cell, scale) {
  const width = 240, half = width / 2;
  const at = (log) => half + Math.max(-1, Math.min(1, log / scale.span)) * (half - 5);
  const picture = svg("svg", {viewBox: "0 0 240 22", preserveAspectRatio: "none", "aria-hidden": "true"});
  if (scale.margin > 0) {
    picture.append(svg("rect", {class: "band", x: at(-scale.margin), y: 0, width: at(scale.margin) - at(-scale.margin), height: 22}));
  }
  picture.append(svg("line", {class: "zero", x1: half, x2: half, y1: 0, y2: 22, "vector-effect": "non-scaling-stroke"}));
  if (cell.at === null) return picture;
  const low = cell.low === null ? 0 : at(cell.low), high = cell.high === null ? width : at(cell.high);
  const line = (x1, x2, y1, y2) => picture.append(svg("line", {class: "range", x1, x2, y1, y2, "vector-effect": "non-scaling-stroke"}));
  line(low, high, 11, 11);
  if (cell.low !== null) line(low, low, 7, 15);
  if (cell.high !== null) line(high, high, 7, 15);
  const arrow = (x, way) => picture.append(svg("path", {class: "dot", d: `M${x} 11l${-way * 7} -5v10z`}));
  if (cell.at > scale.span) arrow(width - 1, 1);
  else if (cell.at < -scale.span) arrow(1, -1);
  else picture.append(svg("rect", {class: "dot", x: at(cell.at) - 2.5, y: 6.5, width: 5, height: 9}));
  return picture;
}

function plotHeading(name, scale) {
  const better = scale.better === "lower" ? "◂ better" : scale.better === "higher" ? "better ▸" : "";
  return [el("div", {}, name + (better ? ", " + better : "")),
    el("div", {class: "axis", "aria-hidden": "true"}, el("span", {}, percentText(-scale.span)), el("span", {}, "0"), el("span", {}, percentText(scale.span)))];
}

function cellOf(cell, kind, scale) {
  if (typeof cell === "string") return el("td", {class: kind, title: cell.length > 40 ? cell : ""}, cell);
  const td = el("td", {class: kind + " tone-" + cell.tone});
  if (cell.plot && cell.text) {
    td.append(plot(cell.plot, scale), el("div", {class: "beneath"}, cell.text),
      el("div", {class: "beneath"}, (cell.symbol ? cell.symbol + " " : "") + cell.word));
  } else if (cell.plot) td.append(plot(cell.plot, scale));
  else td.append(el("span", {class: "word"}, (cell.symbol ? cell.symbol + " " : "") + cell.text));
  return td;
}

function table(block) {
  const plots = block.columns.filter((column) => column.kind === "plot").length;
  const head = el("tr");
  for (const column of block.columns) {
    head.append(column.kind === "plot" ? el("th", {class: "plot", scope: "col"}, ...plotHeading(column.name, column.scale))
                                       : el("th", {class: column.kind, scope: "col"}, column.name));
  }
  const body = el("tbody");
  for (const row of block.rows) {
    body.append(el("tr", {}, ...row.map((cell, i) => cellOf(cell, block.columns[i].kind, block.columns[i].scale))));
  }
  const node = el("table", {class: (plots ? "plots" : "") + (plots > 1 ? " few" : "") + (block.stack ? " stack" : "")},
    block.caption ? el("caption", {}, block.caption) : null, el("thead", {}, head), body);
  return el("div", {class: "scroll" + (block.rows.length > 40 ? " tall" : ""), tabindex: "0", role: "group", "aria-label": block.caption || "Table"}, node);
}

// ---- charts ----

function logTicks(low, high) {
  const decades = Math.log10(high / low);
  const steps = decades > 4 ? [1] : decades > 2 ? [1, 3] : decades > 0.7 ? [1, 2, 5] : [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); ++power) {
    for (const step of steps) {
      const value = Number((step * 10 ** power).toPrecision(3));
      if (value >= low * 0.999 && value <= high * 1.001) ticks.push({value});
    }
  }
  return ticks;
}

function ninesTicks(high) {
  const ticks = [{value: 2}];
  for (let value = 10; value <= high * 1.001; value *= 10) ticks.push({value});
  return ticks;
}

const ninesText = (x) => Number((100 * (1 - 1 / x)).toFixed(8)) + " %";

function ends(block, index) {
  const values = block.series.flatMap((series) => series.points.flatMap((point) => index === 0 ? [point[0]] : point.slice(1)));
  return [Math.min(...values), Math.max(...values)];
}

function axis(block, name) {
  const of = block[name];
  const options = {
    type: of.scale === "linear" ? "linear" : "logarithmic",
    title: {display: true, text: of.label, color: color("soft"), font: {size: 12}},
    grid: {color: color("grid"), borderColor: color("rule"), tickLength: 4},
    ticks: {color: color("soft"), maxRotation: 0, autoSkipPadding: 14, callback: (value) => tickText(of.unit, value)},
  };
  const [low, high] = ends(block, name === "x" ? 0 : 1);
  if (of.scale === "nines") {
    Object.assign(options, {min: 1, max: high});
    options.afterBuildTicks = (scale) => { scale.ticks = ninesTicks(high); };
    options.ticks.callback = ninesText;
  } else if (of.scale === "log") {
    const positive = Math.max(low, high / 1e9);
    const [from, to] = name === "x" ? [positive, high] : [positive / 1.15, high * 1.15];
    Object.assign(options, {min: from, max: to});
    const xs = [...new Set(block.series.flatMap((series) => series.points.map((point) => point[0])))].sort((a, b) => a - b);
    const few = name === "x" && xs.length <= 14;
    options.afterBuildTicks = (scale) => { scale.ticks = few ? xs.map((value) => ({value})) : logTicks(from, to); };
  } else if (name === "y") {
    // From 0 where that costs no more than half of the height.
    if (low >= 0 && low < high * 0.5) options.min = 0;
    Object.assign(options, {suggestedMin: low, suggestedMax: high});
    options.grace = "8%";
  }
  return options;
}

// Bars from low to high, where points have them.
const whiskers = {
  id: "whiskers",
  beforeDatasetsDraw(chart) {
    chart.data.datasets.forEach((dataset, index) => {
      if (!chart.isDatasetVisible(index)) return;
      const ctx = chart.ctx;
      ctx.save();
      ctx.strokeStyle = dataset.borderColor;
      ctx.lineWidth = 1.2;
      chart.getDatasetMeta(index).data.forEach((point, i) => {
        const {low, high} = dataset.data[i];
        if (low === undefined) return;
        const from = chart.scales.y.getPixelForValue(low), to = chart.scales.y.getPixelForValue(high);
        ctx.beginPath();
        ctx.moveTo(point.x, from); ctx.lineTo(point.x, to);
        for (const y of [from, to]) { ctx.moveTo(point.x - 3, y); ctx.lineTo(point.x + 3, y); }
        ctx.stroke();
      });
      ctx.restore();
    });
  },
};

const shapes = ["circle", "rectRot", "triangle", "rect", "crossRot", "star", "cross", "dash"];

function dataset(series, block) {
  const nines = block.x.scale === "nines";
  const stroke = seriesColor(series.color);
  const many = series.points.length > 120;
  return {
    label: series.name,
    data: series.points.map(([x, y, low, high]) => ({x, y, low, high})),
    borderColor: stroke, backgroundColor: stroke, borderWidth: 1.7, borderJoinStyle: "round",
    pointStyle: shapes[series.color % shapes.length],
    pointRadius: nines || many ? 0 : 2.6, pointHoverRadius: 4, pointHitRadius: 8,
    segment: {borderDash: (ctx) => series.thin_from !== null && ctx.p1.parsed.x > series.thin_from ? [3, 4] : undefined},
  };
}

function tooltip(block) {
  const value = (axisName, number) => format(block[axisName].unit, number);
  return {
    backgroundColor: color("panel"), titleColor: color("ink"), bodyColor: color("ink"),
    borderColor: color("rule"), borderWidth: 1, cornerRadius: 4, padding: 8, boxWidth: 8, boxHeight: 8, usePointStyle: true,
    callbacks: {
      title: (items) => items.length === 0 ? "" : block.x.scale === "nines" ? value("x", items[0].parsed.x) : block.x.label + ": " + value("x", items[0].parsed.x),
      label: (item) => {
        const {low, high} = item.raw;
        return item.dataset.label + ": " + value("y", item.parsed.y) + (low === undefined ? "" : " (" + value("y", low) + " to " + value("y", high) + ")");
      },
    },
  };
}

function swatch(index) {
  const stroke = seriesColor(index);
  const picture = svg("svg", {viewBox: "0 0 18 10", "aria-hidden": "true"}, svg("line", {x1: 0, x2: 18, y1: 5, y2: 5, stroke, "stroke-width": 2}));
  const shape = shapes[index % shapes.length];
  if (shape === "circle") picture.append(svg("circle", {cx: 9, cy: 5, r: 3.4, fill: stroke}));
  else if (shape === "triangle") picture.append(svg("path", {d: "M5.4 8.4h7.2L9 1.4z", fill: stroke}));
  else if (shape === "rectRot") picture.append(svg("path", {d: "M9 .8l4.2 4.2L9 9.2 4.8 5z", fill: stroke}));
  else if (shape === "rect") picture.append(svg("rect", {x: 6, y: 2, width: 6, height: 6, fill: stroke}));
  else if (shape !== "dash") picture.append(svg("path", {d: "M6 2l6 6M12 2l-6 6", stroke, "stroke-width": 1.5}));
  return picture;
}

function chart(block) {
  const canvas = el("canvas", {role: "img", "aria-label": block.y.label + " over " + block.x.label + ": " + block.series.map((series) => series.name).join(", ")});
  const keys = el("div", {class: "keys", role: "group", "aria-label": "Series"});
  const hidden = new Set();
  let drawn = null;
  block.series.forEach((series, index) => {
    const key = el("button", {type: "button", class: "key", "aria-pressed": "true"});
    key.addEventListener("click", () => {
      const show = hidden.has(index);
      if (show) hidden.delete(index); else hidden.add(index);
      key.setAttribute("aria-pressed", String(show));
      drawn.setDatasetVisibility(index, show);
      drawn.update();
    });
    keys.append(key);
  });
  const draw = () => {
    if (!canvas.isConnected) return;
    if (drawn) drawn.destroy();
    block.series.forEach((series, index) => keys.children[index].replaceChildren(swatch(series.color), el("span", {}, series.name)));
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    drawn = new Chart(canvas, {
      type: "line",
      data: {datasets: block.series.map((series) => dataset(series, block))},
      options: {
        animation: false, maintainAspectRatio: false, parsing: false, normalized: true,
        interaction: {mode: block.x.scale === "nines" ? "index" : "x", axis: "x", intersect: false},
        scales: {x: axis(block, "x"), y: axis(block, "y")},
        plugins: {legend: {display: false}, tooltip: tooltip(block)},
      },
      plugins: [whiskers],
    });
    for (const index of hidden) drawn.setDatasetVisibility(index, false);
    if (hidden.size > 0) drawn.update();
  };
  redraws.push(draw);
  const node = el("div", {class: "chart"}, keys, el("div", {class: "canvas"}, canvas));
  node.draw = draw;
  return node;
}

// ---- heat maps ----

function channels(hex) { return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)); }

// Colours of 0 to 1.
function ramp() {
  const stops = ["h0", "h1", "h2", "h3"].map((name) => channels(color(name)));
  return (share) => {
    const at = Math.min(0.9999, Math.max(0, share)) * 3, i = Math.floor(at);
    return "rgb(" + stops[i].map((from, c) => Math.round(from + (stops[i + 1][c] - from) * (at - i))).join(",") + ")";
  };
}

const heatMargin = {left: 58, right: 8, top: 6, bottom: 34};

function heatMap(map, block, most, readout) {
  const canvas = el("canvas", {role: "img", "aria-label": "Latency over time of " + map.name});
  const rows = block.edges_ns.length - 1, height = 210;
  const place = () => {
    const width = canvas.clientWidth - heatMargin.left - heatMargin.right;
    const tall = height - heatMargin.top - heatMargin.bottom;
    return {width, tall, column: width / Math.max(1, map.columns.length), row: tall / rows};
  };
  const draw = () => {
    if (!canvas.isConnected || canvas.clientWidth === 0) return;
    const ratio = window.devicePixelRatio || 1, ctx = canvas.getContext("2d"), colorOf = ramp();
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = height + "px";
    ctx.scale(ratio, ratio);
    const {width, tall, column, row} = place();
    const gap = column > 6 ? 1 : 0;
    map.columns.forEach((of, c) => of.counts.forEach((count, i) => {
      if (count === 0) return;
      ctx.fillStyle = colorOf(Math.log1p(count) / Math.log1p(most));
      const top = heatMargin.top + tall - (of.first + i + 1) * row;
      ctx.fillRect(heatMargin.left + c * column, top, column - gap + (gap ? 0 : 0.4), row + 0.4);
    }));
    drawAxes(ctx, map, block, {width, tall, column});
  };
  canvas.addEventListener("pointermove", (event) => {
    const {tall, column, row} = place();
    const c = Math.floor((event.offsetX - heatMargin.left) / column);
    const r = Math.floor((heatMargin.top + tall - event.offsetY) / row);
    const of = map.columns[c];
    if (!of || r < 0 || r >= rows) { readout.textContent = ""; return; }
    const count = of.counts[r - of.first] || 0;
    readout.textContent = map.name + ", at " + format(block.x.unit, of.x) + ": " + format("ns", block.edges_ns[r]) + " to " +
      format("ns", block.edges_ns[r + 1]) + ": " + grouped(count) + " requests (" + threeDigits(100 * count / of.total) + " %)";
  });
  canvas.addEventListener("pointerleave", () => { readout.textContent = ""; });
  redraws.push(draw);
  const node = el("div", {}, el("h3", {}, map.name), canvas);
  node.draw = draw;
  return node;
}

function drawAxes(ctx, map, block, {width, tall, column}) {
  ctx.fillStyle = color("soft");
  ctx.strokeStyle = color("rule");
  ctx.font = "11.5px " + getComputedStyle(document.body).fontFamily;
  const low = Math.log(block.edges_ns[0]), high = Math.log(block.edges_ns[block.edges_ns.length - 1]);
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  let last = Infinity;
  for (const {value} of logTicks(block.edges_ns[0], block.edges_ns[block.edges_ns.length - 1])) {
    const y = heatMargin.top + tall * (1 - (Math.log(value) - low) / (high - low));
    if (last - y < 15) continue;
    last = y;
    ctx.fillText(format("ns", value), heatMargin.left - 7, y);
    ctx.beginPath(); ctx.moveTo(heatMargin.left - 4, y); ctx.lineTo(heatMargin.left, y); ctx.stroke();
  }
  ctx.beginPath();
  ctx.moveTo(heatMargin.left, heatMargin.top); ctx.lineTo(heatMargin.left, heatMargin.top + tall); ctx.lineTo(heatMargin.left + width, heatMargin.top + tall);
  ctx.stroke();
  ctx.textBaseline = "top";
  ctx.textAlign = "center";
  const every = Math.max(1, Math.ceil(70 / column));
  for (let c = 0; c < map.columns.length; c += every) {
    ctx.fillText(format(block.x.unit, map.columns[c].x), heatMargin.left + (c + 0.5) * column, heatMargin.top + tall + 4);
  }
  ctx.fillText(block.x.label, heatMargin.left + width / 2, heatMargin.top + tall + 18);
}

function heat(block) {
  let most = 1;
  for (const map of block.maps) for (const column of map.columns) for (const count of column.counts) most = Math.max(most, count);
  const readout = el("p", {class: "readout", role: "status"});
  const maps = block.maps.filter((map) => map.columns.length > 0).map((map) => heatMap(map, block, most, readout));
  const scale = el("span", {class: "scale"}, "1 request", el("i"), grouped(most));
  const node = el("div", {class: "heat"}, ...maps, readout, scale);
  node.draw = () => maps.forEach((map) => map.draw());
  return node;
}

// ---- putting it together ----

function views(block) {
  const select = el("select");
  block.views.forEach((of, index) => select.append(el("option", {value: index}, of.name)));
  const place = el("div");
  const shown = el("span", {class: "shown"});  // on paper
  const show = () => {
    shown.textContent = block.views[select.value].name;
    for (const canvas of place.querySelectorAll("canvas")) {
      const old = Chart.getChart(canvas);
      if (old) old.destroy();
    }
    const node = drawBlock(block.views[select.value].block);
    place.replaceChildren(node);
    if (node.draw && place.isConnected) node.draw();
  };
  select.addEventListener("change", show);
  show();
  const node = el("div", {}, el("label", {class: "choose"}, block.label, select, shown), place);
  node.draw = () => { const inner = place.firstChild; if (inner.draw) inner.draw(); };
  return node;
}

const drawers = {verdicts, figures, facts, table, chart, heat, views};
function drawBlock(block) {
  const node = drawers[block.type](block);
  node.classList.add("block");
  return node;
}

function section(of, id) {
  const blocks = of.blocks.map(drawBlock);
  const inside = [of.note ? el("p", {class: "note"}, of.note) : null, ...blocks];
  const node = el("section", {id}, of.closed ? el("details", {}, el("summary", {}, of.title), ...inside.filter((child) => child)) : null);
  if (!of.closed) node.append(el("h2", {}, of.title), ...inside.filter((child) => child));
  node.draw = () => blocks.forEach((block) => { if (block.draw) block.draw(); });
  return node;
}

function show() {
  const main = document.getElementById("report"), contents = document.getElementById("contents");
  view.reports.forEach((report, r) => {
    const article = el("article", {}, el("h1", {}, report.heading), el("p", {class: "lead"}, report.lead));
    const list = el("ol");
    main.append(article);
    report.sections.forEach((of, s) => {
      const id = "r" + r + "s" + s, node = section(of, id);
      article.append(node);
      node.draw();
      list.append(el("li", {}, el("a", {href: "#" + id}, of.title)));
    });
    if (view.reports.length > 1) contents.append(el("p", {}, report.heading));
    contents.append(list);
  });
}

// ---- themes and paper ----

const darkWanted = window.matchMedia("(prefers-color-scheme: dark)");
const themeButton = document.getElementById("theme");
let chosen = null;  // by the button; else as the system wants it

function setTheme(theme) {
  if (root.dataset.theme === theme) return;
  root.dataset.theme = theme;
  themeButton.textContent = theme === "dark" ? "Light" : "Dark";
  themeButton.setAttribute("aria-label", "Switch to " + (theme === "dark" ? "light" : "dark") + " colours");
  for (const draw of redraws) draw();
}

const wantedTheme = () => chosen || (darkWanted.matches ? "dark" : "light");
themeButton.addEventListener("click", () => {
  chosen = wantedTheme() === "dark" ? "light" : "dark";
  setTheme(chosen);
});
darkWanted.addEventListener("change", () => setTheme(wantedTheme()));

let opened = [];
window.addEventListener("beforeprint", () => {
  setTheme("light");
  // Long lists of figures stay closed, and are left out.
  opened = [...document.querySelectorAll("details:not([open])")].filter((details) => details.querySelectorAll("tr").length < 60);
  for (const details of opened) details.open = true;
});
window.addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
  setTheme(wantedTheme());
});

let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === width) return;
  width = window.innerWidth;
  for (const draw of redraws) draw();
});

setTheme(wantedTheme());
show();
})();
