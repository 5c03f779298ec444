"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const plots = [...document.querySelectorAll("[data-chart]")];
  const small = () => window.innerWidth < 620;
  const PAPER_PX = 640; // what every paper is wide enough for
  let onPaper = false;

  const colors = () => {
    const style = getComputedStyle(root);
    const of = (name) => style.getPropertyValue(name).trim();
    return {ink: of("--ink"), soft: of("--soft"), grid: of("--grid"), card: of("--card"),
      low: of("--low"), high: of("--high")};
  };

  // Everything that depends on light, dark, paper and width is put on here, not in the data.
  const dressed = (chart) => {
    const c = colors();
    const axis = (given) => ({gridcolor: c.grid, zerolinecolor: c.grid, linecolor: c.grid,
      tickfont: {color: c.soft, size: 12}, automargin: true, ...given,
      title: given && given.title ? {font: {size: 12, color: c.soft}, standoff: 8, ...given.title} : undefined});
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: {color: c.ink, family: "system-ui, Segoe UI, Roboto, Noto Sans, Noto Sans KR, sans-serif", size: 13},
      margin: {l: 50, r: 16, t: 10, b: 44},
      modebar: {bgcolor: "rgba(0,0,0,0)", color: c.soft, activecolor: c.ink},
      hoverlabel: {bgcolor: c.card, bordercolor: c.grid, font: {color: c.ink}},
      ...structuredClone(chart.layout), height: chart.height, ...(onPaper ? {width: PAPER_PX} : {autosize: true}),
    };
    layout.legend = {orientation: "h", y: -0.14, x: 0, yanchor: "top", font: {size: 12}, itemwidth: 30, ...layout.legend};
    if (layout.scene) {
      for (const name of ["xaxis", "yaxis", "zaxis"]) {
        layout.scene[name] = {gridcolor: c.grid, zerolinecolor: c.grid, color: c.soft,
          backgroundcolor: "rgba(0,0,0,0)", showspikes: false, ...layout.scene[name]};
      }
    } else {
      layout.xaxis = axis(layout.xaxis);
      layout.yaxis = axis(layout.yaxis);
      if (chart.data.length && chart.data[0].orientation === "h") layout.yaxis.showgrid = false;
    }
    const traces = structuredClone(chart.data);
    for (const trace of traces) {
      if (trace.type === "heatmap") {
        trace.colorscale = [[0, c.low], [1, c.high]];
        trace.colorbar.tickfont = {color: c.soft};
        trace.showscale = !small();
        if (small()) trace.texttemplate = "";
      }
      if (trace.marker && trace.marker.line && trace.hoverinfo === "none") trace.marker.line.color = c.card;
    }
    return [traces, layout, {responsive: true, displaylogo: false,
      displayModeBar: layout.scene || chart.zoom ? true : false,
      modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "toImage", "autoScale2d", "resetCameraLastSave3d", "tableRotation"]}];
  };

  const drawn = new Set();
  const draw = async (plot) => {
    const chart = data.charts[plot.dataset.chart];
    if (drawn.has(plot)) { await Plotly.react(plot, ...dressed(chart)); return; }
    drawn.add(plot);
    await Plotly.newPlot(plot, ...dressed(chart));
    if (chart.authors) tips(plot);
  };

  const tip = document.getElementById("tip");
  const tips = (plot) => {
    plot.on("plotly_hover", (event) => {
      const author = data.authors[event.points[0].customdata];
      const name = document.createElement("b");
      name.textContent = author.name;
      const said = document.createElement("span");
      said.textContent = ` · ${author.about}`;
      const row = document.createElement("div");
      for (const uri of author.images) {
        const image = document.createElement("img");
        image.src = uri;
        image.alt = "";
        row.append(image);
      }
      tip.replaceChildren(name, said, row);
      tip.hidden = false;
      const x = event.event.pageX + 14, y = event.event.pageY + 14;
      tip.style.left = `${Math.min(x, window.scrollX + window.innerWidth - 232)}px`;
      tip.style.top = `${y}px`;
    });
    plot.on("plotly_unhover", () => { tip.hidden = true; });
  };

  // A palette in three dimensions: red, green, blue as they are; or hue around, saturation
  // outwards, value upwards.
  const solid = (colors, space) => {
    const trace = {type: "scatter3d", mode: "markers", x: [], y: [], z: [], text: [],
      hovertemplate: "%{text}<extra></extra>",
      marker: {size: [], color: [], opacity: 1, line: {width: 1, color: "rgb(150,150,150)"}}};
    for (const [r, g, b, share] of colors) {
      const [hue, saturation, value] = hsv(r, g, b);
      const at = space === "rgb" ? [r, g, b]
        : [saturation * Math.cos(hue), saturation * Math.sin(hue), value];
      trace.x.push(at[0]); trace.y.push(at[1]); trace.z.push(at[2]);
      trace.marker.size.push(Math.min(34, 4 + 46 * Math.sqrt(share)));
      trace.marker.color.push(`rgb(${r},${g},${b})`);
      trace.text.push(`rgb ${r} ${g} ${b}<br>${(100 * share).toFixed(1)} %`);
    }
    const names = space === "rgb" ? ["red", "green", "blue"] : ["saturation", "", "value"];
    const range = space === "rgb" ? [0, 255] : [-1, 1];
    const scene = {aspectmode: "cube", camera: {eye: {x: 1.75, y: 1.75, z: 0.95}, center: {x: 0, y: 0, z: -0.1}},
      xaxis: {title: {text: names[0]}, range}, yaxis: {title: {text: names[1]}, range},
      zaxis: {title: {text: names[2]}, range: space === "rgb" ? [0, 255] : [0, 1]}};
    return {data: [trace], layout: {scene, margin: {l: 0, r: 0, t: 0, b: 0}, showlegend: false}, height: 460};
  };
  const hsv = (r, g, b) => {
    const top = Math.max(r, g, b), low = Math.min(r, g, b), span = top - low;
    let hue = 0;
    if (span) hue = top === r ? ((g - b) / span) % 6 : top === g ? (b - r) / span + 2 : (r - g) / span + 4;
    return [hue * Math.PI / 3, top ? span / top : 0, top / 255];
  };
  const choose = document.getElementById("palette-of");
  const solids = [...document.querySelectorAll("[data-space]")];
  const fill = () => {
    for (const plot of solids) {
      data.charts[plot.dataset.chart] = solid(data.palettes[choose.value], plot.dataset.space);
    }
  };
  if (choose) {
    fill();
    choose.addEventListener("change", () => { fill(); solids.filter((p) => drawn.has(p)).forEach(draw); });
  }

  const again = () => Promise.all([...drawn].map(draw));
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    again();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);

  const packed = document.getElementById("plotly");
  const bytes = Uint8Array.from(atob(packed.textContent), (c) => c.charCodeAt(0));
  packed.remove();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.src = URL.createObjectURL(new Blob([await new Response(stream).arrayBuffer()], {type: "text/javascript"}));
  await new Promise((done, failed) => { script.onload = done; script.onerror = failed; document.head.append(script); });

  const webgl = !!document.createElement("canvas").getContext("webgl");
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
  }, {rootMargin: "600px"});
  for (const plot of plots) {
    if (plot.dataset.space && !webgl) { plot.textContent = "This browser draws no 3-D."; plot.style.height = "auto"; continue; }
    seen.observe(plot);
  }
  // What is looked at comes first, the rest whenever the browser is idle.
  const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 50));
  const waiting = plots.filter((p) => webgl || !p.dataset.space);
  const next = () => {
    const plot = waiting.shift();
    if (!plot) return;
    if (!drawn.has(plot)) { seen.unobserve(plot); draw(plot); }
    idle(next);
  };
  idle(next);
  const all = () => Promise.all(plots.filter((p) => webgl || !p.dataset.space).map(draw));
  addEventListener("beforeprint", () => { onPaper = true; all(); });
  addEventListener("afterprint", () => { onPaper = false; again(); });
  matchMedia("print").addEventListener("change", again);
  window.reportReady = true;
  window.drawAll = all;
})();
