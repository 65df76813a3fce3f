// One series over time: what was, what was expected, the band, what is anomalous; the scores below.

import uPlot from "uplot";
import { number, score as points, time } from "./format";
import { h } from "./dom";
import type { Row, Trace } from "./types";

/** What is drawn behind the lines. */
export interface Mark {
  from: number;
  until: number;
}

const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const AXIS = 60;
const living = new Set<Chart>();

/** After a change of colours. */
export const repaint = () => living.forEach((chart) => chart.redraw());

export class Chart {
  readonly element = h("div", { class: "chart", tabindex: 0, role: "group", "aria-label": "Chart" });
  private readonly readout = h("div", { class: "readout", "aria-live": "off" });
  private readonly plots = h("div", { class: "plots" });
  private values?: uPlot;
  private scores?: uPlot;
  private trace?: Trace;
  private marks: Mark[] = [];
  private watcher = new ResizeObserver(() => this.resize());

  /** `zoom` is told which time somebody has drawn the pointer over. */
  constructor(private readonly zoom?: (from: number, until: number) => void) {
    this.element.append(this.readout, this.plots);
    this.watcher.observe(this.plots);
    living.add(this);
  }

  destroy(): void {
    living.delete(this);
    this.watcher.disconnect();
    this.values?.destroy();
    this.scores?.destroy();
  }

  redraw(): void {
    this.values?.redraw(false);
    this.scores?.redraw(false);
  }

  /** Shows `trace`; what lies in `marks` is shaded. */
  show(trace: Trace, marks: Mark[] = [], range?: [number, number]): void {
    this.trace = trace;
    this.marks = marks;
    const odd = (row: Row) => trace.anomaly_score.map((score, at) => (score !== null && score > 1 ? row[at] ?? null : null));
    const values = [trace.timestamps, trace.yhat_upper, trace.yhat_lower, trace.yhat, trace.y, odd(trace.y)] as uPlot.AlignedData;
    const scores = [trace.timestamps, trace.anomaly_score, odd(trace.anomaly_score)] as uPlot.AlignedData;
    if (!this.values || !this.scores) this.make();
    this.values!.batch(() => {
      this.values!.setData(values, false);
      this.rescale(this.values!, range);
    });
    this.scores!.batch(() => {
      this.scores!.setData(scores, false);
      this.rescale(this.scores!, range);
    });
    this.read(null);
    this.describe();
  }

  private rescale(plot: uPlot, range?: [number, number]): void {
    const times = this.trace!.timestamps;
    const [min, max] = range ?? [times[0] ?? 0, times.at(-1) ?? 1];
    plot.setScale("x", { min, max });
  }

  private describe(): void {
    const scores = this.trace!.anomaly_score;
    const high = scores.filter((score) => score !== null && score > 1).length;
    const text = `${this.trace!.timestamps.length} points, ${high} of them anomalous, highest score ${points(Math.max(0, ...scores.map((score) => score ?? 0)))}`;
    this.element.setAttribute("aria-label", `Chart: ${text}`);
  }

  private resize(): void {
    const width = this.plots.clientWidth;
    if (!width) return;
    this.values?.setSize({ width, height: this.heights()[0] });
    this.scores?.setSize({ width, height: this.heights()[1] });
  }

  private heights(): [number, number] {
    return window.innerWidth < 640 ? [220, 120] : [320, 140];
  }

  private make(): void {
    const width = this.plots.clientWidth || 800;
    const [tall, low] = this.heights();
    const line = (name: string, thick: number, dash?: number[]): uPlot.Series => ({ stroke: () => colour(name), width: thick, points: { show: false }, spanGaps: false, ...(dash ? { dash } : {}) });
    const dots: uPlot.Series = { stroke: () => colour("--bad"), width: 0, points: { show: true, size: 5.5, width: 0, fill: () => colour("--bad") } };
    const base = (height: number): Omit<uPlot.Options, "series"> => ({
      width,
      height,
      ms: 1,
      legend: { show: false },
      padding: [8, 12, 0, 0],
      cursor: {
        sync: { key: "page", scales: ["x", null] },
        drag: { x: !!this.zoom, y: false, setScale: false },
        y: false,
        points: { size: 6 },
      },
      hooks: {
        setCursor: [(plot) => this.read(plot.cursor.idx ?? null)],
        setSelect: [(plot) => this.selected(plot)],
        drawAxes: [(plot) => this.shade(plot)],
      },
    });
    const grid = { stroke: () => colour("--grid"), width: 1 };
    const axis = (): uPlot.Axis => ({ stroke: () => colour("--faint"), grid, ticks: { show: false }, font: "11px system-ui, sans-serif" });
    const numbers = (): uPlot.Axis => ({ ...axis(), size: AXIS, values: (_, ticks) => ticks.map((tick) => number(tick)) });
    this.values = new uPlot(
      {
        ...base(tall),
        scales: { x: { time: true }, y: { range: (_, min, max) => spread(min, max) } },
        axes: [{ ...axis(), size: 8, space: 80, values: (_, ticks) => ticks.map(() => "") }, numbers()],
        bands: [{ series: [1, 2], fill: () => colour("--band") } as unknown as uPlot.Band],
        series: [{}, { ...line("--band-edge", 1) }, { ...line("--band-edge", 1) }, line("--expected", 1.5, [5, 4]), line("--actual", 1.6), dots],
      },
      [[], [], [], [], [], []],
      this.plots,
    );
    this.scores = new uPlot(
      {
        ...base(low),
        scales: { x: { time: true }, y: { range: (_, __, max) => [0, Math.max(2, (max ?? 0) * 1.1)] } },
        axes: [{ ...axis(), size: 28, space: 80, values: (_, ticks) => ticks.map(tick) }, numbers()],
        series: [{}, { ...line("--score", 1.4), fill: () => colour("--score-fill") }, dots],
      },
      [[], [], []],
      this.plots,
    );
    this.resize();
  }

  private selected(plot: uPlot): void {
    const { left, width } = plot.select;
    if (width < 4 || !this.zoom) return;
    const [from, until] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.zoom(Math.round(from), Math.round(until));
  }

  private shade(plot: uPlot): void {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.fillStyle = colour("--mark");
    for (const { from, until } of this.marks) {
      const left = plot.valToPos(from, "x", true);
      ctx.fillRect(left - 2, bbox.top, Math.max(4, plot.valToPos(until, "x", true) - left + 4), bbox.height);
    }
    if (plot === this.scores) {
      const edge = plot.valToPos(1, "y", true);
      ctx.strokeStyle = colour("--bad");
      ctx.setLineDash([4, 4]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, edge);
      ctx.lineTo(bbox.left + bbox.width, edge);
      ctx.stroke();
    }
    ctx.restore();
  }

  /** What the pointer is at; the legend where it is nowhere. */
  private read(at: number | null): void {
    const trace = this.trace;
    if (!trace) return;
    const part = (name: string, text: string) => h("span", { class: `key ${name}` }, text);
    if (at === null || trace.timestamps[at] === undefined) {
      this.readout.replaceChildren(part("actual", "actual"), part("expected", "expected"), part("band", "band"), part("odd", "anomaly"));
      return;
    }
    const [lower, upper, score] = [trace.yhat_lower[at], trace.yhat_upper[at], trace.anomaly_score[at]];
    this.readout.replaceChildren(
      h("b", {}, time(trace.timestamps[at]!)),
      part("actual", `actual ${number(trace.y[at])}`),
      part("expected", `expected ${number(trace.yhat[at])}`),
      part("band", `band ${number(lower)} to ${number(upper)}`),
      part((score ?? 0) > 1 ? "odd" : "score", `score ${points(score)}`),
    );
  }
}

/** A little room above and below, also where all is one value. */
function spread(min: number | null, max: number | null): [number, number] {
  if (min === null || max === null || !Number.isFinite(min) || !Number.isFinite(max)) return [0, 1];
  const room = (max - min || Math.abs(max) || 1) * 0.06;
  return [min >= 0 && min - room < 0 ? 0 : min - room, max + room];
}

/** A time on the axis: the day at midnight, else the time of day. */
function tick(at: number): string {
  const text = time(at);
  return text.endsWith(" 00:00") ? text.slice(0, -6) : text.slice(-5);
}
