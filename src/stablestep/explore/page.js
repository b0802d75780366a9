// The page: sliders on the left, what the constants allow on the right, all of it in the address.
"use strict";
(() => {
  const { ALWAYS, INPUTS, METHODS, normalization, results, shares, thresholds, wrong } = StableStep;
  const given = JSON.parse(document.getElementById("given").textContent);
  const state = { method: "sgd" };

  const element = (kind, attributes = {}, ...children) => {
    const made = Object.assign(document.createElement(kind), attributes);
    made.append(...children);
    return made;
  };
  const at = (id) => document.getElementById(id);

  /** Four significant digits, powers of ten where they help. */
  function shown(value) {
    if (value === null || value === undefined) return "–";
    if (!Number.isFinite(value)) return value > 0 ? "∞" : "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e5 || size < 1e-3) {
      const [digits, power] = value.toExponential(3).split("e");
      const raised = [...String(Number(power))].map((d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"["0123456789".indexOf(d)] ?? "⁻").join("");
      return Number(digits) === 1 ? `10${raised}` : `${Number(digits)}·10${raised}`;
    }
    return String(Number(value.toPrecision(4)));
  }
  const typed = (value) => value === Infinity ? "inf" : String(Number(value.toPrecision(6)));
  const read = (text) => /^\s*(inf|infinity|∞)\s*$/i.test(text) ? Infinity : text.trim() === "" ? NaN : Number(text);

  function start() {
    for (const [name, one] of Object.entries(INPUTS)) state[name] = one.value;
    for (const [name, value] of Object.entries(given.inputs ?? {})) {
      state[name] = name !== "method" && typeof value === "string" ? read(value) : value;
    }
  }

  // ---- the address -------------------------------------------------------------------------------------------------------------------

  const words = [];
  function fromAddress() {
    words.length = 0;
    for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
      if (name === "method") {
        if (METHODS[text]) state.method = text;
        else words.push(`There is no method "${text}"; this is ${METHODS[state.method].title}.`);
      } else if (!INPUTS[name]) {
        words.push(`There is no constant "${name}".`);
      } else {
        state[name] = read(text);
      }
    }
  }

  function toAddress() {
    const kept = [...ALWAYS, ...METHODS[state.method].inputs];
    const query = new URLSearchParams({ method: state.method });
    for (const name of kept) query.set(name, typed(state[name]));
    history.replaceState(null, "", `#${query}`);
  }

  // ---- sliders -----------------------------------------------------------------------------------------------------------------------

  const TICKS = 400;
  const position = ({ low, high, log, zero, infinite }, value) => {
    if (zero && value === 0) return 0;
    if (infinite && value === Infinity) return TICKS;
    const share = log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    return Math.round(Math.min(1, Math.max(0, share)) * (TICKS - 2)) + 1;
  };
  const valueAt = ({ low, high, log, zero, infinite, whole }, tick) => {
    if (zero && tick <= 0) return 0;
    if (infinite && tick >= TICKS) return Infinity;
    const share = Math.min(1, Math.max(0, (tick - 1) / (TICKS - 2)));
    const value = log ? low * (high / low) ** share : low + (high - low) * share;
    return whole ? Math.max(1, Math.round(value)) : Number(value.toPrecision(3));
  };

  const rows = {};
  function control(name) {
    const one = INPUTS[name];
    const label = element("label", { title: one.says, htmlFor: `at-${name}` }, element("b", {}, one.title), " ", element("small", {}, one.says));
    const fault = element("p", { className: "fault", role: "alert" });
    if (one.flag) {
      const box = element("input", { type: "checkbox", id: `at-${name}` });
      box.addEventListener("change", () => { state[name] = Number(box.checked); update(); });
      rows[name] = { show: () => { box.checked = state[name] === 1; } };
      return element("div", { className: "control", id: `control-${name}` }, element("div", { className: "flag" }, box, label), fault);
    }
    const slider = element("input", { type: "range", min: 0, max: TICKS, step: 1, id: `at-${name}` });
    const field = element("input", { type: "text", inputMode: "decimal", ariaLabel: one.title });
    slider.addEventListener("input", () => { state[name] = valueAt(one, Number(slider.value)); field.value = typed(state[name]); update(); });
    field.addEventListener("input", () => { state[name] = read(field.value); slider.value = position(one, state[name]); update(); });
    rows[name] = { show: () => { slider.value = position(one, state[name]); field.value = typed(state[name]); } };
    return element("div", { className: "control", id: `control-${name}` }, label, element("div", { className: "slide" }, slider, field), fault);
  }

  function faults() {
    let found = false;
    for (const name of Object.keys(INPUTS)) {
      const used = ALWAYS.includes(name) || METHODS[state.method].inputs.includes(name);
      const reason = used ? wrong(name, state[name]) : null;
      at(`control-${name}`).hidden = !used;
      at(`control-${name}`).querySelector(".fault").textContent = reason ? `${INPUTS[name].title} ${reason}.` : "";
      found ||= reason !== null;
    }
    return found;
  }

  // ---- pictures ----------------------------------------------------------------------------------------------------------------------

  const COLORS = ["#0b5394", "#c2410c", "#15803d", "#7c3aed", "#b45309", "#0f766e", "#be185d"];
  const plots = {};

  /** Curves [{label, values}] over x, both logarithmic; one dashed line at x = now. */
  function draw(id, x, curves, { title, now }) {
    const box = at(id), key = curves.map((curve) => curve.label).join();
    const data = [x, ...curves.map(({ values }) => values.map((v) => Number.isFinite(v) && v > 0 ? v : null))];
    const empty = data.slice(1).every((values) => values.every((v) => v === null));
    at(`${id}-none`).hidden = !empty;
    box.hidden = empty;
    if (empty) return;
    if (plots[id]?.key === key) { plots[id].now = now; plots[id].plot.setData(data); return; }
    plots[id]?.plot.destroy();
    const kept = plots[id] = { key, now };
    const mark = (u) => {
      if (kept.now === null || !(kept.now >= x[0] && kept.now <= x[x.length - 1])) return;
      const left = u.valToPos(kept.now, "x", true);
      u.ctx.save(); u.ctx.strokeStyle = "#888"; u.ctx.setLineDash([4, 4]); u.ctx.beginPath();
      u.ctx.moveTo(left, u.bbox.top); u.ctx.lineTo(left, u.bbox.top + u.bbox.height); u.ctx.stroke(); u.ctx.restore();
    };
    const power = (u, splits) => splits.map((v) => v === null ? "" : /^1e|^1(0*)$|^0\.0*1$/.test(String(v)) ? shown(v) : "");
    kept.plot = new uPlot({
      width: box.clientWidth || 600, height: 300, title,
      scales: { x: { time: false, distr: 3 }, y: { distr: 3 } },
      axes: [{ label: box.dataset.x, values: power }, { label: box.dataset.y, values: power, size: 70 }],
      series: [{ label: box.dataset.x, value: (u, v) => shown(v) }, ...curves.map(({ label }, k) => (
        { label, stroke: COLORS[k % COLORS.length], width: 2, points: { show: false }, value: (u, v) => shown(v) }))],
      hooks: { drawAxes: [mark] },
    }, data, box);
  }

  const spread = (low, high, count = 121) => Array.from({ length: count }, (_, k) => low * (high / low) ** (k / (count - 1)));
  const GRADIENTS = spread(1e-3, 1e3), OMEGAS = spread(1e-2, 1e4);

  function limitsPicture() {
    const known = results(state).filter((one) => one.reason === null && !(one.name.startsWith("B.") && state.method === "sgd"));
    const each = GRADIENTS.map((gradient) => results({ ...state, gradient }));
    const curves = known.map(({ name }) => ({ label: name, values: each.map((found) => found.find((one) => one.name === name).limit) }));
    draw("limits", GRADIENTS, curves, { title: "The step that each result allows", now: state.gradient });
  }

  function thresholdsPicture() {
    const each = OMEGAS.map((omega) => thresholds({ ...state, omega }));
    const curves = Object.keys(each[0]).map((label) => ({ label, values: each.map((found) => found[label]) }));
    draw("thresholds", OMEGAS, curves, { title: `Exact edge on ½ L₀ ‖x‖² (β = ${shown(state.beta)})`, now: state.omega });
  }

  // ---- what it says ------------------------------------------------------------------------------------------------------------------

  function table() {
    const found = results(state);
    const known = found.filter((one) => one.reason === null), others = found.filter((one) => one.reason && one.reason !== "about another method");
    at("results").replaceChildren(...known.map((one) => element("tr", {},
      element("td", {}, element("b", {}, one.name)), element("td", { className: "number" }, shown(one.limit)),
      element("td", { className: "number" }, one.printed === null ? "" : shown(one.printed)), element("td", {}, one.about))),
    ...others.map((one) => element("tr", { className: "dim" },
      element("td", {}, one.name), element("td", { className: "number" }, "–"), element("td", {}, ""), element("td", {}, `${one.about}; ${one.reason}`))));
    at("printed").hidden = !known.some((one) => one.printed !== null);
  }

  function sentence() {
    const safe = normalization(state), found = shares(state);
    at("step").textContent = safe === null
      ? "What this method's results allow does not depend on the gradient norm." : `Safe at every gradient: h = 1/(${shown(safe.a)} + ${shown(safe.b)} ‖∇f‖).`;
    at("shares").hidden = found === null;
    for (const [name, share] of Object.entries(found ?? {})) {
      const bar = at(`share-${name}`);
      bar.style.flexGrow = share;
      bar.textContent = share > 0.12 ? `${name} ${Math.round(100 * share)} %` : "";
      bar.title = `${name} ${(100 * share).toFixed(1)} %`;
    }
  }

  function update() {
    const bad = faults();
    at("said").textContent = words.join(" ");
    at("found").classList.toggle("stale", bad);
    if (bad) return;
    at("about").textContent = METHODS[state.method].title;
    table();
    sentence();
    limitsPicture();
    thresholdsPicture();
    toAddress();
  }

  function everything() {
    at("method").value = state.method;
    for (const row of Object.values(rows)) row.show();
    update();
  }

  // ---- a measured map ----------------------------------------------------------------------------------------------------------------

  function measured(map) {
    at("measured").hidden = false;
    at("measured-words").textContent = map.words;
    const canvas = at("map"), context = canvas.getContext("2d"), [left, bottom, edge] = [80, 50, 10];
    const width = canvas.width - left - edge, height = canvas.height - bottom - edge, wide = width / map.values.length, high = height / map.eta.length;
    map.up.forEach((row, i) => row.forEach((share, j) => {
      const light = Math.round(245 - 200 * share);
      context.fillStyle = `rgb(${light},${Math.round(light * 0.97)},${Math.round(light * 0.95)})`;
      context.fillRect(left + i * wide, edge + height - (j + 1) * high, wide + 1, high + 1);
    }));
    const row = (eta) => edge + height - high * (0.5 + (Math.log(eta / map.eta[0]) / Math.log(map.eta[map.eta.length - 1] / map.eta[0])) * (map.eta.length - 1));
    Object.entries(map.predicted).forEach(([name, steps], k) => {
      context.strokeStyle = COLORS[k]; context.lineWidth = 2; context.beginPath();
      let begun = false;
      steps.forEach((eta, i) => {
        const y = eta > 0 ? row(eta) : NaN;
        if (!(y >= edge && y <= edge + height)) { begun = false; return; }
        context[begun ? "lineTo" : "moveTo"](left + (i + 0.5) * wide, y); begun = true;
      });
      context.stroke();
      at("map-legend").append(element("span", { style: `color: ${COLORS[k]}` }, `— ${name} `));
    });
    context.fillStyle = "#333"; context.font = "14px system-ui, sans-serif"; context.textAlign = "center";
    map.values.forEach((value, i) => {
      if (i % Math.ceil(map.values.length / 8) === 0) context.fillText(shown(value), left + (i + 0.5) * wide, canvas.height - 28);
    });
    context.fillText(map.name, left + width / 2, canvas.height - 8);
    context.textAlign = "right";
    map.eta.forEach((eta, j) => {
      if (j % Math.ceil(map.eta.length / 8) === 0) context.fillText(shown(eta), left - 8, edge + height - (j + 0.4) * high);
    });
    context.save(); context.translate(14, edge + height / 2); context.rotate(-Math.PI / 2); context.textAlign = "center";
    context.fillText("step η", 0, 0); context.restore();
  }

  at("method").append(...Object.entries(METHODS).map(([value, { title }]) => element("option", { value }, title)));
  at("method").addEventListener("change", (event) => { state.method = event.target.value; everything(); });
  at("controls").append(...Object.keys(INPUTS).map(control));
  at("reset").addEventListener("click", () => {
    start();
    words.length = 0;
    everything();
  });
  window.addEventListener("hashchange", () => { fromAddress(); everything(); });
  window.addEventListener("resize", () => {
    for (const [id, { plot }] of Object.entries(plots)) plot.setSize({ width: at(id).clientWidth, height: 300 });
  });
  start();
  fromAddress();
  everything();
  if (given.map) measured(given.map);
})();
