// Draws the charts of a page from the numbers in it. What they mean was decided when the page was written.
"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("numbers").textContent);
  const still = { displayModeBar: false, responsive: true, scrollZoom: false, showTips: false, doubleClick: "reset" };
  const times = charts.filter((it) => it.time);
  const hasRight = charts.some((it) => it.axes.length > 1);
  const plots = new Map();
  let printing = false;
  let revision = 0;

  // Texts of reports are texts, also where plotly takes a little HTML.
  const plain = (text) => String(text).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (number) => css(number === 0 ? "--text" : number > 10 ? `--b${number - 10}` : `--s${number}`);

  // Charts of one group show the same stretch of time; most pages have one group.
  const wholeOf = (group) => {
    let [from, to] = [Infinity, -Infinity];
    for (const chart of times.filter((it) => it.group === group)) {
      for (const series of chart.series) {
        for (const x of [...series.x, ...(series.until || [])]) {
          if (x !== null) [from, to] = [Math.min(from, x), Math.max(to, x)];
        }
      }
    }
    if (!(to > from)) return [0, 1];
    const margin = (to - from) * 0.01;
    return [from - margin, to + margin];
  };
  const wholeRuns = new Map([...new Set(times.map((it) => it.group))].map((group) => [group, wholeOf(group)]));
  const shown = new Map(wholeRuns);

  const trace = (series, chart) => {
    const line = colour(series.colour);
    const common = {
      name: plain(series.name), type: "scatter", mode: "lines", x: series.x, y: series.y, showlegend: false,
      yaxis: series.right ? "y2" : "y", connectgaps: false,
      line: { color: line, width: series.thin ? 1.2 : 2, dash: series.dash ? "6px,4px" : "solid" },
      hovertemplate: `%{${chart.rows.length ? "x" : "y"}:.4~g} ${plain(series.unit)}<extra>%{fullData.name}</extra>`,
    };
    switch (series.shape) {
      case "backwards": common.line.shape = "vh"; return common;
      case "forwards": common.line.shape = "hv"; return common;
      case "area": return { ...common, fill: "tozeroy", fillcolor: css("--b4") };
      case "band":
        return { ...common, line: { color: css("--s1"), width: 0.8 }, fill: series === chart.series[0] ? "tozeroy" : "tonexty", fillcolor: line };
      case "points": return { ...common, mode: "lines+markers", marker: { size: 8, color: line } };
      case "dots": return { ...common, mode: "markers", marker: { size: 9, color: line, opacity: 0.55 } };
      case "spans": return spans(series, common);
      default: return common;
    }
  };

  // How strong a cell is says how large its share is, on a logarithmic scale down to a hundred thousandth.
  const heat = (chart, isShown) => ({
    type: "heatmap", x: chart.heat.x, y: chart.heat.y, z: chart.heat.z.map((row) => row.map((share) => (share === null ? null : Math.log10(share)))),
    zmin: -5, zmax: 0, showscale: false, hoverinfo: "skip", hoverongaps: false, visible: isShown,
    colorscale: [[0, css("--h1")], [0.5, css("--h2")], [1, css("--h3")]],
  });

  // Each span is a thick line of its own, and has a tick at its beginning, so that a short one is seen too.
  const spans = (series, common) => {
    const [x, y, length] = [[], [], []];
    series.x.forEach((from, index) => {
      const to = series.until[index];
      x.push(from, to, null);
      y.push(series.y[index], series.y[index], null);
      const text = `${((to - from) * 1000).toPrecision(4)} ms`;
      length.push(text, text, null);
    });
    return {
      ...common, x, y, customdata: length, mode: "lines+markers", line: { color: common.line.color, width: 12 },
      marker: { symbol: "line-ns", size: 16, line: { width: 2, color: common.line.color } },
      hovertemplate: `from %{x:.3f} s, %{customdata}<extra>%{fullData.name}</extra>`,
    };
  };

  const shapes = (chart, marksShown) => {
    if (!chart.time || !marksShown) return [];
    return chart.marks.map((mark) => {
      const common = { xref: "x", yref: "paper", y0: 0, y1: 1, x0: mark.from, x1: mark.to === null ? mark.from : mark.to, layer: "below" };
      switch (mark.kind) {
        case "pass": return { ...common, type: "line", line: { color: css("--soft"), width: 0.7, dash: "2px,3px" }, opacity: 0.75 };
        case "end": return { ...common, type: "line", line: { color: css("--text"), width: 1.4 } };
        // Seen also where it is narrower than a pixel.
        case "switchover": return { ...common, type: "rect", fillcolor: css("--switchover"), line: { color: css("--s2"), width: 1 } };
        default: return { ...common, type: "rect", fillcolor: css(`--${mark.kind}`), line: { width: 0 } };
      }
    });
  };

  // Words above the chart, in two rows, as far as there is room for them; the most telling first.
  const annotations = (chart, marksShown, width) => {
    if (!chart.time || !marksShown) return [];
    const [from, to] = shown.get(chart.group);
    const pixels = (x) => ((x - from) / (to - from)) * width;
    const taken = [[], []];
    const texts = [];
    const rank = { switchover: 0, end: 1, postcopy: 2, warmup: 3, pass: 4 };
    for (const mark of [...chart.marks].sort((a, b) => rank[a.kind] - rank[b.kind])) {
      if (!mark.text) continue;
      const begin = Math.max(mark.from, from);
      const end = Math.min(mark.to === null ? mark.from : mark.to, to);
      if (end < begin) continue;
      const row = mark.kind === "pass" ? 0 : 1;
      const half = (mark.text.length * 6.4) / 2 + 4;
      const at = Math.min(Math.max(pixels((begin + end) / 2), half), width - half);
      if (taken[row].some((it) => Math.abs(it.at - at) < it.half + half)) continue;
      taken[row].push({ at, half });
      texts.push({
        x: from + (at / width) * (to - from), xref: "x", y: 1, yref: "paper", yanchor: "bottom", xanchor: "center", yshift: row * 15 + 1,
        showarrow: false, text: plain(mark.text), font: { size: 11, color: css(mark.kind === "switchover" ? "--s2" : "--soft") },
      });
    }
    return texts;
  };

  const margins = (chart) => ({ l: 58, r: hasRight ? 54 : 14, t: chart.time && chart.marks.length ? 38 : 12, b: 44 });
  const inner = (plot) => Math.max(80, plot.clientWidth - 58 - (hasRight ? 54 : 14));

  // Powers of ten alone would leave an axis without a number when what it shows lies between two of them.
  const logTicks = (values) => {
    let [least, most] = [Infinity, 0];
    for (const value of values) {
      if (value > 0) [least, most] = [Math.min(least, value), Math.max(most, value)];
    }
    const decades = Math.log10(most / least);
    if (!(decades < 2.5)) return { dtick: 1 };
    const steps = decades < 0.7 ? [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9] : [1, 2, 5];
    const tickvals = [];
    for (let power = Math.floor(Math.log10(least)) - 1; power <= Math.log10(most) + 1; power += 1) {
      tickvals.push(...steps.map((it) => Number(`${it}e${power}`)));
    }
    return { tickmode: "array", tickvals, ticktext: tickvals.map(short) };
  };
  const short = (value) => {
    const [unit, letter] = [[1e9, "G"], [1e6, "M"], [1e4, "k"]].find(([from]) => value >= from) || [1, ""];
    return `${Number((value / (letter === "k" ? 1e3 : unit)).toPrecision(2))}${letter}`;
  };
  const heights = (chart, right) => [
    ...chart.series.filter((it) => Boolean(it.right) === right).flatMap((it) => it.y), ...(chart.heat && !right ? chart.heat.y : []),
  ];

  const layout = (chart, plot, marksShown) => {
    const grid = { gridcolor: css("--grid"), zerolinecolor: css("--line"), linecolor: css("--line"), tickcolor: css("--line"), tickfont: { color: css("--soft") } };
    const title = (text) => ({ text: plain(text), font: { size: 12, color: css("--soft") }, standoff: 8 });
    const vertical = (axis, values, more) => ({
      ...grid, title: title(axis.title), type: axis.log ? "log" : "linear", rangemode: axis.zero ? "tozero" : "normal", fixedrange: true,
      ...(axis.log ? { ...logTicks(values), exponentformat: "SI" } : { nticks: 6, exponentformat: "none" }),
      ...(axis.to === null ? {} : { range: [0, axis.to * 1.02] }), ...more,
    });
    const rows = chart.rows.length ? { tickmode: "array", tickvals: chart.rows.map((_, i) => i), ticktext: chart.rows.map(plain), range: [-0.6, chart.rows.length - 0.4], automargin: true } : {};
    return {
      // Without it plotly keeps the range that it found when the chart had no room.
      datarevision: ++revision,
      height: plot.clientHeight, margin: margins(chart), paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: css("--text") },
      hovermode: chart.time && !chart.rows.length ? "x unified" : "closest",
      hoverlabel: { bgcolor: css("--surface"), bordercolor: css("--line"), font: { color: css("--text"), size: 13 }, namelength: 40 },
      // A finger that drags wants to scroll the page.
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: {
        ...grid, title: title(chart.across), type: chart.acrossLog ? "log" : "linear", zeroline: false,
        ...(chart.time ? { range: [...shown.get(chart.group)], hoverformat: ".4~f", unifiedhovertitle: { text: "%{x:.3f} s" } } : {}), exponentformat: "SI",
        ...(chart.acrossLog ? logTicks(chart.series.flatMap((it) => it.x)) : { nticks: plot.clientWidth < 500 ? 5 : 10 }),
      },
      yaxis: vertical(chart.axes[0] || { title: "", log: false, zero: false, to: null }, heights(chart, false), rows),
      ...(chart.axes.length > 1 ? { yaxis2: vertical(chart.axes[1], heights(chart, true), { overlaying: "y", side: "right", showgrid: false }) } : {}),
      shapes: shapes(chart, marksShown), annotations: annotations(chart, marksShown, inner(plot)),
    };
  };

  const NS = "http://www.w3.org/2000/svg";
  const drawing = (width) => {
    const svg = document.createElementNS(NS, "svg");
    for (const [key, value] of Object.entries({ width, height: 10, "aria-hidden": "true", focusable: "false" })) svg.setAttribute(key, value);
    return svg;
  };

  // The colours of a map, from faint to strong.
  const ramp = () => {
    const svg = drawing(45);
    [1, 2, 3].forEach((step, index) => {
      const rect = document.createElementNS(NS, "rect");
      for (const [key, value] of Object.entries({ x: index * 15, width: 15, height: 10 })) rect.setAttribute(key, value);
      rect.style.fill = `var(--h${step})`;
      svg.append(rect);
    });
    return svg;
  };

  const swatch = (series) => {
    const svg = drawing(20);
    const isDot = series !== null && series.shape === "dots";
    const line = document.createElementNS(NS, isDot ? "circle" : series === null || series.shape !== "band" ? "line" : "rect");
    const look = isDot ? { cx: 10, cy: 5, r: 4.5 } : series === null
      ? { x1: 10, y1: 0, x2: 10, y2: 10, "stroke-dasharray": "2 2", "stroke-width": 1.5 }
      : series.shape === "band" ? { width: 20, height: 10 } : { x1: 0, y1: 5, x2: 20, y2: 5, "stroke-width": series.thin ? 2 : 3, "stroke-dasharray": series.dash ? "5 3" : "none" };
    for (const [key, value] of Object.entries(look)) line.setAttribute(key, value);
    line.style[series !== null && (isDot || series.shape === "band") ? "fill" : "stroke"] = series === null ? "var(--soft)" : `var(--${series.colour === 0 ? "text" : series.colour > 10 ? "b" + (series.colour - 10) : "s" + series.colour})`;
    svg.append(line);
    return svg;
  };

  const legend = (chart, box, state) => {
    const entry = (series, text, toggle) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.append(series === heat ? ramp() : swatch(series), document.createTextNode(text));
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        toggle(on);
      });
      box.append(button);
    };
    if (chart.heat) {
      entry(heat, "0.001 % to all of the writes", (on) => {
        state.heat = on;
        Plotly.restyle(state.plot, { visible: on }, [0]);
      });
    }
    // A row of outages has its name beside it.
    if (!chart.rows.length || !chart.time) {
      chart.series.forEach((series, index) => entry(series, series.name, (on) => {
        state.visible[index] = on;
        Plotly.restyle(state.plot, { visible: on }, [index + (chart.heat ? 1 : 0)]);
      }));
    }
    if (chart.time && chart.marks.length) {
      entry(null, "marks", (on) => {
        state.marks = on;
        Plotly.relayout(state.plot, { shapes: shapes(chart, on), annotations: annotations(chart, on, inner(state.plot)) });
      });
    }
  };

  const traces = (chart, state) => [
    ...(chart.heat ? [heat(chart, state.heat)] : []),
    ...chart.series.map((series, index) => ({ ...trace(series, chart), visible: state.visible[index] })),
  ];

  const draw = (chart, state) => Plotly.react(state.plot, traces(chart, state), layout(chart, state.plot, state.marks), still);

  const showTime = (group, range, besides) => {
    shown.set(group, range);
    for (const chart of times.filter((it) => it.group === group)) {
      const state = plots.get(chart);
      if (!state) continue;
      const change = { annotations: annotations(chart, state.marks, inner(state.plot)) };
      if (state.plot !== besides) change["xaxis.range"] = [...range];
      state.quiet = true;
      Plotly.relayout(state.plot, change).then(() => { state.quiet = false; });
    }
    for (const button of document.querySelectorAll("[data-window]")) button.setAttribute("aria-pressed", "false");
  };

  const begin = (chart) => {
    const figure = document.getElementById(chart.id);
    const plot = figure.querySelector(".plot");
    plot.replaceChildren();
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", `Chart: ${figure.querySelector("h3").textContent}. Its numbers are in the table below it.`);
    const state = { plot, visible: chart.series.map(() => true), heat: true, marks: true, quiet: false };
    plots.set(chart, state);
    legend(chart, figure.querySelector(".legend"), state);
    draw(chart, state);
    if (!chart.time) return;
    plot.on("plotly_relayout", (change) => {
      if (state.quiet) return;
      const show = (range, besides) => showTime(chart.group, range, besides);
      if (change["xaxis.autorange"]) show(wholeRuns.get(chart.group), null);
      else if ("xaxis.range[0]" in change) show([change["xaxis.range[0]"], change["xaxis.range[1]"]], plot);
      else if (change["xaxis.range"]) show([...change["xaxis.range"]], plot);
    });
  };

  // A window of one pixel, as there is for a moment when a page is hidden, is no reason to draw.
  const isNothing = () => innerWidth < 50;
  const again = () => plots.forEach((state, chart) => draw(chart, state));

  for (const group of document.querySelectorAll("[data-windows]")) {
    group.hidden = group.querySelectorAll("button").length < 1;
    group.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const stretch = [Number(button.dataset.from), Number(button.dataset.to)];
      for (const [group, whole] of wholeRuns) showTime(group, button.dataset.window === "all" ? whole : stretch, null);
      button.setAttribute("aria-pressed", "true");
    });
  }
  document.addEventListener("theme", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width && !printing && !isNothing()) { width = innerWidth; again(); }
  });
  // Paper is white.
  let theme;
  addEventListener("beforeprint", () => {
    printing = true;
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    plots.forEach((state, chart) => Plotly.react(state.plot, traces(chart, state), { ...layout(chart, state.plot, state.marks), width: 680 }, still));
  });
  addEventListener("afterprint", () => {
    printing = false;
    if (theme === undefined) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    again();
  });

  charts.forEach(begin);
  // plotly measures texts in a drawing of its own, far outside of the page.
  document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true");
  document.documentElement.dataset.drawn = String(charts.length);
})();
