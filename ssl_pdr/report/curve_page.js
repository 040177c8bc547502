"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const looks = new Map(data.methods.map((method) => [method.name, method]));
  const state = { hidden: new Set(["tfidf"]), intervals: true, seeds: false };
  const all = (selector) => [...document.querySelectorAll(selector)];
  const unique = (values) => [...new Set(values)];

  const set = (element, attributes, children) => {
    for (const [key, value] of Object.entries(attributes)) if (value !== "") element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const svg = (tag, attributes = {}, ...children) =>
    set(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  const html = (tag, attributes = {}, ...children) => set(document.createElement(tag), attributes, children);

  // What a method looks like.
  const mark = (look, x, y, size) =>
    svg("path", { class: `mark ${look.colour}`, d: look.marker, transform: `translate(${x} ${y}) scale(${size})` });
  const glyph = (look) =>
    svg("svg", { class: "glyph", viewBox: "0 0 30 14", "aria-hidden": "true" },
      svg("path", { class: `line ${look.colour}`, "stroke-dasharray": look.dash, d: "M0 7H30" }), mark(look, 15, 7, 4.5));

  // Scales and their ticks.
  const scale = ([low, high], [from, to], log) => {
    const warp = log ? Math.log : (value) => value;
    const span = warp(high) - warp(low);
    return (value) => (span ? from + ((warp(value) - warp(low)) / span) * (to - from) : (from + to) / 2);
  };
  const evenTicks = (low, high) => {
    const raw = (high - low) / 5;
    const size = 10 ** Math.floor(Math.log10(raw));
    const step = size * [1, 2, 5, 10].find((factor) => factor * size >= raw);
    const ticks = [];
    for (let i = Math.ceil(low / step); i * step <= high; i += 1) ticks.push(i * step);
    return ticks;
  };
  const logTicks = (low, high) => {
    const ticks = [];
    const factors = Math.log10(high / low) < 2 ? [1, 2, 5] : [1];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1)
      for (const factor of factors) if (factor * 10 ** power >= low && factor * 10 ** power <= high) ticks.push(factor * 10 ** power);
    return ticks.length > 1 ? ticks : [low, high];
  };
  const short = (value) => {
    const size = Math.abs(value);
    const rounded = Number(value.toPrecision(3));
    const text = size && (size < 1e-4 || size >= 1e6) ? rounded.toExponential() : String(rounded);
    return text.replaceAll("-", "−").replace("e+", "e");
  };

  // A plot: series of points, each with its interval, its seeds, and the lines of text that explain it.
  const plots = new Map();
  const draw = (host, spec) => {
    const width = Math.max(host.clientWidth, 240);
    const height = spec.small ? 230 : Math.min(Math.max(width * 0.5, 280), 460);
    const series = spec.series.filter((one) => !state.hidden.has(one.method) && one.points.length);
    const points = series.flatMap((one) => one.points);
    const chart = svg("svg", {
      class: "chart", viewBox: `0 0 ${width} ${height}`, role: "application", tabindex: "0", "aria-roledescription": "plot",
      "aria-label": `${spec.label}. Arrow keys go from point to point; the numbers are in the tables too.`,
    });
    const placed = points.length ? paint(chart, series, spec, width, height) : [];
    if (!points.length) chart.append(svg("text", { class: "empty", x: width / 2, y: height / 2, "text-anchor": "middle" }, spec.empty));
    const tip = html("div", { class: "tip", hidden: "hidden", "aria-hidden": "true" });
    const spoken = html("p", { class: "spoken", "aria-live": "polite" });
    host.replaceChildren(chart, tip, spoken);
    host.dataset.drawn = points.length;
    explain(host, chart, tip, spoken, placed, width, height);
  };

  const paint = (chart, series, spec, width, height) => {
    const points = series.flatMap((one) => one.points);
    const room = { left: 52, right: 16, top: 26, bottom: spec.budgets ? 62 : 42 };
    const right = width - room.right, bottom = height - room.bottom;
    const heights = points.flatMap((p) => [p.y, ...(state.intervals ? [p.low, p.high] : []), ...(state.seeds ? p.seeds : [])]).filter((v) => v !== null);
    if (spec.zero) heights.push(0);
    let low = Math.min(...heights), high = Math.max(...heights);
    const pad = spec.log ? 0 : Math.max((high - low) * 0.06, high === low ? Math.max(Math.abs(high) * 0.05, 0.5) : 0);
    [low, high] = spec.log && low === high ? [low / 2, high * 2] : [low - (spec.floor && low >= 0 ? Math.min(pad, low) : pad), high + pad];
    const y = scale([low, high], [bottom, room.top], spec.log);
    const values = spec.budgets ? data.budgets.map(({ value }) => value) : points.map((p) => p.x);
    const inner = spec.budgets ? Math.min(width * 0.09, 70) : 6;
    const x = scale([Math.min(...values), Math.max(...values)], [room.left + inner, right - inner], spec.budgets);

    for (const tick of spec.log ? logTicks(low, high) : evenTicks(low, high)) {
      chart.append(svg("line", { class: spec.zero && tick === 0 ? "axis" : "grid", x1: room.left, x2: right, y1: y(tick), y2: y(tick) }));
      chart.append(svg("text", { x: room.left - 8, y: y(tick) + 4, "text-anchor": "end" }, (spec.zero && tick > 0 ? "+" : "") + short(tick)));
    }
    chart.append(svg("text", { x: 0, y: 12 }, spec.yLabel));
    chart.append(svg("line", { class: "axis", x1: room.left, x2: right, y1: bottom, y2: bottom }));
    (spec.budgets ? budgetTicks : stepTicks)(chart, x, bottom, values);
    chart.append(svg("text", { x: (room.left + right) / 2, y: height - 4, "text-anchor": "middle" }, spec.xLabel));

    const gaps = values.map(x).sort((a, b) => a - b).map((at, i, every) => (i ? at - every[i - 1] : Infinity));
    const apart = spec.budgets ? Math.min(Math.min(...gaps, width * 0.9) * (gaps.length > 1 ? 0.55 : 0.9) / series.length, gaps.length > 1 ? 9 : Infinity) : 0;
    return series.map((one, i) => trace(chart, one, spec, (value) => x(value) + apart * (i - (series.length - 1) / 2), y));
  };

  const budgetTicks = (chart, x, bottom) => {
    let free = -Infinity;
    for (const { value, share, labels } of data.budgets) {
      const half = 3.6 * Math.max(share.length, labels.length);
      chart.append(svg("line", { class: "axis", x1: x(value), x2: x(value), y1: bottom, y2: bottom + 5 }));
      if (x(value) - half < free) continue;
      free = x(value) + half + 4;
      chart.append(svg("text", { class: "share", x: x(value), y: bottom + 19, "text-anchor": "middle" }, share));
      chart.append(svg("text", { x: x(value), y: bottom + 35, "text-anchor": "middle" }, labels));
    }
  };
  const stepTicks = (chart, x, bottom, values) => {
    for (const tick of evenTicks(Math.min(...values), Math.max(...values, Math.min(...values) + 1)))
      if (tick <= Math.max(...values)) chart.append(svg("text", { x: x(tick), y: bottom + 18, "text-anchor": "middle" }, short(tick)));
  };

  const trace = (chart, { method, points }, spec, x, y) => {
    const look = looks.get(method);
    const group = svg("g", { class: `series ${look.colour}`, "data-series": method });
    const path = points.map((p, i) => `${i ? "L" : "M"}${x(p.x).toFixed(1)} ${y(p.y).toFixed(1)}`).join("");
    group.append(svg("path", { class: "line", d: path, "stroke-dasharray": look.dash }));
    const every = spec.budgets ? 1 : Math.ceil(points.length / 6);
    points.forEach((p, i) => {
      const at = x(p.x);
      if (state.intervals && p.low !== null && p.high !== null) {
        group.append(svg("path", { class: "bar", d: `M${at} ${y(p.low)}V${y(p.high)}M${at - 3.5} ${y(p.low)}h7M${at - 3.5} ${y(p.high)}h7` }));
      }
      if (state.seeds) for (const seed of p.seeds) group.append(svg("circle", { class: "seed", cx: at, cy: y(seed), r: 2.75 }));
      if (i % every === 0) group.append(mark(look, at, y(p.y), spec.budgets ? 5.5 : 3.5));
    });
    chart.append(group);
    return points.map((p) => ({ x: x(p.x), y: y(p.y), method, text: p.text }));
  };

  // A point explains itself: to a pointer that is near, to a tap, and to the arrow keys.
  const explain = (host, chart, tip, spoken, placed, width, height) => {
    const ring = svg("circle", { class: "cursor", r: 9, visibility: "hidden" });
    chart.append(ring);
    let place = [0, -1];
    const hide = () => { tip.hidden = true; ring.setAttribute("visibility", "hidden"); };
    const show = (row, column, aloud) => {
      place = [row, column];
      const point = placed[row][column], name = looks.get(point.method).label;
      set(ring, { cx: point.x, cy: point.y, visibility: "visible" }, []);
      tip.replaceChildren(html("b", {}, name), ...point.text.map((line) => html("span", {}, line)));
      tip.hidden = false;
      const ratio = host.clientWidth / width;
      const left = point.x * ratio + 16 + tip.offsetWidth > host.clientWidth ? point.x * ratio - tip.offsetWidth - 16 : point.x * ratio + 16;
      const narrow = host.clientWidth < 480, at = point.y * ratio;
      const beside = Math.max(Math.min(at - tip.offsetHeight / 2, height * ratio - tip.offsetHeight), 0);
      tip.style.left = `${Math.max(Math.min(left, host.clientWidth - tip.offsetWidth), 0)}px`;
      tip.style.top = `${narrow ? at + (point.y > height / 2 ? -tip.offsetHeight - 16 : 16) : beside}px`;
      if (aloud) spoken.textContent = `${name}: ${point.text.join(", ")}`;
    };
    const near = (event) => {
      const box = chart.getBoundingClientRect(), ratio = width / box.width;
      const at = { x: (event.clientX - box.left) * ratio, y: (event.clientY - box.top) * ratio };
      let best = null, distance = 44;
      placed.forEach((row, i) => row.forEach((point, j) => {
        const away = Math.hypot(point.x - at.x, point.y - at.y);
        if (away < distance) [best, distance] = [[i, j], away];
      }));
      if (best) show(...best); else hide();
    };
    chart.addEventListener("pointermove", near);
    chart.addEventListener("pointerdown", near);
    chart.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") hide(); });
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", (event) => {
      const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
      if (event.key === "Escape") hide();
      if (!(event.key in moves) || !placed.length) return;
      event.preventDefault();
      const [down, along] = moves[event.key];
      const row = (place[0] + down + placed.length) % placed.length;
      const column = Math.min(Math.max(place[1] + along, 0), placed[row].length - 1);
      show(row, column, true);
    });
  };

  // What each plot shows now.
  const grouped = (points) =>
    data.methods.map(({ name }) => ({ method: name, points: points.filter((p) => p.method === name && p.y !== null).sort((a, b) => a.x - b.x) })).filter((one) => one.points.length);
  const part = () => data.parts.find(({ name }) => name === state.part) ?? { label: "nothing", metric: "score" };
  const budgetPlot = (points, more) => () => ({
    series: grouped(points()), budgets: true, xLabel: "labels: share and number, logarithmic", empty: "no run of it is finished", ...more(),
  });
  const runPlot = (key, more) => () => {
    const budget = data.budgets.find(({ value }) => String(value) === state.budget);
    const points = data.runs.filter((run) => run.x === budget?.value && String(run.seed) === state.seed).flatMap((run) =>
      run.step.map((step, i) => ({ method: run.method, x: step, y: run[key][i], low: null, high: null, seeds: [], text: [`step ${step}`, `${more.yLabel} ${short(run[key][i] ?? 0)}`] }))
        .filter((p) => p.y !== null && (!more.log || p.y > 0)));
    return { series: grouped(points), small: true, xLabel: "optimizer step", empty: "no run here has any", ...more };
  };
  const specs = {
    scores: budgetPlot(() => data.points.filter((p) => p.part === state.part),
      () => ({ floor: true, yLabel: `${part().metric}, %`, label: `${part().metric} by label budget, evaluated on ${part().label}` })),
    differences: budgetPlot(() => data.differences.filter((p) => p.part === state.part && p.against === state.against),
      () => ({ zero: true, yLabel: `difference in ${part().metric}, points`, label: `Difference to ${state.against} by label budget, evaluated on ${part().label}` })),
    ce: runPlot("ce", { yLabel: "CE", label: "Cross-entropy over the steps", floor: true }),
    r: runPlot("r", { yLabel: "R", label: "R over the steps", log: true }),
    share: runPlot("share", { yLabel: "dropout's share, %", label: "Share of dropout in R over the steps", floor: true }),
  };

  const legend = (section) => {
    const shown = new Set([...section.querySelectorAll(".plot")].flatMap((host) => plots.get(host)().series.map(({ method }) => method)));
    section.querySelector(".legend").replaceChildren(...data.methods.filter(({ name }) => shown.has(name)).map((look) => {
      const button = html("button", { type: "button", "aria-pressed": String(!state.hidden.has(look.name)), "data-toggle": look.name }, glyph(look), look.label);
      const stress = (on) => section.querySelectorAll(".series").forEach((one) => one.classList.toggle("dim", on && one.dataset.series !== look.name && !state.hidden.has(look.name)));
      button.addEventListener("click", () => {
        if (!state.hidden.delete(look.name)) state.hidden.add(look.name);
        render();
        [...section.querySelectorAll(".legend button")].find((one) => one.dataset.toggle === look.name)?.focus();
      });
      button.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") stress(true); });
      button.addEventListener("pointerleave", () => stress(false));
      return button;
    }));
  };
  const render = () => {
    all("tbody[data-part]").forEach((rows) => { rows.hidden = rows.dataset.part !== state.part; });
    for (const [host, spec] of plots) draw(host, spec());
    all("section").filter((section) => section.querySelector(".legend")).forEach(legend);
  };

  // Choices: the same one stands in more than one place, and moves in all.
  const choose = (key, value) => {
    state[key] = value;
    all(`[data-choice="${key}"] input`).forEach((input) => { input.checked = input.value === value; });
    render();
  };
  const offer = (key, values, at = 0) => {
    state[key] = values[at]?.value;
    all(`[data-choice="${key}"]`).forEach((host, number) => {
      const select = host.tagName === "SELECT";
      host.append(...values.map(({ value, label }, i) => {
        if (select) return html("option", { value, ...(i === at ? { selected: "selected" } : {}) }, label);
        return html("label", {}, html("input", { type: "radio", name: `${key}${number}`, value, ...(i === at ? { checked: "checked" } : {}) }), html("span", {}, label));
      }));
      host.addEventListener("change", (event) => choose(key, event.target.value));
    });
  };

  all("[data-method]").forEach((name) => { const look = looks.get(name.dataset.method); if (look) name.prepend(glyph(look)); });
  all("[data-plot]").forEach((host) => plots.set(host, specs[host.dataset.plot]));
  offer("part", data.parts.map(({ name, label }) => ({ value: name, label })));
  offer("against", data.against.map((name) => ({ value: name, label: looks.get(name)?.label ?? name })));
  const trained = data.budgets.filter(({ value }) => data.runs.some((run) => run.x === value));
  offer("budget", trained.map(({ value, share, labels }) => ({ value: String(value), label: `${share}, ${labels} labels` })));
  offer("seed", unique(data.runs.map((run) => String(run.seed))).sort((a, b) => a - b).map((seed) => ({ value: seed, label: seed })));
  all("[data-option]").forEach((box) => box.addEventListener("change", () => { state[box.dataset.option] = box.checked; render(); }));
  render();
  let known = document.body.clientWidth;
  new ResizeObserver(() => {
    if (document.body.clientWidth === known) return;
    known = document.body.clientWidth;
    render();
  }).observe(document.body);
})();
