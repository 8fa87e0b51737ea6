// One small chart over time, drawn by uPlot in the page's own colours. The same figures stand in a table below it.
import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";

export function Chart({ title, times, series, format, bars }) {
  const box = useRef(null);
  const [theme, setTheme] = useState(0);
  useEffect(() => {
    const changed = () => setTheme((old) => old + 1);
    const system = matchMedia("(prefers-color-scheme: dark)");
    addEventListener("themechange", changed);
    system.addEventListener("change", changed);
    return () => { removeEventListener("themechange", changed); system.removeEventListener("change", changed); };
  }, []);
  useEffect(() => {
    const element = box.current;
    const plot = new window.uPlot(options(element, times, series, format, bars), [times, ...series.map((each) => each.values)], element);
    const watching = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: element.clientHeight }));
    watching.observe(element);
    return () => { watching.disconnect(); plot.destroy(); };
  }, [times, series, theme]);
  const total = series.map((each) => `${each.label} ${each.sum ?? ""}`).join(", ");
  return html`<figure class="panel chart">
    <header><h2>${title}</h2><div class="legend">${series.map((each) => html`<span style=${{ "--dot": `var(${each.color})` }}>${each.label}${each.sum ? html` <b class="num">${each.sum}</b>` : ""}</span>`)}</div></header>
    <div class="canvas" ref=${box} role="img" aria-label=${`${title} over time: ${total}`}></div>
  </figure>`;
}

function options(element, times, series, format, bars) {
  const style = getComputedStyle(element);
  const color = (name) => style.getPropertyValue(name).trim();
  const step = times.length > 1 ? times[1] - times[0] : 3600;
  const axis = { stroke: color("--soft"), font: `11px ${color("--sans")}`, grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
  return {
    width: Math.max(200, element.clientWidth), height: Math.max(120, element.clientHeight), legend: { show: false },
    cursor: { y: false, points: { size: 7 } }, scales: { x: { range: (self, low, high) => [low - step / 2, high + step / 2] }, y: { range: (self, low, high) => [0, high > 0 ? high * 1.08 : 1] } }, padding: [8, 8, 0, 0],
    axes: [{ ...axis, grid: { show: false }, space: 64, size: 26, values: (self, ticks, at, space, gap) => ticks.map((tick) => clock(tick, gap)) }, { ...axis, size: 58, values: (self, ticks) => ticks.map(format), space: 36 }],
    series: [{}, ...series.map((each) => ({
      label: each.label, stroke: color(each.color), width: 2, spanGaps: false, points: { show: each.values.filter((value) => value !== null).length < 3, size: 6 },
      ...(bars ? { paths: window.uPlot.paths.bars({ size: [0.7, 40], radius: 0.2 }), fill: color(each.color), points: { show: false } } : { fill: each.filled ? `color-mix(in srgb, ${color(each.color)} 14%, transparent)` : undefined }),
    }))],
  };
}

// A tick as the hour, or as the day where the ticks are days apart or the day begins.
function clock(seconds, gap) {
  const date = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const midnight = date.getHours() === 0 && date.getMinutes() === 0;
  if (gap >= 86400 || midnight) return date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return `${two(date.getHours())}:${two(date.getMinutes())}`;
}
