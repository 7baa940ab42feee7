// The looks of what nodes show of results. Colours are made of the host's own, so that every theme fits.

const BASE = `
:host {
  --plot-ink: var(--input-text, CanvasText);
  --plot-paper: var(--comfy-menu-bg, Canvas);
  --plot-muted: color-mix(in srgb, var(--plot-ink) 70%, transparent);
  --plot-faint: color-mix(in srgb, var(--plot-ink) 18%, transparent);
  --plot-ours: color-mix(in oklab, var(--plot-ink) 35%, #2b8cf0);
  --plot-theirs: color-mix(in oklab, var(--plot-ink) 35%, #e8641b);
  display: flex;
  flex-direction: column;
  box-sizing: border-box;
  height: 100%;
  color: var(--plot-ink);
  font: 11px/1.3 Inter, Arial, sans-serif;
}
:host([hidden]) { display: none; }
:focus-visible { outline: 2px solid currentColor; }
button, .badge {
  padding: 1px 8px;
  border: 1px solid var(--plot-muted);
  border-radius: 4px;
  background: none;
  color: inherit;
  font: inherit;
  text-decoration: none;
  cursor: pointer;
}
button[aria-pressed="true"] { background: var(--plot-ink); color: var(--plot-paper); }
`

export const CHART_STYLE = `
${BASE}
.plot { flex: 1; min-height: 0; }
.plot svg { display: block; width: 100%; height: 100%; font-family: Inter, Arial, sans-serif; }
.rows { flex: none; max-height: 265px; overflow: auto; user-select: text; cursor: text; }
table { width: 100%; border-collapse: collapse; font-size: 10px; font-variant-numeric: tabular-nums; }
th, td { padding: 0 3px; height: 16px; white-space: nowrap; text-align: right; font-weight: normal; }
th[scope="row"], th:first-child { text-align: left; }
tr:first-child > th { border-bottom: 1px solid var(--plot-faint); color: var(--plot-muted); }
`

export const COMPARE_STYLE = `
${BASE}
.stage { flex: 1; min-height: 0; display: grid; place-items: center; container-type: size; }
.frame {
  position: relative;
  width: min(100cqw, 100cqh * var(--ratio));
  aspect-ratio: var(--ratio);
  overflow: hidden;
}
.layers { position: absolute; inset: 0; isolation: isolate; background: #000; }
img { position: absolute; inset: 0; width: 100%; height: 100%; user-select: none; pointer-events: none; }
[data-small] img { image-rendering: pixelated; }
.b { clip-path: inset(0 0 0 var(--split)); }
.divider {
  position: absolute;
  inset: 0 auto 0 var(--split);
  width: 2px;
  translate: -1px 0;
  background: #fff;
  box-shadow: 0 0 0 1px #0008;
}
.divider::after {
  content: "\\2194";
  position: absolute;
  inset: 50% auto auto 50%;
  translate: -50% -50%;
  padding: 3px 6px;
  border-radius: 12px;
  background: #fff;
  color: #000;
  box-shadow: 0 0 0 1px #0008;
}
.name { position: absolute; top: 4px; padding: 0 5px; border-radius: 3px; background: #000a; color: #fff; }
.left { left: 4px; }
.right { right: 4px; }
.split {
  position: absolute;
  inset: 0;
  width: 100%;
  height: 100%;
  margin: 0;
  opacity: 0;
  cursor: ew-resize;
  touch-action: none;
  appearance: none;
}
.split::-webkit-slider-thumb { appearance: none; width: 1px; height: 100%; }
.split::-moz-range-thumb { width: 1px; height: 100%; border: 0; }
.frame:has(.split:focus-visible) { outline: 2px solid currentColor; outline-offset: 1px; }
[data-difference] .layers { filter: brightness(var(--amplify)); }
[data-difference] .b { clip-path: none; mix-blend-mode: difference; }
[data-difference] > :is(.divider, .name, .split) { display: none; }
.film, .bar { display: flex; flex: none; gap: 6px; align-items: center; margin-top: 4px; }
.film[hidden] { display: none; }
.turn { flex: 1; min-width: 0; accent-color: var(--plot-ours); }
.figures { flex: none; margin-top: 4px; min-height: 15px; }
`
